"""Juniper SRX, as `set` commands of Junos: a route-based tunnel with a traffic selector for each pair of networks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from linkspan.core.ipsec.identities import Identity
from linkspan.core.peer_side.device import Alphabet, Device, within
from linkspan.core.peer_side.formats.format import (
    UNTRIED,
    ConfigFile,
    PeerFormat,
    head,
    is_address,
    key_of,
    local_identity,
    numbered,
    remote_identity,
    suites,
    text_of,
    version_of,
    word,
)
from linkspan.core.peer_side.site_config import SiteConfig

TITLE: Final = "Juniper SRX, configuration mode"
BY_HAND: Final = {
    "OUTSIDE_INTERFACE": "the interface to the internet, such as ge-0/0/0.0",
    "TUNNEL_INTERFACE": "a secure tunnel interface in a security zone, such as st0.0",
}
_IKE_CIPHERS: Final = {"3des": "3des-cbc", **{f"aes-{bits}": f"aes-{bits}-cbc" for bits in (128, 192, 256)}}
_CIPHERS: Final = _IKE_CIPHERS | {f"aes-{bits}-gcm-16": f"aes-{bits}-gcm" for bits in (128, 192, 256)}
_IKE_HASHES: Final = {"sha1": "sha1", "sha256": "sha-256", "sha384": "sha-384", "sha512": "sha-512"}
_HASHES: Final = {
    "sha1": "hmac-sha1-96",
    "sha256": "hmac-sha-256-128",
    "sha384": "hmac-sha-384",
    "sha512": "hmac-sha-512",
}
_GROUPS: Final = {f"group{value}": f"group{value}" for value in (2, 5, 14, 15, 16, 19, 20, 21, 24)}
_TYPES: Final = {"ipv4": "inet", "ipv6": "inet6", "fqdn": "hostname", "email": "user-at-hostname"}
_QUOTED: Final = r"[!#-\[\]-~]"
DEVICE: Final = Device(
    ike_encryption=_IKE_CIPHERS,
    ike_integrity=_IKE_HASHES,
    ike_groups=_GROUPS,
    encryption=_CIPHERS,
    integrity=_HASHES,
    groups=_GROUPS,
    protocols=frozenset({"esp", "ah"}),
    pairs="one a child",
    identities=frozenset({"ipv4", "ipv6", "fqdn", "email"}),
    id_text=Alphabet(_QUOTED + "{1,255}", "printable ASCII without blanks, double quotes and backslashes"),
    psk=Alphabet(_QUOTED + "{1,255}", "1 to 255 printable ASCII characters without blanks, double quotes and '\\',"),
    ike_lifetime=(180, 86_400),
    child_lifetime=(180, 86_400),
    kilobytes=(64, 4_294_967_294),
)


def write(config: SiteConfig) -> tuple[ConfigFile, ...]:
    """The commands."""
    commands = (f"set security {command}" for part in (_ike, _gateway, _ipsec) for command in part(config))
    remote = dict.fromkeys(right for _, right in config.pairs)
    routes = (_route(network) for network in remote)
    return (ConfigFile("srx.txt", text_of((*head(TITLE, "#", BY_HAND), *commands, *routes))),)


def _route(network: str) -> str:
    table = "rib inet6.0 " if ":" in network else ""
    return f"set routing-options {table}static route {network} next-hop TUNNEL_INTERFACE"


def _ike(config: SiteConfig) -> Iterator[str]:
    suite, _ = suites(config)
    name = word(config)
    proposal, policy = f"ike proposal {name}", f"ike policy {name}"
    yield f"{proposal} authentication-method pre-shared-keys"
    yield f"{proposal} dh-group {_GROUPS[suite.group]}"
    yield f"{proposal} encryption-algorithm {_IKE_CIPHERS[suite.encryption]}"
    yield f"{proposal} authentication-algorithm {_IKE_HASHES[suite.integrity]}"
    if config.ike_lifetime:
        yield f"{proposal} lifetime-seconds {within(config.ike_lifetime, DEVICE.ike_lifetime)}"
    if config.mode:
        yield f"{policy} mode {config.mode}"
    yield f"{policy} proposals {name}"
    yield f'{policy} pre-shared-key ascii-text "{key_of(config)}"'


def _gateway(config: SiteConfig) -> Iterator[str]:
    name = word(config)
    gateway = f"ike gateway {name}"
    yield f"{gateway} ike-policy {name}"
    yield f"{gateway} address {config.remote_address}"
    yield f"{gateway} external-interface OUTSIDE_INTERFACE"
    if is_address(config.local_address):
        yield f"{gateway} local-address {config.local_address}"
    yield f"{gateway} local-identity {_identity(local_identity(config))}"
    yield f"{gateway} remote-identity {_identity(remote_identity(config))}"
    yield f"{gateway} version v{version_of(config)}-only"
    if config.dpd_action != "disabled" and config.dpd_interval and config.dpd_timeout:
        yield f"{gateway} dead-peer-detection interval {within(config.dpd_interval, (10, 60))}"
        yield f"{gateway} dead-peer-detection threshold {within(config.dpd_timeout // config.dpd_interval, (1, 5))}"


def _ipsec(config: SiteConfig) -> Iterator[str]:
    _, suite = suites(config)
    name = word(config)
    proposal, policy, vpn = (f"ipsec {kind} {name}" for kind in ("proposal", "policy", "vpn"))
    yield f"{proposal} protocol {config.protocol or 'esp'}"
    if suite.encryption:
        yield f"{proposal} encryption-algorithm {_CIPHERS[suite.encryption]}"
    if suite.integrity:
        yield f"{proposal} authentication-algorithm {_HASHES[suite.integrity]}"
    if config.child_lifetime:
        yield f"{proposal} lifetime-seconds {within(config.child_lifetime, DEVICE.child_lifetime)}"
    if config.child_kilobytes and DEVICE.kilobytes:
        yield f"{proposal} lifetime-kilobytes {within(config.child_kilobytes, DEVICE.kilobytes)}"
    yield f"{policy} perfect-forward-secrecy keys {_GROUPS[suite.group]}"
    yield f"{policy} proposals {name}"
    yield f"{vpn} bind-interface TUNNEL_INTERFACE"
    yield f"{vpn} ike gateway {name}"
    yield f"{vpn} ike ipsec-policy {name}"
    for place, left, right in numbered(config):
        yield f"{vpn} traffic-selector pair-{place} local-ip {left} remote-ip {right}"
    yield f"{vpn} establish-tunnels {'immediately' if config.initiates else 'on-traffic'}"


def _identity(identity: Identity) -> str:
    return f'{_TYPES[identity.kind]} "{identity.text}"'


FORMAT: Final = PeerFormat(
    name="juniper-srx",
    title=TITLE,
    mark="unverified",
    evidence=UNTRIED,
    device=DEVICE,
    write=write,
    by_hand=BY_HAND,
)
