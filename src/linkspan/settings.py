"""Every setting of Linkspan, declared once: type, default and help stand in the structs below, and the command line,
the environment and `docs/reference/settings.md` come from there.

A value comes from the command line, else the environment (`LINKSPAN_API_PORT`), else the file given by `--config`
(TOML), else its default. A key that nobody knows is an error, not a silence: a misspelt setting must not look as if
it worked. This module reads; it never decides what a value means for the service.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from linkspan.core.checks import quota
from linkspan.core.suggestions import nearest

PREFIX: Final = "LINKSPAN_"

Port = Annotated[int, Meta(ge=1, le=65535)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Quantity = Annotated[int, Meta(ge=-1, le=2**31 - 1)]
PerSecond = Annotated[float, Meta(ge=0, le=1_000_000)]


class SettingsError(Exception):
    """A setting cannot be used; the message is one line that names it and says what to do."""


def _about(text: str) -> Meta:
    return Meta(description=text)


class Api(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The API server."""

    host: Annotated[str, _about("address to listen on")] = "127.0.0.1"
    port: Annotated[Port, _about("TCP port to listen on")] = 9696
    database: Annotated[
        str, _about("database URL, such as postgresql+psycopg://…; empty: SQLite in the state directory")
    ] = ""
    key_file: Annotated[
        Path | None,
        _about(
            "keys that seal secrets in the database; made at first start; default: keys/seal in the state directory"
        ),
    ] = None
    auth: Annotated[
        Literal["http_basic", "keystone", "none"],
        _about(
            "who knows the users; http_basic: our own database, with passwords, static tokens and a small Keystone v3 "
            "at /identity/v3; keystone: a real one, see keystone.*; none: everybody is admin, on loopback only"
        ),
    ] = "http_basic"
    policy_file: Annotated[
        Path | None,
        _about("rules that say who may do what (YAML); `linkspan policy show` prints one with the defaults"),
    ] = None
    token_lifetime: Annotated[Seconds, _about("seconds that a token of /identity/v3 holds")] = 3600.0
    region: Annotated[str, _about("name of the region in the catalog of /identity/v3")] = "RegionOne"
    public_url: Annotated[
        str,
        Meta(
            pattern="^(https?://.*[^/])?$",
            description="URL at which clients reach the API, for links and the catalog, such as "
            "https://vpn.example.org, without a slash at its end; empty: as each client wrote it",
        ),
    ] = ""
    tls_cert: Annotated[Path | None, _about("certificate chain (PEM); with tls_key: serve HTTPS")] = None
    tls_key: Annotated[Path | None, _about("private key of tls_cert (PEM)")] = None
    grace: Annotated[
        Seconds, _about("seconds that a new or changed connection may take to come up before it reads DOWN")
    ] = 60.0
    lease: Annotated[Seconds, _about("seconds after which a node that was not heard of counts as lost")] = 30.0
    policy_defaults: Annotated[
        Literal["safe", "neutron"],
        _about("what a policy gets that names no algorithms; neutron: sha1, group5 and IKEv1, as Neutron documents"),
    ] = "safe"
    weak_choices: Annotated[
        Literal["warn", "refuse"],
        _about("what happens to 3des, sha1, group2, group5 and aggressive mode in a policy; warn: a line in the log"),
    ] = "warn"


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much one request, one connection or one client may ask of the API."""

    cidrs: Annotated[Count, _about("CIDRs, or members of an endpoint group, of one side of a connection")] = 64
    connections: Annotated[Count, _about("connections of one gateway")] = 100
    page: Annotated[Count, _about("objects in one answer")] = 1000
    bulk: Annotated[Count, _about("objects that one request makes")] = 100
    body: Annotated[Count, _about("bytes of a request's body")] = 65_536
    project_rate: Annotated[
        PerSecond, _about("requests a second of one project, in one API process; 0: any number")
    ] = 0
    project_burst: Annotated[Count, _about("requests of one project at once, if project_rate is not 0")] = 1000
    failure_rate: Annotated[
        PerSecond,
        _about(
            "failed logins a second from one address, after which even good ones from there get 429; 0: any number, as "
            "it should be behind a proxy whose address all clients share"
        ),
    ] = 1
    failure_burst: Annotated[Count, _about("failed logins from one address at once, if failure_rate is not 0")] = 100


class Quota(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many objects a project may have that has no quotas of its own; -1: any number."""

    vpnservice: Annotated[Quantity, _about("VPN services of a project")] = quota.DEFAULTS["vpnservice"]
    ikepolicy: Annotated[Quantity, _about("IKE policies of a project")] = quota.DEFAULTS["ikepolicy"]
    ipsecpolicy: Annotated[Quantity, _about("IPsec policies of a project")] = quota.DEFAULTS["ipsecpolicy"]
    ipsec_site_connection: Annotated[Quantity, _about("connections of a project")] = quota.DEFAULTS[
        "ipsec_site_connection"
    ]
    endpoint_group: Annotated[Quantity, _about("endpoint groups of a project")] = quota.DEFAULTS["endpoint_group"]
    network: Annotated[Quantity, _about("networks of a project")] = quota.DEFAULTS["network"]
    subnet: Annotated[Quantity, _about("subnets of a project")] = quota.DEFAULTS["subnet"]
    router: Annotated[Quantity, _about("routers of a project")] = quota.DEFAULTS["router"]


