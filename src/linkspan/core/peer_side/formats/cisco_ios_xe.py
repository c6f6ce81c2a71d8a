"""Cisco IOS-XE, as lines of its configuration mode: a crypto map, whose access list has the pairs of networks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from linkspan.core.ipsec.algorithms import is_aead
from linkspan.core.ipsec.identities import Identity
from linkspan.core.peer_side.device import Device, within
from linkspan.core.peer_side.formats import cisco
from linkspan.core.peer_side.formats.format import (
    UNTRIED,
    ConfigFile,
    PeerFormat,
    head,
    key_of,
    local_identity,
    number,
    remote_identity,
    suites,
    text_of,
    version_of,
    wildcard,
    word,
)
from linkspan.core.peer_side.site_config import SiteConfig

TITLE: Final = "Cisco IOS-XE, configuration mode"
BY_HAND: Final = {"OUTSIDE_INTERFACE": "the interface to the internet, such as GigabitEthernet1"}
_IKE_CIPHERS: Final = {
    "3des": "3des",
    **{f"aes-{bits}": f"aes-cbc-{bits}" for bits in (128, 192, 256)},
    **{f"aes-{bits}-gcm-16": f"aes-gcm-{bits}" for bits in (128, 256)},
}
_CIPHERS: Final = {
    "3des": "esp-3des",
    **{f"aes-{bits}": f"esp-aes {bits}" for bits in (128, 192, 256)},
    **{f"aes-{bits}-gcm-16": f"esp-gcm {bits}" for bits in (128, 192, 256)},
}
_IKE_HASHES: Final = {name: name for name in ("sha1", "sha256", "sha384", "sha512")}
_HASHES: Final = {
    "sha1": "sha-hmac",
    "sha256": "sha256-hmac",
    "sha384": "sha384-hmac",
    "sha512": "sha512-hmac",
}
_GROUPS: Final = {f"group{value}": str(value) for value in (2, 5, 14, 15, 16, 19, 20, 21, 24)}
DEVICE: Final = Device(
    ike_encryption=_IKE_CIPHERS,
    ike_integrity=_IKE_HASHES,
    ike_groups=_GROUPS,
    encryption=_CIPHERS,
    integrity=_HASHES,
    groups=_GROUPS,
    protocols=frozenset({"esp", "ah"}),
    pairs="one a child",
    ipv6=False,
    identities=frozenset({"ipv4", "fqdn", "email", "keyid"}),
    identities_of_v1=frozenset({"ipv4", "fqdn", "email"}),
    id_text=cisco.ID_TEXT,
    psk=cisco.PSK,
    ike_lifetime=(120, 86_400),
    child_lifetime=(120, 86_400),
    kilobytes=(2560, 4_294_967_295),
)


def write(config: SiteConfig) -> tuple[ConfigFile, ...]:
    """The lines, for a paste after `configure terminal`."""
    ike = _ikev2(config) if version_of(config) == "2" else _ikev1(config)
    return (ConfigFile("ios-xe.txt", text_of((*head(TITLE, "!", BY_HAND), *ike, *_ipsec(config), "end"))),)


def _ikev2(config: SiteConfig) -> Iterator[str]:
    name, (suite, _) = word(config), suites(config)
    yield f"crypto ikev2 proposal {name}"
    yield f" encryption {_IKE_CIPHERS[suite.encryption]}"
    yield f" {'prf' if is_aead(suite.encryption) else 'integrity'} {_IKE_HASHES[suite.integrity]}"
    yield f" group {number(suite.group)}"
    yield f"crypto ikev2 policy {name}"
    yield f" proposal {name}"
    yield f"crypto ikev2 keyring {name}"
    yield f" peer {name}"
    yield f"  address {config.remote_address}"
    yield f"  pre-shared-key {key_of(config)}"
    yield f"crypto ikev2 profile {name}"
    yield f" match identity remote {_remote(remote_identity(config))}"
    yield f" identity local {cisco.typed(local_identity(config))}"
    yield " authentication remote pre-share"
    yield " authentication local pre-share"
    yield f" keyring local {name}"
    yield f" lifetime {within(config.ike_lifetime or 86_400, DEVICE.ike_lifetime)}"
    if config.dpd_action != "disabled" and config.dpd_interval:
        yield f" dpd {within(config.dpd_interval, (10, 3600))} 5 periodic"


def _remote(identity: Identity) -> str:
    return f"{cisco.typed(identity)}{' 255.255.255.255' if identity.kind == 'ipv4' else ''}"


_V1_CIPHERS: Final = {"3des": "3des", **{f"aes-{bits}": f"aes {bits}" for bits in (128, 192, 256)}}
_V1_KINDS: Final = {"ipv4": "address", "fqdn": "fqdn", "email": "user-fqdn"}
_V1_MATCH: Final = {"ipv4": "address", "fqdn": "host", "email": "user"}


def _ikev1(config: SiteConfig) -> Iterator[str]:
    name, (suite, _) = word(config), suites(config)
    local, remote = local_identity(config), remote_identity(config)
    yield "crypto isakmp policy 10"
    yield f" encryption {_V1_CIPHERS[suite.encryption]}"
    yield f" hash {'sha' if suite.integrity == 'sha1' else suite.integrity}"
    yield " authentication pre-share"
    yield f" group {number(suite.group)}"
    yield f" lifetime {within(config.ike_lifetime or 86_400, (60, 86_400))}"
    yield f"crypto keyring {name}"
    yield f" pre-shared-key address {config.remote_address} key {key_of(config)}"
    yield f"crypto isakmp profile {name}"
    yield f" keyring {name}"
    yield f" self-identity {_V1_KINDS[local.kind]}{'' if local.kind == 'ipv4' else f' {local.text}'}"
    yield f" match identity {_V1_MATCH[remote.kind]} {remote.text}{' 255.255.255.255' if remote.kind == 'ipv4' else ''}"
    if config.dpd_action != "disabled" and config.dpd_interval:
        yield f" keepalive {within(config.dpd_interval, (10, 3600))} retry 5"
    if config.mode == "aggressive":
        yield " initiate mode aggressive"


def _ipsec(config: SiteConfig) -> Iterator[str]:
    name, (_, suite) = word(config), suites(config)
    if config.protocol == "ah":
        transforms = f"ah-{_HASHES[suite.integrity]}"
    else:
        integrity = f" esp-{_HASHES[suite.integrity]}" if suite.integrity else ""
        transforms = f"{_CIPHERS[suite.encryption]}{integrity}"
    yield f"crypto ipsec transform-set {name} {transforms}"
    yield " mode tunnel"
    yield f"ip access-list extended {name}"
    for left, right in config.pairs:
        yield f" permit ip {' '.join((*wildcard(left), *wildcard(right)))}"
    yield f"crypto map {name} 10 ipsec-isakmp"
    yield f" set peer {config.remote_address}"
    yield f" set transform-set {name}"
    yield f" set pfs group{number(suite.group)}"
    if config.child_lifetime:
        yield f" set security-association lifetime seconds {within(config.child_lifetime, DEVICE.child_lifetime)}"
    if config.child_kilobytes and DEVICE.kilobytes:
        yield f" set security-association lifetime kilobytes {within(config.child_kilobytes, DEVICE.kilobytes)}"
    yield f" set {'ikev2-profile' if version_of(config) == '2' else 'isakmp-profile'} {name}"
    yield f" match address {name}"
    yield "interface OUTSIDE_INTERFACE"
    yield f" crypto map {name}"


FORMAT: Final = PeerFormat(
    name="cisco-ios-xe",
    title=TITLE,
    mark="unverified",
    evidence=UNTRIED,
    device=DEVICE,
    write=write,
    by_hand=BY_HAND,
)
