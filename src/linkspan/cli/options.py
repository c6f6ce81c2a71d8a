"""Converts attributes of the registry to options of the command line, and given options to a request body.

The API validates the values. This module only makes them easy to type: names instead of ids, a list by repeating the
option, `key=value` for objects. Secrets may also come from a file or from standard input.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from linkspan.cli.client import Client, CliError
from linkspan.cli.resolve import find_id
from linkspan.core.schema import attribute_types
from linkspan.core.schema.allocation_pools import AllocationPools
from linkspan.core.schema.certificate_types import AlternativeNames, CrlUrls, PemList, PemText
from linkspan.core.schema.resources import (
    CERTIFICATE,
    ENDPOINT_GROUP,
    IKE_POLICY,
    IPSEC_POLICY,
    NETWORK,
    REQUIRED,
    ROUTER,
    SERVICE,
    SUBNET,
    TRUST_ANCHOR,
    Attribute,
    Resource,
)
from linkspan.core.schema.subnet_options import HostRoutes, NameServers
from linkspan.core.schema.tags import Tags
from linkspan.core.schema.vpn_types import DPD_DEFAULT, LIFETIME_DEFAULT, DeadPeerDetection, Lifetime

REFERENCES: Final[dict[str, tuple[str, Resource]]] = {
    "vpnservice_id": ("service", SERVICE),
    "ikepolicy_id": ("ike-policy", IKE_POLICY),
    "ipsecpolicy_id": ("ipsec-policy", IPSEC_POLICY),
    "router_id": ("router", ROUTER),
    "subnet_id": ("subnet", SUBNET),
    "network_id": ("network", NETWORK),
    "local_ep_group_id": ("local-endpoint-group", ENDPOINT_GROUP),
    "peer_ep_group_id": ("peer-endpoint-group", ENDPOINT_GROUP),
    "local_certificate_id": ("local-certificate", CERTIFICATE),
    "trust_anchor_id": ("trust-anchor", TRUST_ANCHOR),
    "issuer_id": ("issuer", TRUST_ANCHOR),
}
"""Attributes that reference another object: the name of the option and the referenced resource."""

ENDPOINT_KINDS: Final = {"subnet": SUBNET, "network": NETWORK, "router": ROUTER}
VISIBLE: Final = "{0} is visible to every user of this machine in the list of processes; use {0}-file FILE or {0} -"
_OBJECTS: Final = {
    name: ",".join(f"{key}={value}" for key, value in default.items())
    for name, default in (("lifetime", LIFETIME_DEFAULT), ("dpd", DPD_DEFAULT))
}

_FROM_FILE: Final = "@FILE: read from a file, -: from standard input"
_LIST_METAVARS: Final[dict[type, str]] = {
    NameServers: "ADDRESS",
    HostRoutes: "destination=CIDR,nexthop=ADDRESS",
    Tags: "TEXT",
    AlternativeNames: "NAME|ADDRESS",
    CrlUrls: "URL",
    PemList: "@FILE",
}


def options(resource: Resource, *, create: bool) -> list[click.Parameter]:
    """Returns the options of the command that creates or changes an object."""
    parameters: list[click.Parameter] = []
    for attribute in resource.attributes:
        if attribute.post if create else attribute.put:
            parameters += _options(attribute, create=create)
    return parameters


def _options(attribute: Attribute, *, create: bool) -> list[click.Parameter]:
    flag, kind, name = flag_of(attribute), attribute.kind, parameter_name(attribute)
    common: dict[str, Any] = {"help": _help(attribute, create=create)}
    if attribute.name == "name" and create:
        return [click.Argument(["name"], required=False)]
    if attribute.name == "external_gateway_info":
        clear = click.Option(["--no-external-gateway"], is_flag=True, help="remove the external gateway")
        gateway = click.Option([flag, name], metavar="NETWORK", help="external network, by name or id")
        return [gateway] if create else [gateway, clear]
    if attribute.secret:
        common["help"] += (
            " (-: read from standard input; on the command line it is visible to every user of this machine)"
        )
        file = click.Option(
            [f"{flag}-file"],
            metavar="FILE",
            type=click.Path(path_type=Path),
            help=f"file that holds the {attribute.name}",
        )
        return [click.Option([flag, name], metavar="TEXT", **common), file]
    if isinstance(kind, attribute_types.Boolean):
        # None: neither form was given, so the API's default applies.
        return [click.Option([f"{flag}/--no-{flag[2:]}", name], default=None, **common)]
    if isinstance(kind, attribute_types.Cidrs | attribute_types.Endpoints):
        metavar = "CIDR" if isinstance(kind, attribute_types.Cidrs) else "CIDR|NAME|ID"
        common["help"] += "; repeat for several"
        return [click.Option([flag, name], multiple=True, metavar=metavar, help=common["help"])]
    if isinstance(kind, AllocationPools):
        metavar, text = "START-END", "range from which addresses are allocated; repeat for several"
        return [click.Option([flag, name], multiple=True, metavar=metavar, help=text)]
    if isinstance(kind, tuple(_LIST_METAVARS)):
        metavar = _LIST_METAVARS[type(kind)]
        text = attribute.help.partition(";")[0].partition(":")[0]
        text += f" ({_FROM_FILE})" if isinstance(kind, PemList) else ""
        return [click.Option([flag, name], multiple=True, metavar=metavar, help=f"{text}; repeat for several")]
    if isinstance(kind, PemText):
        common["help"] += f" ({_FROM_FILE})"
        return [click.Option([flag, name], metavar="@FILE", **common)]
    required = create and attribute.default is REQUIRED
    return [click.Option([flag, name], required=required, type=_type(attribute), metavar=_metavar(attribute), **common)]


def flag_of(attribute: Attribute) -> str:
    """Returns the option of an attribute, such as `--peer-cidr`."""
    if attribute.name in REFERENCES:
        return f"--{REFERENCES[attribute.name][0]}"
    special = {
        "project_id": "project",
        "flavor_id": "flavor",
        "peer_cidrs": "peer-cidr",
        "endpoints": "endpoint",
        "router:external": "external",
        "external_gateway_info": "external-gateway",
        "allocation_pools": "allocation-pool",
        "dns_nameservers": "dns-nameserver",
        "host_routes": "host-route",
        "tags": "tag",
        "subject_alt_names": "subject-alt-name",
        "crl_urls": "crl-url",
        "peer_certificates": "peer-certificate",
        "phase1_negotiation_mode": "phase1-mode",
    }
    return "--" + special.get(attribute.name, attribute.name.replace("_", "-"))


def parameter_name(attribute: Attribute) -> str:
    """Returns the attribute's name as a Python identifier."""
    return attribute.name.replace(":", "_")