class Keystone(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A real Keystone, for auth = "keystone", and the user of our own that asks it about tokens."""

    auth_url: Annotated[str, _about("URL of Keystone, such as https://keystone.example.org:5000/v3")] = ""
    public_url: Annotated[str, _about("the same as clients reach it, told in each 401; empty: auth_url")] = ""
    username: Annotated[str, _about("our own user there; it needs the role service or admin")] = "linkspan"
    password_file: Annotated[Path | None, _about("file that holds that user's password")] = None
    project: Annotated[str, _about("project of that user")] = "service"
    user_domain: Annotated[str, _about("domain of that user")] = "Default"
    project_domain: Annotated[str, _about("domain of that project")] = "Default"
    ca_file: Annotated[Path | None, _about("CA certificates (PEM) that Keystone's certificate is checked with")] = None
    timeout: Annotated[Seconds, _about("seconds that Keystone has to answer")] = 5.0
    ttl: Annotated[
        Seconds,
        _about(
            "seconds for which a token that was good is not asked about again: so long it works without Keystone, and "
            "so long a revoked one still does"
        ),
    ] = 300.0


class Agent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The agent of one gateway node."""

    name: Annotated[str, _about("name of this node, as given to `linkspan node create`")] = "node-1"
    api: Annotated[str, _about("URL of the API; anything but loopback has to be https")] = ""
    token_file: Annotated[
        Path | None, _about("file with this node's token; default: nodes/NAME.token in the state directory")
    ] = None
    ca_file: Annotated[Path | None, _about("CA certificates (PEM) that the API's certificate is checked with")] = None
    instance: Annotated[
        str,
        Meta(
            pattern="^([0-9a-f]{6})?$",
            description="six hex digits that tell this installation's namespaces from another's; "
            "empty: made once and kept in the state directory",
        ),
    ] = ""
    bridge_namespace: Annotated[str, _about("network namespace that holds the bridges; empty: the machine's own")] = ""
    bridges: Annotated[
        dict[str, str], _about("bridge of each external network that this node reaches, by network name")
    ] = {}


class Log(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is logged, and where."""

    level: Annotated[Literal["debug", "info", "warning", "error"], _about("least level that is written")] = "info"
    terminal: Annotated[
        Literal["human", "json", "off"], _about("what goes to standard error: readable lines, JSON, nothing")
    ] = "human"
    file: Annotated[str, _about("name of a file in logs/ of the state directory that gets JSON lines; empty: none")] = (
        ""
    )


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings of one process."""

    state: Annotated[Path, _about("directory of database, keys, tokens and logs")] = Path(".linkspan")
    api: Api = Api()
    limits: Limits = Limits()
    quota: Quota = Quota()
    keystone: Keystone = Keystone()
    agent: Agent = Agent()
    log: Log = Log()

    @property
    def database_url(self) -> str:
        """The database, also where none was set."""
        return self.api.database or f"sqlite:///{self.state.resolve() / 'linkspan.db'}"

    @property
    def key_file(self) -> Path:
        """The file with the keys that seal secrets."""
        return self.api.key_file or self.state / "keys" / "seal"

    @property
    def api_url(self) -> str:
        """Where this machine's own clients reach the API."""
        return (
            self.agent.api
            or f"{'https' if self.api.tls_cert else 'http'}://{_reachable(self.api.host)}:{self.api.port}"
        )

    @property
    def token_file(self) -> Path:
        """The file with this node's token."""
        return self.agent.token_file or self.state / "nodes" / f"{self.agent.name}.token"


class Setting(msgspec.Struct, frozen=True):
    """One setting as the registry knows it; `key` is its dotted name in the file."""

    key: str
    environment: str
    kind: str
    default: Any
    help: str


def registry() -> tuple[Setting, ...]:
    """Every setting there is, in the order of declaration."""
    return tuple(_walk(Settings, ""))


def _walk(struct: type[msgspec.Struct], prefix: str) -> Iterator[Setting]:
    hints = get_type_hints(struct, include_extras=True)
    for field in msgspec.structs.fields(struct):
        key = prefix + field.name
        hint = hints[field.name]
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            yield from _walk(hint, f"{key}.")
            continue
        notes = [note for note in hint.__metadata__ if isinstance(note, Meta)]
        text = next(note.description for note in notes if note.description)
        default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        yield Setting(key, PREFIX + key.upper().replace(".", "_"), _kind(get_args(hint)[0]), default, text)


def _kind(hint: Any) -> str:
    if get_origin(hint) is Annotated:
        return _kind(get_args(hint)[0])
    if get_origin(hint) is Literal:
        return " | ".join(get_args(hint))
    if get_origin(hint) is dict:
        return "table of text"
    names = {str: "text", int: "integer", float: "number"}
    return names.get(hint, "path")


def load(
    config: Path | None = None,
    environment: Mapping[str, str] = os.environ,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """The settings of this process; `overrides` are dotted keys from the command line, None = not given.

    Raises SettingsError.
    """
    known = registry()
    merged: dict[str, Any] = _from_file(config, known) if config else {}
    merged |= _from_environment(environment, known)
    merged |= {key: value for key, value in (overrides or {}).items() if value is not None}
    tree: dict[str, Any] = {}
    for key, value in merged.items():
        section, _, name = key.rpartition(".")
        (tree.setdefault(section, {}) if section else tree)[name] = value
    try:
        return msgspec.convert(tree, Settings, strict=False, dec_hook=_convert_path)
    except msgspec.ValidationError as error:
        raise SettingsError(_explain(str(error), merged)) from None


def _from_file(path: Path, known: tuple[Setting, ...]) -> dict[str, Any]:
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot read the settings file {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from None
    keys = {setting.key for setting in known}
    found = dict(_flatten(tree, keys))
    for key in found:
        if key not in keys:
            raise SettingsError(f"{path}: unknown setting '{key}'{nearest(key, keys)}")
    return found


def _flatten(tree: Mapping[str, Any], keys: set[str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        key = prefix + name
        if isinstance(value, dict) and key not in keys:
            yield from _flatten(value, keys, f"{key}.")
        else:
            yield key, value


def _from_environment(environment: Mapping[str, str], known: tuple[Setting, ...]) -> dict[str, Any]:
    by_name = {setting.environment: setting for setting in known}
    sections = tuple({PREFIX + key.split(".")[0].upper() + "_" for key in (s.key for s in known) if "." in key})
    found: dict[str, Any] = {}
    for name, text in environment.items():
        if not name.startswith(PREFIX):
            continue
        if name not in by_name:
            # Others may use the prefix for their own ends (test suites do); a near miss is meant for us.
            near = nearest(name, by_name)
            if near or name.startswith(sections):
                raise SettingsError(f"unknown setting in the environment: {name}{near}")
            continue
        setting = by_name[name]
        found[setting.key] = _parse_table(name, text) if isinstance(setting.default, dict) else text
    return found


def _parse_table(name: str, text: str) -> dict[str, str]:
    pairs = [item.partition("=") for item in text.split(",") if item.strip()]
    if not all(equals and key.strip() and value.strip() for key, equals, value in pairs):
        raise SettingsError(f"{name}: '{text}' is not a list of name=value, separated by commas")
    return {key.strip(): value.strip() for key, _, value in pairs}


def _convert_path(_kind: type, value: Any) -> Any:
    if isinstance(value, Path):
        return value
    if isinstance(value, str) and value:
        return Path(value).expanduser()
    raise ValueError("Expected a path")


def _explain(message: str, given: Mapping[str, Any]) -> str:
    fault, _, place = message.partition(" - at `$")
    key = re.sub(r"\[.*", "", place.strip("`."))
    setting = next(setting for setting in registry() if setting.key == key)
    fault = fault[:1].lower() + fault[1:].replace("`", "")
    return f"setting {key} cannot be '{given[key]}' ({fault}): it takes {setting.kind}: {setting.help}"


def _reachable(host: str) -> str:
    """An address that a client can connect to, for one that a server listens on."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 # compared with, never bound
    return f"[{host}]" if ":" in host else host


def to_toml(settings: Settings) -> str:
    """The settings as a file that `load` reads: how a supervisor hands them to its children."""
    lines = [f"state = {json.dumps(str(settings.state))}"]
    for section in (field.name for field in msgspec.structs.fields(settings) if field.name != "state"):
        lines.append(f"\n[{section}]")
        for field, value in msgspec.structs.asdict(getattr(settings, section)).items():
            if isinstance(value, dict):
                inner = ", ".join(f"{json.dumps(key)} = {json.dumps(item)}" for key, item in value.items())
                lines.append(f"{field} = {{ {inner} }}")
            elif value is not None:
                lines.append(f"{field} = {value if isinstance(value, int | float) else json.dumps(str(value))}")
    return "\n".join(lines) + "\n"


def instance_id(state: Path) -> str:
    """The six hex digits of the installation whose state directory this is; made at the first call and kept."""
    path = state / "instance"
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with path.open("x", encoding="ascii") as file:
                file.write(secrets.token_hex(3) + "\n")
        except FileExistsError:
            pass
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot keep the installation's id in {path}: {error}") from None
    if not re.fullmatch("[0-9a-f]{6}", text):
        raise SettingsError(f"{path} should hold six hex digits: remove the file, and a new id is made")
    return text
