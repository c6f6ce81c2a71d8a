"""Cisco ASA, as lines of its configuration mode: a crypto map with IKEv2."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from linkspan.core.ipsec.algorithms import is_aead
from linkspan.core.peer_side.device import Device, within
from linkspan.core.peer_side.formats import cisco
from linkspan.core.peer_side.formats.format import (
    UNTRIED,
    ConfigFile,
    PeerFormat,
    head,
    key_of,
    local_identity,
    mask,
    number,
    suites,
    text_of,
    word,
)
from linkspan.core.peer_side.site_config import SiteConfig

TITLE: Final = "Cisco ASA, configuration mode"
BY_HAND: Final = {
    "OUTSIDE": "the name of the interface to the internet",
    "OUTSIDE_MAP": "the crypto map of that interface, if it has one",
}
_CIPHERS: Final = {
    "3des": "3des",
    "aes-128": "aes",
    "aes-192": "aes-192",
    "aes-256": "aes-256",
    "aes-128-gcm-16": "aes-gcm",
    "aes-192-gcm-16": "aes-gcm-192",
    "aes-256-gcm-16": "aes-gcm-256",
}
_IKE_HASHES: Final = {"sha1": "sha", "sha256": "sha256", "sha384": "sha384", "sha512": "sha512"}
_HASHES: Final = {"sha1": "sha-1", "sha256": "sha-256", "sha384": "sha-384", "sha512": "sha-512"}
_GROUPS: Final = {f"group{value}": str(value) for value in (2, 5, 14, 15, 16, 19, 20, 21, 24, 31)}
DEVICE: Final = Device(
    versions=frozenset({"v2"}),
    ike_encryption=_CIPHERS,
    ike_integrity=_IKE_HASHES,
    ike_groups=_GROUPS,
    encryption=_CIPHERS,
    integrity=_HASHES,
    groups=_GROUPS,
    pairs="one a child",
    ipv6=False,
    identities=frozenset({"ipv4", "keyid"}),
    id_text=cisco.ID_TEXT,
    psk=cisco.PSK,
    ike_lifetime=(120, 2_147_483_647),
    child_lifetime=(120, 214_783_647),
    kilobytes=(10, 2_147_483_647),
)


def write(config: SiteConfig) -> tuple[ConfigFile, ...]:
    """The lines, for a paste after `configure terminal`."""
    return (ConfigFile("asa.txt", text_of((*head(TITLE, "!", BY_HAND), *_ike(config), *_ipsec(config)))),)


def _ike(config: SiteConfig) -> Iterator[str]:
    suite, _ = suites(config)
    local = local_identity(config)
    yield "crypto ikev2 policy 10"
    yield f" encryption {_CIPHERS[suite.encryption]}"
    yield f" integrity {'null' if is_aead(suite.encryption) else _IKE_HASHES[suite.integrity]}"
    yield f" group {number(suite.group)}"
    yield f" prf {_IKE_HASHES[suite.integrity]}"
    yield f" lifetime seconds {within(config.ike_lifetime or 86_400, DEVICE.ike_lifetime)}"
    yield "crypto ikev2 enable OUTSIDE"
    yield f"crypto isakmp identity {f'key-id {local.text}' if local.kind == 'keyid' else 'address'}"
    yield f"tunnel-group {config.remote_address} type ipsec-l2l"
    yield f"tunnel-group {config.remote_address} ipsec-attributes"
    yield f" ikev2 remote-authentication pre-shared-key {key_of(config)}"
    yield f" ikev2 local-authentication pre-shared-key {key_of(config)}"
    if config.dpd_action != "disabled" and config.dpd_interval:
        yield f" isakmp keepalive threshold {within(config.dpd_interval, (10, 3600))} retry 5"


def _ipsec(config: SiteConfig) -> Iterator[str]:
    name, (_, suite) = word(config), suites(config)
    yield f"crypto ipsec ikev2 ipsec-proposal {name}"
    yield f" protocol esp encryption {_CIPHERS[suite.encryption]}"
    yield f" protocol esp integrity {_HASHES[suite.integrity] if suite.integrity else 'null'}"
    for left, right in config.pairs:
        yield f"access-list {name} extended permit ip {' '.join((*mask(left), *mask(right)))}"
    entry = "crypto map OUTSIDE_MAP 10"
    yield f"{entry} match address {name}"
    yield f"{entry} set peer {config.remote_address}"
    yield f"{entry} set ikev2 ipsec-proposal {name}"
    yield f"{entry} set pfs group{number(suite.group)}"
    if config.child_lifetime:
        seconds = within(config.child_lifetime, DEVICE.child_lifetime)
        yield f"{entry} set security-association lifetime seconds {seconds}"
    if config.child_kilobytes and DEVICE.kilobytes:
        amount = within(config.child_kilobytes, DEVICE.kilobytes)
        yield f"{entry} set security-association lifetime kilobytes {amount}"
    yield "crypto map OUTSIDE_MAP interface OUTSIDE"


FORMAT: Final = PeerFormat(
    name="cisco-asa",
    title=TITLE,
    mark="unverified",
    evidence=UNTRIED,
    device=DEVICE,
    write=write,
    by_hand=BY_HAND,
)