def _type(attribute: Attribute) -> click.ParamType[Any]:
    if isinstance(attribute.kind, attribute_types.Choice):
        return click.Choice(attribute.kind.values)
    return click.INT if isinstance(attribute.kind, attribute_types.Integer) else click.STRING


def _metavar(attribute: Attribute) -> str | None:
    if attribute.name in REFERENCES:
        return "NAME|ID"
    if attribute.name in _OBJECTS:
        return "KEY=VALUE,…"
    # Thirty algorithms in every help text would hide the rest; the error for a wrong value lists them all.
    if isinstance(attribute.kind, attribute_types.Choice) and len(attribute.kind.values) > 6:
        return "ALGORITHM" if "algorithm" in attribute.name else "GROUP"
    return None


def _help(attribute: Attribute, *, create: bool) -> str:
    if attribute.name in _OBJECTS:
        return f"{attribute.help.partition(': {')[0]}, such as {_OBJECTS[attribute.name]}"
    default = attribute.default
    if not create or default is REQUIRED or default is None or default in ("", []):
        return attribute.help
    words = {True: "true", False: "false"}
    return f"{attribute.help} (default {words[default] if isinstance(default, bool) else default})"


def request_body(client: Client, resource: Resource, values: Mapping[str, Any]) -> dict[str, Any]:
    """Builds a request body from the given options; resolves names to ids."""
    body: dict[str, Any] = {}
    for attribute in resource.attributes:
        value = values.get(parameter_name(attribute))
        if attribute.secret:
            value = read_secret(attribute, value, values.get(f"{parameter_name(attribute)}_file"))
        if attribute.name == "external_gateway_info" and values.get("no_external_gateway"):
            body[attribute.name] = None
        elif value is not None and value != ():
            body[attribute.name] = _value(client, attribute, value, values)
    return body


