"""`linkspan install`: what it writes, what it leaves alone, and how exposed systemd finds it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from linkspan.admin import installation, units
from linkspan.bootstrap.command_line import execute

DOCUMENT = Path(__file__).parents[2] / "docs" / "installation.md"
PROGRAM = ("/opt/linkspan/bin/linkspan",)
LIMITS = {"api": 1.5, "agent": 4.0}
UNITS = {name: f"etc/systemd/system/linkspan-{name}.service" for name in units.NAMES}
VERSION = "systemd 252 "
"""The document's numbers are those of this version; others count other lines."""
analyzes = pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="needs systemd-analyze: ./dev test installs it"
)


def unit(name: str) -> str:
    (text,) = [
        file.text for file in units.files([name], PROGRAM, ["/opt/linkspan"], {}) if file.path.endswith("service")
    ]
    return text


def analyze(folder: Path, name: str, text: str, *options: str) -> str:
    file = folder / f"linkspan-{name}.service"
    file.write_text(text)
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", *options, str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def overall(folder: Path, name: str, text: str) -> float:
    match = re.search(r"Overall exposure level.*: ([0-9.]+)", analyze(folder, name, text))
    assert match
    return float(match[1])


def exposed(folder: Path, name: str, text: str) -> dict[str, str]:
    """What systemd counts against a unit: lines and numbers."""
    lines = json.loads(analyze(folder, name, text, "--json=short"))
    return {line["name"]: line["exposure"] for line in lines if float(line["exposure"] or 0)}


def need_version() -> None:
    version = subprocess.run(["systemd-analyze", "--version"], capture_output=True, text=True, check=True).stdout
    if not version.startswith(VERSION):
        pytest.skip(f"the document's numbers are those of {VERSION}")


def documented(name: str) -> dict[str, str]:
    """The lines of the document's table, with a unit's numbers."""
    rows = re.findall(r"^\| `([^`]+)` \| ([0-9.]*) ?\| ([0-9.]+) \| .{10,} \|$", DOCUMENT.read_text(), re.MULTILINE)
    assert len(rows) > 20
    numbers = {line.replace("\\|", "|"): dict(zip(units.NAMES, values, strict=True)) for line, *values in rows}
    return {line: by_unit[name] for line, by_unit in numbers.items() if by_unit[name]}


@analyzes
@pytest.mark.parametrize("name", units.NAMES)
def test_the_exposure_is_within_its_limit(tmp_path: Path, name: str) -> None:
    if name == "agent":
        need_version()
    assert overall(tmp_path, name, unit(name)) <= LIMITS[name]


@pytest.mark.security(
    "16",
    tried="what systemd counts against the units, line by line",
    control="test_a_line_that_is_missing_is_noticed",
)
@analyzes
@pytest.mark.parametrize("name", units.NAMES)
def test_each_exposed_line_is_justified(tmp_path: Path, name: str) -> None:
    need_version()
    assert exposed(tmp_path, name, unit(name)) == documented(name)


@analyzes
@pytest.mark.parametrize(
    "line", ["ProtectSystem=strict", "NoNewPrivileges=yes", "PrivateDevices=yes", "PrivateTmp=yes"]
)
@pytest.mark.parametrize("name", units.NAMES)
def test_a_line_that_is_missing_is_noticed(tmp_path: Path, name: str, line: str) -> None:
    """The control."""
    weaker = unit(name).replace(f"\n{line}\n", "\n")
    assert weaker != unit(name)
    assert set(exposed(tmp_path, name, weaker)) - set(documented(name))
    assert overall(tmp_path, name, weaker) > overall(tmp_path, name, unit(name))


