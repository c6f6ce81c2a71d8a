"""FortiGate, as commands of FortiOS 7: a route-based tunnel with a phase 2 for each pair of networks."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from typing import Final

from linkspan.core.ipsec.algorithms import is_aead
from linkspan.core.peer_side.device import Alphabet, Device, within
from linkspan.core.peer_side.formats.format import (
    UNTRIED,
    ConfigFile,
    PeerFormat,
    head,
    key_of,
    local_identity,
    mask,
    number,
    numbered,
    remote_identity,
    suites,
    text_of,
    version_of,
    word,
)
from linkspan.core.peer_side.site_config import SiteConfig, Suite

TITLE: Final = "FortiGate, FortiOS 7"
BY_HAND: Final = {
    "OUTSIDE_INTERFACE": "the interface to the internet, such as wan1",
    "INSIDE_INTERFACE": "the interface of the networks behind it, such as internal",
}
_BLOCK: Final = {"3des": "3des", **{f"aes-{bits}": f"aes{bits}" for bits in (128, 192, 256)}}
_CIPHERS: Final = _BLOCK | {f"aes-{bits}-gcm-16": f"aes{bits}gcm" for bits in (128, 256)}
_HASHES: Final = {name: name for name in ("sha1", "sha256", "sha384", "sha512")}
_GROUPS: Final = {f"group{value}": str(value) for value in (2, 5, *range(14, 22), *range(27, 32))}
_TYPES: Final = {"ipv4": "address", "ipv6": "address", "fqdn": "fqdn", "email": "user-fqdn", "keyid": "keyid"}
_QUOTED: Final = r"[!#-&(->@-\[\]-~]"
DEVICE: Final = Device(
    ike_encryption=_CIPHERS,
    ike_integrity=_HASHES,
    ike_groups=_GROUPS,
    encryption=_CIPHERS,
    integrity=_HASHES,
    groups=_GROUPS,
    pairs="one a child",
    identities=frozenset({"ipv4", "ipv6", "fqdn", "email", "keyid"}),
    id_text=Alphabet(_QUOTED + "{1,63}", "at most 63 printable ASCII characters without blanks, quotes, '?' and '\\'"),
    psk=Alphabet(_QUOTED + "{6,128}", "6 to 128 printable ASCII characters without blanks, quotes, '?' and '\\',"),
    ike_lifetime=(120, 172_800),
    child_lifetime=(120, 172_800),
    kilobytes=(5120, 4_294_967_295),
)


def write(config: SiteConfig) -> tuple[ConfigFile, ...]:
    """The commands. Names of interfaces have 15 characters at most."""
    name = word(config, 15)
    phases = [(f'"{name}-{place}"', _phase2(config, left, right)) for place, left, right in numbered(config)]
    policies = [("0", _policy("INSIDE_INTERFACE", name)), ("0", _policy(name, "INSIDE_INTERFACE"))]
    lines = [
        *head(TITLE, "#", BY_HAND),
        *_table("vpn ipsec phase1-interface", [(f'"{name}"', _phase1(config))]),
        *_table("vpn ipsec phase2-interface", phases),
        *_routes(config, name),
        *_table("firewall policy", policies),
    ]
    return (ConfigFile("fortigate.txt", text_of(lines)),)


def _table(path: str, entries: Iterable[tuple[str, Iterator[str]]]) -> Iterator[str]:
    yield f"config {path}"
    for name, settings in entries:
        yield f"    edit {name}"
        yield from (f"        set {setting}" for setting in settings)
        yield "    next"
    yield "end"


def _proposal(suite: Suite, ike: bool) -> str:
    cipher = _CIPHERS[suite.encryption]
    if not is_aead(suite.encryption):
        return f"{cipher}-{suite.integrity}"
    return f"{cipher}-prf{suite.integrity}" if ike else cipher


def _phase1(config: SiteConfig) -> Iterator[str]:
    suite, _ = suites(config)
    local, remote = local_identity(config), remote_identity(config)
    yield 'interface "OUTSIDE_INTERFACE"'
    yield f"ike-version {version_of(config)}"
    if config.mode:
        yield f"mode {config.mode}"
    if ":" in config.remote_address:
        yield "ip-version 6"
        yield f"remote-gw6 {config.remote_address}"
    else:
        yield f"remote-gw {config.remote_address}"
    yield f"localid-type {_TYPES[local.kind]}"
    yield f'localid "{local.text}"'
    if config.mode != "main":
        # In main mode of IKEv1 the address alone selects the peer.
        yield "peertype one"
        yield f'peerid "{remote.text}"'
    yield "net-device disable"
    yield f"proposal {_proposal(suite, ike=True)}"
    yield f"dhgrp {number(suite.group)}"
    yield f"keylife {within(config.ike_lifetime or 86_400, DEVICE.ike_lifetime)}"
    yield f"dpd {'disable' if config.dpd_action == 'disabled' else 'on-idle'}"
    if config.dpd_action != "disabled" and config.dpd_interval and config.dpd_timeout:
        yield f"dpd-retryinterval {within(config.dpd_interval, (1, 3600))}"
        yield f"dpd-retrycount {within(config.dpd_timeout // config.dpd_interval, (1, 10))}"
    yield f'psksecret "{key_of(config)}"'


def _phase2(config: SiteConfig, left: str, right: str) -> Iterator[str]:
    _, suite = suites(config)
    yield f'phase1name "{word(config, 15)}"'
    yield f"proposal {_proposal(suite, ike=False)}"
    yield "pfs enable"
    yield f"dhgrp {number(suite.group)}"
    if config.child_kilobytes and DEVICE.kilobytes:
        yield "keylife-type kbs"
        yield f"keylifekbs {within(config.child_kilobytes, DEVICE.kilobytes)}"
    if config.child_lifetime:
        yield f"keylifeseconds {within(config.child_lifetime, DEVICE.child_lifetime)}"
    for end, network in (("src", left), ("dst", right)):
        if ":" in network:
            yield f"{end}-addr-type subnet6"
            yield f"{end}-subnet6 {network}"
        else:
            yield f"{end}-subnet {' '.join(mask(network))}"
    yield f"auto-negotiate {'enable' if config.initiates else 'disable'}"


def _routes(config: SiteConfig, name: str) -> Iterator[str]:
    remote = list(dict.fromkeys(right for _, right in config.pairs))
    for version, table in ((4, "router static"), (6, "router static6")):
        networks = [network for network in remote if ipaddress.ip_network(network).version == version]
        if networks:
            yield from _table(table, [("0", _settings_of_route(network, name)) for network in networks])


def _settings_of_route(network: str, name: str) -> Iterator[str]:
    yield f"dst {network if ':' in network else ' '.join(mask(network))}"
    yield f'device "{name}"'


def _policy(source: str, destination: str) -> Iterator[str]:
    yield f'srcintf "{source}"'
    yield f'dstintf "{destination}"'
    yield 'srcaddr "all"'
    yield 'dstaddr "all"'
    yield "action accept"
    yield 'schedule "always"'
    yield 'service "ALL"'


FORMAT: Final = PeerFormat(
    name="fortigate",
    title=TITLE,
    mark="unverified",
    evidence=UNTRIED,
    device=DEVICE,
    write=write,
    by_hand=BY_HAND,
)
