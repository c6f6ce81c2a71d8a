"""VyOS 1.4 and later, as commands of its configuration mode (VyOS: IPsec site-to-site)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from linkspan.core.ipsec.algorithms import is_aead
from linkspan.core.ipsec.identities import Identity
from linkspan.core.peer_side.device import Alphabet, Device
from linkspan.core.peer_side.formats.format import (
    UNTRIED,
    ConfigFile,
    PeerFormat,
    head,
    is_address,
    key_of,
    local_identity,
    number,
    numbered,
    remote_identity,
    suites,
    text_of,
    version_of,
    word,
)
from linkspan.core.peer_side.site_config import SiteConfig

TITLE: Final = "VyOS 1.4 and later, configuration mode"
BY_HAND: Final = {"OUTSIDE_INTERFACE": "the interface to the internet, such as eth0"}
_CIPHERS: Final = {
    "3des": "3des",
    **{f"aes-{bits}": f"aes{bits}" for bits in (128, 192, 256)},
    **{f"aes-{bits}-ctr": f"aes{bits}ctr" for bits in (128, 192, 256)},
    **{
        f"aes-{bits}-{mode}-{icv}": f"aes{bits}{mode}{icv * 8}"
        for mode in ("ccm", "gcm")
        for bits in (128, 192, 256)
        for icv in (8, 12, 16)
    },
}
_HASHES: Final = {
    **{name: name for name in ("sha1", "sha256", "sha384", "sha512")},
    "aes-xcbc": "aesxcbc",
    "aes-cmac": "aescmac",
}
_GROUPS: Final = {f"group{value}": str(value) for value in (2, 5, *range(14, 32))}
_ACTIONS: Final = {"hold": "trap", "clear": "clear", "restart": "restart"}
_PRINTABLE: Final = r"[ !#-&(-\[\]-~]+"
DEVICE: Final = Device(
    ike_encryption=_CIPHERS,
    ike_integrity=_HASHES,
    ike_groups=_GROUPS,
    encryption=_CIPHERS,
    integrity=_HASHES,
    groups=_GROUPS,
    transport=True,
    pairs="one a child",
    identities=frozenset({"ipv4", "ipv6", "fqdn", "email", "keyid"}),
    id_text=Alphabet(_PRINTABLE, "printable ASCII without quotes and backslashes"),
    psk=Alphabet(_PRINTABLE, "printable ASCII without quotes and backslashes"),
    ike_lifetime=(30, 86_400),
    child_lifetime=(30, 86_400),
    kilobytes=(1, 10**9),
)


def write(config: SiteConfig) -> tuple[ConfigFile, ...]:
    """The commands, for a paste after `configure`."""
    commands = (f"set vpn ipsec {path} {_quoted(value)}".rstrip() for path, value in _settings(config))
    outside = "set vpn ipsec interface OUTSIDE_INTERFACE"
    return (ConfigFile("vyos.txt", text_of((*head(TITLE, "#", BY_HAND), outside, *commands))),)


def _settings(config: SiteConfig) -> Iterator[tuple[str, str]]:
    name = word(config)
    yield from ((f"ike-group {name} {path}", value) for path, value in _ike(config))
    yield from ((f"esp-group {name} {path}", value) for path, value in _esp(config))
    both = [_identity(local_identity(config)), _identity(remote_identity(config))]
    yield from ((f"authentication psk {name} id", identity) for identity in both)
    yield f"authentication psk {name} secret", key_of(config)
    yield from ((f"site-to-site peer {name} {path}", value) for path, value in _peer(config, name, *both))


def _ike(config: SiteConfig) -> Iterator[tuple[str, str]]:
    suite, _ = suites(config)
    yield "key-exchange", f"ikev{version_of(config)}"
    if config.mode:
        yield "mode", config.mode
    else:
        yield "disable-mobike", ""
    if config.ike_lifetime:
        yield "lifetime", str(config.ike_lifetime)
    if config.dpd_action in _ACTIONS:
        yield "dead-peer-detection action", _ACTIONS[config.dpd_action]
        yield "dead-peer-detection interval", str(config.dpd_interval)
        yield "dead-peer-detection timeout", str(config.dpd_timeout)
    yield "proposal 1 dh-group", number(suite.group)
    yield "proposal 1 encryption", _CIPHERS[suite.encryption]
    yield "proposal 1 hash", _HASHES[suite.integrity]
    if is_aead(suite.encryption):
        yield "proposal 1 prf", f"prf{_HASHES[suite.integrity]}"


def _esp(config: SiteConfig) -> Iterator[tuple[str, str]]:
    _, suite = suites(config)
    yield "mode", config.encapsulation or "tunnel"
    yield "pfs", f"dh-group{number(suite.group)}"
    if config.child_lifetime:
        yield "lifetime", str(config.child_lifetime)
    if config.child_kilobytes:
        yield "life-bytes", str(config.child_kilobytes * 1024)
    yield "proposal 1 encryption", _CIPHERS[suite.encryption]
    if suite.integrity:
        yield "proposal 1 hash", _HASHES[suite.integrity]


def _peer(config: SiteConfig, name: str, local: str, remote: str) -> Iterator[tuple[str, str]]:
    yield "authentication mode", "pre-shared-secret"
    yield "authentication local-id", local
    yield "authentication remote-id", remote
    yield "connection-type", "initiate" if config.initiates else "respond"
    yield "ike-group", name
    yield "default-esp-group", name
    yield "local-address", config.local_address if is_address(config.local_address) else "any"
    yield "remote-address", config.remote_address
    for place, left, right in numbered(config):
        yield f"tunnel {place} local prefix", left
        yield f"tunnel {place} remote prefix", right


def _identity(identity: Identity) -> str:
    return f"keyid:{identity.text}" if identity.kind == "keyid" else identity.text


def _quoted(text: str) -> str:
    """A value in single quotes, which has none; nothing for a setting without a value."""
    return f"'{text}'" if text else ""


FORMAT: Final = PeerFormat(
    name="vyos",
    title=TITLE,
    mark="unverified",
    evidence=UNTRIED,
    device=DEVICE,
    write=write,
    by_hand=BY_HAND,
)
