"""Declares every setting of Linkspan, with type, default and help, and loads the settings of a process.

A value comes from the command line, else the environment (`LINKSPAN_API_PORT`), else the TOML file of `--config`, else
its default. An unknown key is an error, so that a misspelt setting is not silently ignored. The variables of the
environment and `docs/reference/settings.md` are derived from the declarations. This module does not interpret values.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Final, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from linkspan.core import keystone_v3, node_join
from linkspan.core.addresses import is_loopback
from linkspan.core.checks import quota
from linkspan.core.checks.cross_resource import Limits as ConnectionLimits
from linkspan.core.ipsec.config import MAX_CHILDREN
from linkspan.core.schema import configurations, list_query, operations
from linkspan.core.state import credentials, drift, status, timeline
from linkspan.core.suggestions import nearest

PREFIX: Final = "LINKSPAN_"
TRACEBACK: Final = f"{PREFIX}TRACEBACK"
"""The variable with which an unexpected error shows its traceback. No setting: it also works without them."""
NODE_PORT: Final = 9697
_CONNECTION: Final = ConnectionLimits()

Port = Annotated[int, Meta(ge=1, le=65535)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
GraceSeconds = Annotated[float, Meta(ge=0, le=30 * 86_400)]
Days = Annotated[int, Meta(ge=0, le=36_500)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Amount = Annotated[int, Meta(ge=0, le=1_000_000)]
Bytes = Annotated[int, Meta(ge=2**23, le=2**40)]
Quantity = Annotated[int, Meta(ge=-1, le=2**31 - 1)]
PerSecond = Annotated[float, Meta(ge=0, le=1_000_000)]


class SettingsError(Exception):
    """A setting is invalid; the message is one line that names the setting and the remedy."""


def _about(text: str) -> Meta:
    return Meta(description=text)


class ApiSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The API server."""

    host: Annotated[str, _about("address to listen on")] = "127.0.0.1"
    port: Annotated[Port, _about("TCP port to listen on")] = 9696
    node_host: Annotated[str, _about("address to listen on for nodes that have joined; empty: that of the API")] = ""
    node_port: Annotated[
        Port | None,
        _about(
            "TCP port to listen on for nodes that have joined (TLS with certificates of an internal authority); "
            f"default: {NODE_PORT}, on a loopback address none"
        ),
    ] = None
    node_certificates: Annotated[
        Seconds, _about("lifetime of nodes' certificates, seconds; agents renew them at half of it")
    ] = node_join.CERTIFICATE_LIFETIME
    database: Annotated[
        str, _about("database URL, such as postgresql+psycopg://…; empty: SQLite in the state directory")
    ] = ""
    key_file: Annotated[
        Path | None,
        _about(
            "keys that encrypt secrets in the database, created at first start; default: keys/seal in the state "
            "directory; a systemd credential: its path in $CREDENTIALS_DIRECTORY"
        ),
    ] = None
    auth: Annotated[
        Literal["http_basic", "keystone", "none"],
        _about(
            "source of users and tokens; http_basic: the database, with passwords, static tokens and an embedded "
            "Keystone v3 at /identity/v3; keystone: an external Keystone, see keystone.*; none: every caller is admin, "
            "on loopback addresses only"
        ),
    ] = "http_basic"
    policy_file: Annotated[
        Path | None,
        _about("file with policy rules (YAML); `linkspan policy show` prints one with the defaults"),
    ] = None
    token_lifetime: Annotated[Seconds, _about("lifetime of a token of /identity/v3, seconds")] = (
        keystone_v3.TOKEN_LIFETIME
    )
    region: Annotated[str, _about("name of the region in the catalog of /identity/v3")] = keystone_v3.REGION
    public_url: Annotated[
        str,
        Meta(
            pattern="^(https?://.*[^/])?$",
            description="URL at which clients reach the API, for links and the catalog, such as "
            "https://vpn.example.org, without a trailing slash; empty: the URL of each request",
        ),
    ] = ""
    tls_cert: Annotated[
        Path | None,
        _about("certificate chain (PEM); with tls_key: serve HTTPS; a new one is served when it is in place"),
    ] = None
    hosts: Annotated[
        str,
        _about(
            "names by which clients reach the API, separated by commas, besides addresses, localhost and the host of "
            "public_url; others in Host are refused; empty: any name, on a loopback address none"
        ),
    ] = ""
    plain_http: Annotated[
        Literal["refuse", "allow"],
        _about(
            "plain HTTP on an address that is not a loopback one, where it sends passwords and keys in plaintext; "
            "allow: only where a proxy in front of it ends TLS"
        ),
    ] = "refuse"
    tls_key: Annotated[Path | None, _about("private key of tls_cert (PEM)")] = None
    grace: Annotated[Seconds, _about("seconds after which a new or changed connection that is not up is DOWN")] = (
        status.GRACE
    )
    lease: Annotated[Seconds, _about("seconds after its last report after which a node counts as lost")] = status.LEASE
    psk_grace: Annotated[
        GraceSeconds,
        _about(
            "seconds after a change of a psk for which the key before it is kept and still accepted, because the two "
            "ends do not change in the same moment; 0: it ends at once"
        ),
    ] = credentials.PSK_GRACE
    audit_retention: Annotated[Days, _about("days for which entries of the audit trail are kept; 0: for ever")] = 365
    timeline_events: Annotated[
        Count, _about("events of one connection that the timeline keeps; beyond it the oldest ones go")
    ] = timeline.KEPT
    timeline_retention: Annotated[
        Days, _about("days for which events are kept in the timeline; 0: until there are too many of a connection")
    ] = timeline.RETENTION
    policy_defaults: Annotated[
        Literal["safe", "neutron"],
        _about("algorithms of a policy that does not name them; neutron: sha1, group5 and IKEv1, as Neutron documents"),
    ] = "safe"
    weak_choices: Annotated[
        Literal["warn", "refuse"],
        _about("treatment of 3des, sha1, group2, group5 and aggressive mode in a policy; warn: an entry in the log"),
    ] = "warn"


class LimitSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of a request, a connection, a gateway, a project and a client address."""

    cidrs: Annotated[Count, _about("CIDRs, or members of an endpoint group, of one side of a connection")] = (
        _CONNECTION.cidrs
    )
    connections: Annotated[Count, _about("connections of one gateway")] = _CONNECTION.connections
    revisions: Annotated[
        Count,
        _about("earlier configurations kept of each connection for a rollback, besides the last one that was up"),
    ] = configurations.KEPT
    page: Annotated[Count, _about("objects in one response")] = list_query.PAGE
    bulk: Annotated[Count, _about("objects that one request may create")] = operations.MAX_BULK
    body: Annotated[Count, _about("size of a request's body, bytes")] = operations.MAX_BODY
    bodies: Annotated[
        Bytes,
        _about(
            "size of all request bodies in memory, bytes; beyond it requests get 503; callers that are not identified "
            "yet have a quarter of it"
        ),
    ] = operations.MAX_BODIES
    connections_per_address: Annotated[
        Amount,
        _about(
            "open connections from one client address, of IPv6 from one /64; beyond it a new one takes the place of a "
            "silent one; 0: as many as there may be, for a proxy whose address all clients share"
        ),
    ] = operations.MAX_CONNECTIONS
    project_rate: Annotated[
        PerSecond, _about("requests per second of one project, for each API process; 0: unlimited")
    ] = 0
    project_burst: Annotated[Count, _about("size of a burst of requests of one project, if project_rate is not 0")] = (
        1000
    )
    failure_rate: Annotated[
        PerSecond,
        _about(
            "failed logins per second from one address; beyond it logins from there get 429, except those with a "
            "credential that was valid before; 0: unlimited, necessary behind a proxy whose address all clients share"
        ),
    ] = 1
    failure_burst: Annotated[
        Count, _about("size of a burst of failed logins from one address, if failure_rate is not 0")
    ] = 100
    name_failure_rate: Annotated[
        PerSecond,
        _about(
            "failed logins per second with one name from one address; beyond it logins with that name from there get "
            "429, except those with a credential that was valid before; 0: unlimited"
        ),
    ] = 0.2
    name_failure_burst: Annotated[
        Count,
        _about("size of a burst of failed logins with one name from one address, if name_failure_rate is not 0"),
    ] = 20


class QuotaSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Default quotas: numbers of objects of a project that has no quotas of its own; -1: unlimited."""

    vpnservice: Annotated[Quantity, _about("VPN services of a project")] = quota.DEFAULTS["vpnservice"]
    ikepolicy: Annotated[Quantity, _about("IKE policies of a project")] = quota.DEFAULTS["ikepolicy"]
    ipsecpolicy: Annotated[Quantity, _about("IPsec policies of a project")] = quota.DEFAULTS["ipsecpolicy"]
    ipsec_site_connection: Annotated[Quantity, _about("connections of a project")] = quota.DEFAULTS[
        "ipsec_site_connection"
    ]
    endpoint_group: Annotated[Quantity, _about("endpoint groups of a project")] = quota.DEFAULTS["endpoint_group"]
    certificate: Annotated[Quantity, _about("certificates of a project")] = quota.DEFAULTS["certificate"]
    trust_anchor: Annotated[Quantity, _about("trust anchors of a project")] = quota.DEFAULTS["trust_anchor"]
    network: Annotated[Quantity, _about("networks of a project")] = quota.DEFAULTS["network"]
    subnet: Annotated[Quantity, _about("subnets of a project")] = quota.DEFAULTS["subnet"]
    router: Annotated[Quantity, _about("routers of a project")] = quota.DEFAULTS["router"]


class KeystoneSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An external Keystone, for `api.auth = "keystone"`, and the service user that validates tokens there."""

    auth_url: Annotated[str, _about("URL of Keystone, such as https://keystone.example.org:5000/v3")] = ""
    plain_http: Annotated[
        Literal["refuse", "allow"],
        _about(
            "plain HTTP to an auth_url that is not a loopback address, which sends the service user's password and all "
            "tokens in plaintext"
        ),
    ] = "refuse"
    public_url: Annotated[str, _about("URL of Keystone for clients, in each 401 response; empty: auth_url")] = ""
    username: Annotated[str, _about("service user; needs the role service or admin")] = "linkspan"
    password_file: Annotated[Path | None, _about("file with the service user's password")] = None
    project: Annotated[str, _about("project of the service user")] = "service"
    user_domain: Annotated[str, _about("domain of the service user")] = "Default"
    project_domain: Annotated[str, _about("domain of the service user's project")] = "Default"
    ca_file: Annotated[Path | None, _about("CA certificates (PEM) to verify Keystone's certificate")] = None
    timeout: Annotated[Seconds, _about("timeout of a request to Keystone, seconds")] = 5.0
    ttl: Annotated[
        Seconds,
        _about(
            "seconds for which the validation of a token is cached: the token is accepted that long without Keystone, "
            "and that long after it was revoked"
        ),
    ] = 300.0


class VaultSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """HashiCorp Vault or OpenBao, whose transit engine encrypts the keys of the key file."""

    url: Annotated[
        str,
        _about("URL of Vault, such as https://vault.example.org:8200; empty: the keys are in plaintext in the file"),
    ] = ""
    mount: Annotated[str, _about("path of the transit engine")] = "transit"
    key: Annotated[str, _about("name of the key-encryption key in the transit engine")] = "linkspan"
    token_file: Annotated[Path | None, _about("file with the token for Vault, read anew at each use")] = None
    ca_file: Annotated[Path | None, _about("CA certificates (PEM) to verify Vault's certificate")] = None
    timeout: Annotated[Seconds, _about("timeout of a request to Vault, seconds")] = 5.0


class AgentSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The agent of one gateway node."""

    name: Annotated[str, _about("name of this node, as in `linkspan node join-token`")] = "node-1"
    api: Annotated[str, _about("URL of the API; https unless the host is a loopback address")] = ""
    token_file: Annotated[
        Path | None,
        _about("file with this node's token, if it has not joined; default: nodes/NAME.token in the state directory"),
    ] = None
    ca_file: Annotated[Path | None, _about("CA certificates (PEM) to verify the API's certificate")] = None
    instance: Annotated[
        str,
        Meta(
            pattern="^([0-9a-f]{6})?$",
            description="six hex digits in the names of this installation's namespaces; "
            "empty: generated once and kept in the state directory",
        ),
    ] = ""
    bridge_namespace: Annotated[str, _about("network namespace of the bridges; empty: the machine's own")] = ""
    bridges: Annotated[
        dict[str, str], _about("bridge of each external network that this node reaches, by network name")
    ] = {}
    comparison: Annotated[
        Seconds,
        _about(
            "seconds between two full comparisons of a gateway's network with what it should be; most changes by other "
            "programs are noticed and undone at once"
        ),
    ] = drift.COMPARISON
    liveness: Annotated[
        Seconds,
        _about(
            "seconds between two questions to each charon whether it works; it is started anew after three unanswered"
        ),
    ] = drift.LIVENESS
    children: Annotated[
        Count,
        _about(
            "child SAs that the agent initiates for the pairs of networks of one connection, "
            "if the peer takes one pair in each; IKEv2 only"
        ),
    ] = MAX_CHILDREN


class LogSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Level and destinations of log entries."""

    level: Annotated[Literal["debug", "info", "warning", "error"], _about("lowest level that is logged")] = "info"
    terminal: Annotated[
        Literal["human", "json", "off"], _about("log on standard error: readable lines, JSON lines, nothing")
    ] = "human"
    file: Annotated[str, _about("file for JSON lines, in logs/ of the state directory; empty: none")] = ""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings of one process."""

    state: Annotated[Path, _about("directory of the database, keys, tokens and logs")] = Path(".linkspan")
    api: ApiSettings = ApiSettings()
    limits: LimitSettings = LimitSettings()
    quota: QuotaSettings = QuotaSettings()
    keystone: KeystoneSettings = KeystoneSettings()
    vault: VaultSettings = VaultSettings()
    agent: AgentSettings = AgentSettings()
    log: LogSettings = LogSettings()

    @property
    def database_url(self) -> str:
        """URL of the database; SQLite in the state directory unless set."""
        return self.api.database or f"sqlite:///{self.state.resolve() / 'linkspan.db'}"

    @property
    def key_file(self) -> Path:
        """File with the keys that encrypt secrets."""
        return self.api.key_file or self.state / "keys" / "seal"

    @property
    def api_url(self) -> str:
        """URL of the API for clients on this machine."""
        return (
            self.agent.api
            or f"{'https' if self.api.tls_cert else 'http'}://{_reachable(self.api.host)}:{self.api.port}"
        )

    @property
    def node_address(self) -> tuple[str, int] | None:
        """Address and port of the listener for nodes; None: there is none."""
        host = self.api.node_host or self.api.host
        port = self.api.node_port or (None if is_loopback(host) else NODE_PORT)
        return None if port is None else (host, port)

    @property
    def identity_file(self) -> Path:
        """File with this node's key and certificate, if it has joined."""
        return self.state / "nodes" / f"{self.agent.name}.pem"

    @property
    def token_file(self) -> Path:
        """File with this node's token."""
        return self.agent.token_file or self.state / "nodes" / f"{self.agent.name}.token"


class Setting(msgspec.Struct, frozen=True):
    """One setting in the registry; `key` is its dotted name in the settings file."""

    key: str
    environment: str
    kind: str
    default: Any
    help: str


def registry() -> tuple[Setting, ...]:
    """Returns all settings in the order of declaration."""
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
    if get_origin(hint) is UnionType:
        return _kind(get_args(hint)[0])
    names = {str: "text", int: "integer", float: "number"}
    return names.get(hint, "path")


def load(
    config: Path | None = None,
    environment: Mapping[str, str] = os.environ,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """Loads the settings of this process. `overrides`: values from the command line by dotted key, None if not given.

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
    values = dict(_flatten(tree, keys))
    for key in values:
        if key not in keys:
            raise SettingsError(f"{path}: unknown setting '{key}'{nearest(key, keys)}")
    return values


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
    values: dict[str, Any] = {}
    for name, text in environment.items():
        if not name.startswith(PREFIX) or name == TRACEBACK:
            continue
        if name not in by_name:
            # Other programs may use the prefix, test suites do. A name close to a setting's is a misspelt setting.
            near = nearest(name, by_name)
            if near or name.startswith(sections):
                raise SettingsError(f"unknown setting in the environment: {name}{near}")
            continue
        setting = by_name[name]
        values[setting.key] = _parse_table(name, text) if isinstance(setting.default, dict) else text
    return values


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


def _explain(message: str, values: Mapping[str, Any]) -> str:
    fault, _, place = message.partition(" - at `$")
    key = re.sub(r"\[.*", "", place.strip("`."))
    setting = next(setting for setting in registry() if setting.key == key)
    fault = fault[:1].lower() + fault[1:].replace("`", "")
    return f"setting {key} cannot be '{values[key]}' ({fault}): it takes {setting.kind}: {setting.help}"


def _reachable(host: str) -> str:
    """Returns an address to connect to for one that a server listens on."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 # compared with, never bound
    return f"[{host}]" if ":" in host else host


def to_toml(settings: Settings) -> str:
    """Renders the settings as TOML for `load`: a supervisor passes them to its children so."""
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
    """Returns the installation's id, six hex digits, generated by the first call and kept in the state directory."""
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
        raise SettingsError(f"{path} has to contain six hex digits: remove the file to get a new id")
    return text