def test_it_writes_files_that_nobody_else_can_change_and_is_idempotent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(["install", "--root", str(tmp_path)]) == 0
    modes = {
        str(file.relative_to(tmp_path)): file.stat().st_mode & 0o777 for file in tmp_path.rglob("*") if file.is_file()
    }
    private = {"etc/linkspan/api.toml": 0o600, "etc/linkspan/agent.toml": 0o600}
    shared = (*UNITS.values(), "etc/sysusers.d/linkspan.conf", "etc/tmpfiles.d/linkspan.conf")
    assert modes == private | dict.fromkeys(shared, 0o644)
    assert {folder.stat().st_mode & 0o777 for folder in tmp_path.rglob("*") if folder.is_dir()} == {0o755}
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*") if file.is_file()}
    capsys.readouterr()
    assert execute(["install", "--root", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("unchanged") == 6
    assert before == {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*") if file.is_file()}


def test_a_dry_run_prints_the_files_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["install", "api", "--dry-run", "--root", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    assert "User=linkspan" in output
    assert "linkspan-agent.service\n" not in output.replace("Before=linkspan-agent.service\n", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("edit", ["append", "replace", "first line", "not UTF-8"])
def test_a_file_that_was_edited_is_left_alone_with_all_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], edit: str
) -> None:
    execute(["install", "--root", str(tmp_path)])
    file, other = tmp_path / UNITS["agent"], tmp_path / UNITS["api"]
    written = file.read_bytes()
    edited = {
        "append": written + b"Nice=5\n",
        "replace": written.replace(b"Restart=always", b"Restart=no"),
        "first line": written.partition(b"\n")[2],
        "not UTF-8": b"\xff\xfe",
    }[edit]
    file.write_bytes(edited)
    other.unlink()
    for arguments in ([], ["--remove"]):
        assert execute(["install", *arguments, "--root", str(tmp_path)]) == 1
        assert "linkspan-agent.service: put your lines into a drop-in" in capsys.readouterr().err
        assert (file.read_bytes(), other.exists()) == (edited, False)
    assert execute(["install", "--force", "--root", str(tmp_path)]) == 0
    assert (file.read_bytes(), other.exists()) == (written, True)


def test_a_newer_version_replaces_what_nobody_edited(tmp_path: Path) -> None:
    older = units.files(units.NAMES, ["/old/linkspan"], [], {})
    newer = units.files(units.NAMES, ["/new/linkspan"], [], {})
    installation.install(older, tmp_path)
    (tmp_path / "etc/linkspan/api.toml").write_text("# the administrator's\n")
    lines = installation.install(newer, tmp_path)
    assert [line.split()[0] for line in lines] == [
        "updated",
        "unchanged",
        "updated",
        "unchanged",
        "unchanged",
        "unchanged",
    ]
    assert "/new/linkspan" in (tmp_path / UNITS["api"]).read_text()
    assert (tmp_path / "etc/linkspan/api.toml").read_text() == "# the administrator's\n"


def test_removing_keeps_settings_and_what_the_other_unit_needs(tmp_path: Path) -> None:
    execute(["install", "--root", str(tmp_path)])
    assert execute(["install", "--remove", "agent", "--root", str(tmp_path)]) == 0
    assert not (tmp_path / UNITS["agent"]).exists()
    assert (tmp_path / UNITS["api"]).exists()
    assert (tmp_path / "etc/sysusers.d/linkspan.conf").exists()
    assert execute(["install", "--remove", "--root", str(tmp_path)]) == 0
    left = sorted(str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file())
    assert left == ["etc/linkspan/agent.toml", "etc/linkspan/api.toml"]
    assert execute(["install", "--remove", "--root", str(tmp_path)]) == 0


def test_secrets_come_as_credentials(tmp_path: Path) -> None:
    given = ["--credential", "api.tls_key=/etc/ssl/100%.key", "--credential", "agent.token_file=/etc/linkspan/t"]
    assert execute(["install", *given, "--root", str(tmp_path)]) == 0
    api, agent = ((tmp_path / UNITS[name]).read_text() for name in units.NAMES)
    assert "LoadCredential=api.tls_key:/etc/ssl/100%%.key\nEnvironment=LINKSPAN_API_TLS_KEY=%d/api.tls_key\n" in api
    assert "LoadCredential=agent.token_file:/etc/linkspan/t\n" in agent
    assert "tls_key" not in agent


@pytest.mark.parametrize(
    "value", ["api.host=/x", "api.tls_key=relative", "api.tls_key", "=/x", "api.tls_key=/a\nUser=root"]
)
def test_other_credentials_are_refused(tmp_path: Path, value: str) -> None:
    assert execute(["install", "--credential", value, "--root", str(tmp_path)]) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("/opt/linkspan", "/opt/linkspan"),
        ("/opt/a b", '"/opt/a b"'),
        ("/opt/100%", "/opt/100%%"),
        ("/opt/$HOME", "/opt/$$HOME"),
        ('/opt/"', '"/opt/\\""'),
        ("/opt/a;b", '"/opt/a;b"'),
    ],
)
def test_the_program_may_be_in_any_folder(word: str, written: str) -> None:
    text = "".join(file.text for file in units.files(["agent"], [word, "x"], [], {}))
    assert f"\nExecStart={written} x agent --config" in text


@pytest.mark.parametrize("folder", ["/home/u/linkspan", "/root/linkspan", "/run/user/0/linkspan"])
def test_of_a_home_only_the_programs_folders_are_shown(folder: str) -> None:
    text = "".join(file.text for file in units.files(["agent"], PROGRAM, ["/usr", folder], {}))
    assert f"ProtectHome=tmpfs\nBindReadOnlyPaths={folder}\n" in text
    assert "ProtectHome=yes" in unit("agent")
