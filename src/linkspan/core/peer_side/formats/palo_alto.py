"""Palo Alto Networks, as `set` commands of PAN-OS 10: a route-based tunnel with a proxy id for each pair."""

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

TITLE: Final = "Palo Alto Networks, PAN-OS 10"
BY_HAND: Final = {
    "OUTSIDE_INTERFACE": "the interface to the internet, such as ethernet1/1",
    "TUNNEL_INTERFACE": "a tunnel interface in a zone, such as tunnel.1",
    "VIRTUAL_ROUTER": "the virtual router of both interfaces, such as default",
}
_IKE_CIPHERS: Final = {"3des": "3des", **{f"aes-{bits}": f"aes-{bits}-cbc" for bits in (128, 192, 256)}}
_CIPHERS: Final = _IKE_CIPHERS | {
    "aes-128-ccm-16": "aes-128-ccm",
    "aes-128-gcm-16": "aes-128-gcm",
    "aes-256-gcm-16": "aes-256-gcm",
}
_HASHES: Final = {name: name for name in ("sha1", "sha256", "sha384", "sha512")}
_GROUPS: Final = {f"group{value}": f"group{value}" for value in (2, 5, 14, 19, 20)}
_TYPES: Final = {"ipv4": "ipaddr", "ipv6": "ipaddr", "fqdn": "fqdn", "email": "ufqdn", "keyid": "keyid"}
_CHARACTERS: Final = r"[A-Za-z0-9._@:/+=,~^*%&#$!-]"
DEVICE: Final = Device(
    ike_encryption=_IKE_CIPHERS,
    ike_integrity=_HASHES,
    ike_groups=_GROUPS,
    encryption=_CIPHERS,
    integrity=_HASHES,
    groups=_GROUPS,
    protocols=frozenset({"esp", "ah"}),
    pairs="one a child",
    identities=frozenset({"ipv4", "ipv6", "fqdn", "email", "keyid"}),
    id_text=Alphabet(_CHARACTERS + "{1,255}", "letters, digits and common signs"),
    keyids_in_hex=True,
    psk=Alphabet(_CHARACTERS + "{1,255}", "1 to 255 letters, digits and some signs, without quotes and blanks,"),
    ike_lifetime=(180, 65_535),
    child_lifetime=(180, 65_535),
    kilobytes=(1, 65_535),
)


def write(config: SiteConfig) -> tuple[ConfigFile, ...]:
    """The commands."""
    parts = (_profiles(config), _gateway(config), _tunnel(config))
    commands = (f"set network {command}" for part in parts for command in part)
    return (ConfigFile("pan-os.txt", text_of((*head(TITLE, "#", BY_HAND), *commands))),)


def _profiles(config: SiteConfig) -> Iterator[str]:
    name, (ike, child) = word(config), suites(config)
    first = f"ike crypto-profiles ike-crypto-profiles {name}"
    yield f"{first} dh-group {_GROUPS[ike.group]}"
    yield f"{first} encryption {_IKE_CIPHERS[ike.encryption]}"
    yield f"{first} hash {_HASHES[ike.integrity]}"
    if config.ike_lifetime:
        yield f"{first} lifetime seconds {within(config.ike_lifetime, DEVICE.ike_lifetime)}"
    second = f"ike crypto-profiles ipsec-crypto-profiles {name}"
    if config.protocol == "ah":
        yield f"{second} ah authentication {_HASHES[child.integrity]}"
    else:
        yield f"{second} esp encryption {_CIPHERS[child.encryption]}"
        yield f"{second} esp authentication {_HASHES[child.integrity] if child.integrity else 'none'}"
    yield f"{second} dh-group {_GROUPS[child.group]}"
    if config.child_lifetime:
        yield f"{second} lifetime seconds {within(config.child_lifetime, DEVICE.child_lifetime)}"
    if config.child_kilobytes and DEVICE.kilobytes:
        yield f"{second} lifesize kb {within(config.child_kilobytes, DEVICE.kilobytes)}"


def _gateway(config: SiteConfig) -> Iterator[str]:
    name = word(config)
    gateway = f"ike gateway {name}"
    version = f"ikev{version_of(config)}"
    yield f"{gateway} authentication pre-shared-key key {key_of(config)}"
    yield f"{gateway} protocol version {version}"
    yield f"{gateway} protocol {version} ike-crypto-profile {name}"
    if config.mode:
        yield f"{gateway} protocol {version} exchange-mode {config.mode}"
    dpd = config.dpd_action != "disabled"
    yield f"{gateway} protocol {version} dpd enable {'yes' if dpd else 'no'}"
    if dpd and config.dpd_interval:
        yield f"{gateway} protocol {version} dpd interval {within(config.dpd_interval, (2, 100))}"
    yield f"{gateway} local-address interface OUTSIDE_INTERFACE"
    yield f"{gateway} peer-address ip {config.remote_address}"
    yield f"{gateway} local-id {_identity(local_identity(config))}"
    yield f"{gateway} peer-id {_identity(remote_identity(config))}"
    yield f"{gateway} protocol-common nat-traversal enable yes"
    yield f"{gateway} protocol-common passive-mode no"


def _identity(identity: Identity) -> str:
    text = identity.text.encode().hex() if identity.kind == "keyid" else identity.text
    return f"type {_TYPES[identity.kind]} id {text}"


def _tunnel(config: SiteConfig) -> Iterator[str]:
    name = word(config)
    tunnel = f"tunnel ipsec {name}"
    yield f"{tunnel} auto-key ike-gateway {name}"
    yield f"{tunnel} auto-key ipsec-crypto-profile {name}"
    for place, left, right in numbered(config):
        proxy = "proxy-id-v6" if ":" in left else "proxy-id"
        yield f"{tunnel} auto-key {proxy} pair-{place} local {left} remote {right} protocol any"
    yield f"{tunnel} tunnel-interface TUNNEL_INTERFACE"
    for place, network in enumerate(dict.fromkeys(right for _, right in config.pairs), 1):
        table = "ipv6" if ":" in network else "ip"
        route = f"virtual-router VIRTUAL_ROUTER routing-table {table} static-route {name}-{place}"
        yield f"{route} destination {network} interface TUNNEL_INTERFACE"


FORMAT: Final = PeerFormat(
    name="palo-alto",
    title=TITLE,
    mark="unverified",
    evidence=UNTRIED,
    device=DEVICE,
    write=write,
    by_hand=BY_HAND,
)
