"""Errors of the command line: each is one line with cause and remedy, never a traceback."""

from __future__ import annotations

import importlib
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from linkspan.admin import preflight
from linkspan.admin.process_lock import lock_state
from linkspan.bootstrap import command_line, wiring
from linkspan.settings import load


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Runs a command; returns exit code and standard error, which has to be one line of linkspan."""
    code = command_line.execute(arguments)
    shown = capsys.readouterr().err
    assert len(shown.splitlines()) == 1, shown
    assert shown.startswith("linkspan: ")
    assert "Traceback" not in shown
    return code, shown


@pytest.fixture(autouse=True)
def empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("LINKSPAN_", "OS_")):
            monkeypatch.delenv(name)
    mask = os.umask(0)
    os.umask(mask)
    yield
    os.umask(mask)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["--nonsense"], "No such option"),
        (["run", "--onec"], "--once"),
        (["run", "--nodes", "0"], "--nodes"),
        (["run", "--port", "99999"], "--port"),
        (["api", "--port", "x"], "--port"),
        (["api", "--auth", "maybe"], "--auth"),
        (["connection", "show"], "Missing argument"),
        (["connection", "create", "x"], "Missing option '--service'"),
        (["connection", "list", "-f", "xml"], "'xml' is not one of"),
        (["ike-policy", "create", "--pfs", "group1"], "'group1' is not one of"),
        (["user", "create", "x"], "Missing option '--project'"),
        (["token", "create"], "Missing option '--user'"),
        (["node", "nonsense"], "No such command"),
    ],
)
def test_a_usage_error_is_exit_code_2_and_names_the_help(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    code, shown = run(capsys, *arguments)
    assert code == 2
    assert words in shown
    assert "--help" in shown


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.execute([]) == 2
    assert "Usage: linkspan" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["api", "--config", "absent.toml"], "cannot read the settings file absent.toml"),
        (["api", "--auth", "none", "--host", "0.0.0.0"], "admin"),
        (["api", "--auth", "keystone"], "needs keystone.auth_url"),
        (["db", "upgrade", "--database", "mysql://h/x"], "cannot use a mysql database"),
        (["db", "upgrade", "--database", "nonsense"], "invalid database URL"),
        (["db", "upgrade", "--database", "postgresql://127.0.0.1:1/x"], "the database"),
        (["user", "list"], "run 'linkspan db upgrade'"),
        (["agent", "--api", "http://192.0.2.1:9696"], "plain HTTP"),
        (["agent", "--api", "ftp://127.0.0.1"], "not the URL of an API"),
        (["agent"], "make a token with 'linkspan node join-token node-1'"),
        (["connection", "list"], "'linkspan run'"),
        (["lab", "show"], "no laboratory in .linkspan"),
        (["status"], "no clouds file"),
    ],
)
def test_a_failure_is_exit_code_1_and_names_the_remedy(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    code, shown = run(capsys, *arguments)
    assert code == 1
    assert words in shown


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host"])
def test_an_address_that_is_not_here_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("LINKSPAN_API_PLAIN_HTTP", "allow")
    code, shown = run(capsys, "api", "--host", host, "--port", "1")
    assert code == 1
    assert f"cannot listen on {host} port 1" in shown


HOSTS = ["0.0.0.0", "::", "192.0.2.1", "2001:db8::1", "vpn.example.org", ""]


@pytest.mark.parametrize("auth", ["http_basic", "keystone"])
@pytest.mark.parametrize("host", HOSTS)
def test_plain_http_on_other_addresses_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, host: str, auth: str
) -> None:
    Path("secret").write_text("password of the service user\n", encoding="ascii")
    monkeypatch.setenv("LINKSPAN_KEYSTONE_AUTH_URL", "https://keystone.example.org/v3")
    monkeypatch.setenv("LINKSPAN_KEYSTONE_PASSWORD_FILE", "secret")
    Path("secret").chmod(0o600)
    code, shown = run(capsys, "api", "--auth", auth, "--host", host, "--port", "1")
    assert code == 1
    assert " ".join(f"plain HTTP on {host} would send passwords and keys in plaintext".split()) in shown
    assert "set api.tls_cert and api.tls_key" in shown
    assert "api.plain_http = 'allow'" in shown


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_plain_http_on_loopback_addresses_is_accepted(host: str) -> None:
    wiring.check_authentication(load(environment={}, overrides={"api.host": host}))


@pytest.mark.parametrize(
    "settings", [{"api.plain_http": "allow"}, {"api.tls_cert": Path("c.pem"), "api.tls_key": Path("k.pem")}]
)
def test_other_addresses_are_accepted_with_tls_or_by_a_setting(settings: dict[str, Any]) -> None:
    wiring.check_authentication(load(environment={}, overrides={"api.host": "0.0.0.0"} | settings))


@pytest.mark.parametrize(
    "url",
    ["http://h", "http://192.0.2.1:5000/v3", "http://[2001:db8::1]/v3", "http://127.0.0.1.example.org", "HTTP://h"],
)
def test_a_keystone_over_plain_http_is_refused(capsys: pytest.CaptureFixture[str], url: str) -> None:
    lines = f"[api]\nauth = 'keystone'\n[keystone]\nauth_url = '{url}'\npassword_file = 'x.toml'\n"
    Path("x.toml").write_text(lines, encoding="ascii")
    Path("x.toml").chmod(0o600)
    code, shown = run(capsys, "api", "--config", "x.toml", "--port", "1")
    assert code == 1
    assert "plain HTTP to another machine" in shown or "needs keystone.auth_url" in shown
    secret = preflight.check_keystone("http://h", "linkspan", Path("x.toml"), None, plain_http=True)
    assert secret.reveal() == lines.strip()
    preflight.check_keystone("http://127.0.0.1:5000/v3", "linkspan", Path("x.toml"), None)


# --- files that others can read or change -----------------------------------------------------------------------------


def _stop(_command: str) -> None:
    raise click.ClickException("stopped by the test")


def test_files_that_others_can_use_are_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert command_line.execute(["db", "upgrade"]) == 0
    assert command_line.execute(["node", "create", "node-1", "--token-file", ".linkspan/nodes/node-1.token"]) == 0
    for name in ("policy.yaml", "settings.toml", "password", "key.pem", "cert.pem"):
        Path(name).write_text("", encoding="ascii")
        Path(name).chmod(0o600)
    keystone = ["--auth", "keystone"]
    environment = {
        "LINKSPAN_API_POLICY_FILE": "policy.yaml",
        "LINKSPAN_API_TLS_KEY": "key.pem",
        "LINKSPAN_API_TLS_CERT": "cert.pem",
        "LINKSPAN_KEYSTONE_PASSWORD_FILE": "password",
    }
    api = ["api", "--config", "settings.toml"]
    agent = ["agent", "--api", "http://127.0.0.1:1"]
    users = ["user", "list"]
    cases: list[tuple[str, int, list[str]]] = [
        (".linkspan", 0o777, api),
        (".linkspan", 0o1777, agent),
        (".linkspan", 0o770, users),
        (".linkspan/keys", 0o777, api),
        (".linkspan/nodes", 0o722, agent),
        (".linkspan/linkspan.db", 0o666, api),
        (".linkspan/linkspan.db", 0o660, users),
        (".linkspan/keys/seal", 0o440, users),
        (".linkspan/nodes/node-1.token", 0o604, agent),
        (".linkspan/nodes/node-1.token", 0o620, agent),
        ("policy.yaml", 0o646, api),
        ("policy.yaml", 0o664, api),
        ("settings.toml", 0o666, api),
        ("password", 0o644, [*api, *keystone]),
        ("key.pem", 0o644, api),
        ("cert.pem", 0o666, api),
    ]
    with pytest.MonkeyPatch.context() as patch:
        # Where an agent would begin to work.
        patch.setattr(preflight, "require_root", _stop)
        for name, value in environment.items():
            patch.setenv(name, value)
        for name, mode, command in cases:
            path = Path(name)
            right = stat.S_IMODE(path.stat().st_mode)
            path.chmod(mode)
            code, shown = run(capsys, *command)
            path.chmod(right)
            assert (name, oct(mode), code) == (name, oct(mode), 1)
            assert f"{name}: run 'chmod" in shown
            assert "others can" in shown
            # The control: with its own mode it is not what is refused.
            command_line.execute(command)
            assert "others can" not in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to own files of other users")
@pytest.mark.root
def test_files_of_other_users_are_refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert command_line.execute(["db", "upgrade"]) == 0
    assert command_line.execute(["user", "list"]) == 0
    monkeypatch.delenv("SUDO_UID", raising=False)
    Path("policy.yaml").write_text("", encoding="ascii")
    monkeypatch.setenv("LINKSPAN_API_POLICY_FILE", "policy.yaml")
    for name in (".linkspan", ".linkspan/keys/seal", ".linkspan/keys", ".linkspan/linkspan.db", "policy.yaml"):
        os.chown(name, 65534, -1)
        code, shown = run(capsys, "api", "--port", "1") if "seal" not in name else run(capsys, "user", "list")
        os.chown(name, 0, -1)
        assert (name, code) == (name, 1)
        assert "belongs to the user 65534: run 'chown 0 " in shown
        assert name in shown


def test_an_unknown_setting_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text("[api]\nprot = 1\n", encoding="utf-8")
    code, shown = run(capsys, "api", "--config", "x.toml")
    assert code == 1
    assert "'api.prot'; did you mean 'api.port'?" in shown


def test_a_port_in_use_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, shown = run(capsys, "api", "--port", str(taken.getsockname()[1]))
    assert code == 1
    assert "address already in use; choose another port with --port" in shown


@pytest.mark.parametrize(
    ("cert", "key", "words"),
    [
        ("cert.pem", None, "go together"),
        ("absent.pem", "absent.pem", "cannot read absent.pem: No such file"),
        ("cert.pem", "cert.pem", "are not a certificate and its private key"),
    ],
)
def test_an_unusable_certificate_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, cert: str, key: str | None, words: str
) -> None:
    (tmp_path / "cert.pem").write_text("no PEM\n", encoding="ascii")
    (tmp_path / "cert.pem").chmod(0o600)
    lines = ["[api]", f'tls_cert = "{cert}"', *([f'tls_key = "{key}"'] if key else [])]
    (tmp_path / "x.toml").write_text("\n".join(lines), encoding="ascii")
    code, shown = run(capsys, "api", "--config", "x.toml")
    assert code == 1
    assert words in shown


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("auth_url = 'keystone:5000'", "needs keystone.auth_url, such as"),
        ("auth_url = 'https://h:5000/v3'", "needs keystone.password_file, with the password of linkspan"),
        ("auth_url = 'https://h'\npassword_file = 'absent'", "cannot read the password file absent"),
        ("auth_url = 'https://h'\npassword_file = 'x.toml'\nca_file = 'x.toml'", "x.toml contains no CA certificates"),
    ],
)
def test_incomplete_settings_for_keystone_are_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, lines: str, words: str
) -> None:
    (tmp_path / "x.toml").write_text(f"[api]\nauth = 'keystone'\n[keystone]\n{lines}\n", encoding="ascii")
    (tmp_path / "x.toml").chmod(0o600)
    code, shown = run(capsys, "api", "--config", "x.toml")
    assert code == 1
    assert words in shown


def test_keystone_without_keystoneauth1_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "keystoneauth1", None)
    Path("x.toml").write_text(
        "[api]\nauth = 'keystone'\n[keystone]\nauth_url = 'https://h'\npassword_file = 'x.toml'\n", encoding="ascii"
    )
    Path("x.toml").chmod(0o600)
    code, shown = run(capsys, "api", "--config", "x.toml")
    assert code == 1
    assert "install linkspan[keystone]" in shown


def test_run_refuses_an_external_keystone(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "require_root", lambda _command: None)
    monkeypatch.setattr(preflight, "require_tools", lambda _names: None)
    monkeypatch.setenv("LINKSPAN_API_AUTH", "keystone")
    code, shown = run(capsys, "run")
    assert code == 1
    assert "start 'linkspan api' and 'linkspan agent'" in shown


def test_a_key_file_that_others_can_read_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.execute(["db", "upgrade"]) == 0
    assert command_line.execute(["user", "list"]) == 0
    capsys.readouterr()
    Path(".linkspan/keys/seal").chmod(0o644)
    code, shown = run(capsys, "user", "list")
    assert code == 1
    assert "run 'chmod 0400 .linkspan/keys/seal'" in shown


def test_a_database_that_another_api_has_locked_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    from linkspan.settings import load
    from linkspan.store.database import engine as engines

    assert command_line.execute(["db", "upgrade"]) == 0
    capsys.readouterr()
    engine = engines.connect(load(environment={}).database_url)
    lock = engines.lock(engine)
    try:
        code, shown = run(capsys, "db", "upgrade")
    finally:
        engine.dispose()
        assert lock is not None
        lock.release()
    assert code == 1
    assert "another linkspan api uses" in shown


def test_a_file_in_place_of_the_state_directory_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / ".linkspan").write_text("", encoding="ascii")
    code, shown = run(capsys, "db", "upgrade")
    assert code == 1
    assert ".linkspan" in shown


@pytest.mark.parametrize("command", ["run", "sweep"])
def test_run_and_sweep_need_root(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    code, shown = run(capsys, command)
    assert code == 1
    assert "run it with sudo" in shown


def test_a_missing_program_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name, path: None if name in {"nft", "fping"} else name)
    with pytest.raises(click.ClickException, match="nft, fping; install with 'apt-get install nftables fping'"):
        preflight.require_tools(tuple(preflight.TOOLS))


def test_a_state_directory_in_use_is_refused(tmp_path: Path) -> None:
    lock = lock_state(tmp_path)
    with pytest.raises(click.ClickException, match=rf"already runs with the state directory .*process {os.getpid()}"):
        lock_state(tmp_path)
    lock.release()
    lock_state(tmp_path).release()


def test_an_unexpected_error_is_one_line_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> click.Group:
        raise ZeroDivisionError("by\nzero")

    monkeypatch.setattr(command_line, "root", fail)
    code, shown = run(capsys, "api")
    assert code == 1
    assert "unexpected ZeroDivisionError: by zero" in shown


def test_a_closed_pipe_is_no_error() -> None:
    piped = f"{sys.executable} -m linkspan.bootstrap connection create --help | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", piped], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("arguments", [["--help"], ["connection", "list", "--help"], ["connection", "list"]])
def test_commands_import_only_what_they_use(arguments: list[str]) -> None:
    """Imports dominate the start time of a command, and unlike a clock they are the same on every machine."""
    program = (
        "import sys; from linkspan.bootstrap.command_line import execute; execute(sys.argv[1:]); "
        "print('\\nloaded', *sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    loaded = set(done.stdout.rpartition("\nloaded ")[2].split())
    assert {"click", "linkspan"} <= loaded
    assert not loaded & {"sqlalchemy", "alembic", "starlette", "uvicorn", "httpx", "pyroute2", "vici", "cryptography"}


@pytest.mark.parametrize("name", sorted(command_line.EXPECTED))
def test_every_expected_error_exists_under_its_name(name: str) -> None:
    """`explain` compares names, because it must not import the classes: an outdated name would never match."""
    module, _, kind = name.rpartition(".")
    error = getattr(importlib.import_module(module), kind)
    assert f"{error.__module__}.{error.__qualname__}" == name
