"""Settings: their sources and precedence, and the errors for mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import asdict

from linkspan.core.checks import quota
from linkspan.settings import SettingsError, instance_id, load, registry, to_toml


def write(path: Path, text: str) -> Path:
    file = path / "linkspan.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_defaults_need_no_file_and_no_environment() -> None:
    settings = load(environment={})
    assert (settings.api.host, settings.api.port, settings.api.auth) == ("127.0.0.1", 9696, "http_basic")
    assert settings.api_url == "http://127.0.0.1:9696"
    assert settings.database_url == f"sqlite:///{Path.cwd()}/.linkspan/linkspan.db"
    assert settings.token_file == Path(".linkspan/nodes/node-1.token")


def test_command_line_beats_environment_beats_file_beats_default(tmp_path: Path) -> None:
    file = write(tmp_path, "[api]\nport = 1\nlease = 11\n")
    environment = {"LINKSPAN_API_PORT": "2", "LINKSPAN_API_HOST": "::1"}
    assert load(file, {}).api.port == 1
    assert load(file, environment).api.port == 2
    settings = load(file, environment, {"api.port": 3, "api.host": None})
    assert (settings.api.port, settings.api.host, settings.api.lease, settings.api.grace) == (3, "::1", 11.0, 60.0)
    assert settings.api_url == "http://[::1]:3"


def test_every_quota_is_a_setting() -> None:
    assert asdict(load(environment={}).quota) == quota.DEFAULTS
    assert load(environment={"LINKSPAN_QUOTA_ROUTER": "-1"}).quota.router == -1


def test_bridges_come_from_a_table_or_from_text(tmp_path: Path) -> None:
    file = write(tmp_path, '[agent.bridges]\ninternet = "br-ex"\n"my net" = "br2"\n')
    assert load(file, {}).agent.bridges == {"internet": "br-ex", "my net": "br2"}
    assert load(None, {"LINKSPAN_AGENT_BRIDGES": "internet=br-ex, other = br2"}).agent.bridges["other"] == "br2"


def test_to_toml_is_read_back_by_load(tmp_path: Path) -> None:
    settings = load(
        None,
        {"LINKSPAN_AGENT_BRIDGES": 'a "b"=c\\d'},
        {"state": tmp_path / 'o"dd', "keystone.ttl": 9.5, "api.tls_cert": Path("/x"), "agent.instance": "0123ab"},
    )
    assert load(write(tmp_path, to_toml(settings)), {}) == settings


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("stat = 'x'", "unknown setting 'stat'; did you mean 'state'?"),
        ("[api]\nhostt = 'x'", "unknown setting 'api.hostt'; did you mean 'api.host'?"),
        ("[nonsense]\nqqqq = 1", "unknown setting 'nonsense.qqqq'"),
        ("api = 3", "unknown setting 'api'"),
        ("[api]\nport = 0", "setting api.port cannot be '0'"),
        ("[api]\nport = 'many'", "it takes integer: TCP port to listen on"),
        ("[api]\nauth = 'maybe'", "http_basic | keystone | none"),
        ("[api]\npublic_url = 'vpn.example.org'", "setting api.public_url"),
        ("[api]\npublic_url = 'https://vpn.example.org/'", "without a trailing slash"),
        ("[keystone]\nttl = 0", "setting keystone.ttl"),
        ("[quota]\nrouter = -2", "setting quota.router cannot be '-2'"),
        ("[limits]\nfailure_rate = -1", "setting limits.failure_rate cannot be '-1'"),
        ("[api]\nweak_choices = 'maybe'", "warn | refuse"),
        ("[agent]\ninstance = 'UPPER!'", "six hex digits"),
        ("[agent.bridges]\ninternet = 3", "setting agent.bridges"),
        ("[api\n", "is not valid TOML"),
    ],
)
def test_a_mistake_in_the_file_is_reported_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(write(tmp_path, text), {})
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["LINKSPAN_API_PROT", "LINKSPAN_AGENT_NAM", "LINKSPAN_API_WHATEVER", "LINKSPAN_STATES"]
)
def test_a_misspelt_variable_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        load(None, {name: "1"})


def test_unrelated_variables_with_the_prefix_are_ignored() -> None:
    assert load(None, {"LINKSPAN_TEST_KERNEL": "/x", "LINKSPAN_TRACEBACK": "1", "HOME": "/"}) == load(None, {})


def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        load(tmp_path / "absent.toml", {})


def test_the_registry_describes_every_setting() -> None:
    settings = {setting.key: setting for setting in registry()}
    assert settings["api.port"].environment == "LINKSPAN_API_PORT"
    assert settings["agent.bridges"].kind == "table of text"
    assert settings["api.tls_cert"].kind == "path"
    assert all(setting.help for setting in settings.values())


def test_the_instance_id_is_generated_once(tmp_path: Path) -> None:
    first = instance_id(tmp_path / "state")
    assert len(first) == 6
    assert instance_id(tmp_path / "state") == first


def test_a_damaged_instance_id_is_refused(tmp_path: Path) -> None:
    (tmp_path / "instance").write_text("../../etc\n", encoding="ascii")
    with pytest.raises(SettingsError, match="six hex digits"):
        instance_id(tmp_path)