def _value(client: Client, attribute: Attribute, value: Any, values: Mapping[str, Any]) -> Any:
    if attribute.name in REFERENCES:
        # An empty name removes an optional reference.
        return find_id(client, REFERENCES[attribute.name][1], value) if value else None
    if attribute.name == "external_gateway_info":
        return {"network_id": find_id(client, NETWORK, value)}
    if attribute.name == "endpoints" and values.get("type") in ENDPOINT_KINDS:
        return [find_id(client, ENDPOINT_KINDS[values["type"]], item) for item in value]
    if isinstance(attribute.kind, AllocationPools):
        return [parse_range(flag_of(attribute), item) for item in value]
    if isinstance(attribute.kind, HostRoutes):
        return [parse_pairs(flag_of(attribute), item) for item in value]
    if isinstance(attribute.kind, PemText):
        return read_text(flag_of(attribute), value)
    if isinstance(attribute.kind, PemList):
        return [read_text(flag_of(attribute), item) for item in value if item]
    if isinstance(attribute.kind, Lifetime | DeadPeerDetection):
        return parse_pairs(flag_of(attribute), value)
    return list(value) if isinstance(value, tuple) else value


def parse_pairs(flag: str, text: str) -> dict[str, Any]:
    """Parses `a=b,c=1` into an object; digits become integers. Raises BadParameter for any other form."""
    values: dict[str, Any] = {}
    for item in text.split(","):
        key, equals, value = (part.strip() for part in item.partition("="))
        if not key or not equals or not value or key in values:
            raise click.BadParameter(f"'{text}' is not of the form key=value,key=value", param_hint=f"'{flag}'")
        values[key] = int(value) if value.isascii() and value.isdigit() else value
    return values


def parse_range(flag: str, text: str) -> dict[str, str]:
    """Parses `first-last` into a pool. Raises BadParameter for any other form."""
    start, dash, end = (part.strip() for part in text.partition("-"))
    if not start or not dash or not end:
        raise click.BadParameter(f"'{text}' is not of the form START-END", param_hint=f"'{flag}'")
    return {"start": start, "end": end}


def read_text(flag: str, text: str) -> str:
    """Reads a text from `@FILE` or from standard input (`-`); other text is itself. Raises CliError."""
    if text == "-":
        return sys.stdin.read()
    return _read_file(flag, Path(text.removeprefix("@"))) if text.startswith("@") else text


def _read_file(flag: str, file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CliError(f"cannot read {flag} {file}: {getattr(error, 'strerror', None) or error}") from None


def read_secret(attribute: Attribute, text: str | None, file: Path | None) -> str | None:
    """Reads a secret from an option, standard input or a file, without a trailing line break. Raises CliError."""
    flag = flag_of(attribute)
    if text is not None and file is not None:
        raise click.UsageError(f"{flag} and {flag}-file cannot be given together")
    if file is not None:
        text = _read_file(f"{flag}-file", file)
    elif text == "-":
        text = sys.stdin.read()
    elif text is not None:
        click.echo(f"warning: {VISIBLE.format(flag)}", err=True)
        return text
    return None if text is None else text.removesuffix("\n").removesuffix("\r")
