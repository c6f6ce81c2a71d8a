"""Every value that the administrator of the peer has to enter, in plain words: for devices that no format is for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from linkspan.core.ipsec import identities
from linkspan.core.ipsec.algorithms import is_aead
from linkspan.core.peer_side.site_config import SiteConfig, Suite

HIDDEN: Final = "not shown: ask for it with the secret, or hand it over in another way"
_TYPES: Final = {
    "ipv4": "IPv4 address",
    "ipv6": "IPv6 address",
    "email": "e-mail address, also called user FQDN",
    "fqdn": "FQDN",
    "keyid": "key id",
    "dn": "distinguished name",
}
_MODES: Final = {"ctr": "counter mode", "gcm": "GCM", "ccm": "CCM"}
_HASHES: Final = {
    "sha1": "SHA-1",
    "sha256": "SHA-256",
    "sha384": "SHA-384",
    "sha512": "SHA-512",
    "aes-xcbc": "AES-XCBC",
    "aes-cmac": "AES-CMAC",
}
GROUPS: Final = {
    **{
        f"group{number}": f"{bits}-bit MODP"
        for number, bits in ((2, 1024), (5, 1536), (14, 2048), (15, 3072), (16, 4096), (17, 6144), (18, 8192))
    },
    **{
        f"group{number}": f"{bits}-bit NIST curve"
        for number, bits in ((19, 256), (20, 384), (21, 521), (25, 192), (26, 224))
    },
    "group22": "1024-bit MODP with a 160-bit subgroup",
    "group23": "2048-bit MODP with a 224-bit subgroup",
    "group24": "2048-bit MODP with a 256-bit subgroup",
    **{f"group{number}": f"{bits}-bit Brainpool curve" for number, bits in enumerate((224, 256, 384, 512), 27)},
    "group31": "Curve25519",
}
_PROTOCOLS: Final = {"esp": "ESP", "ah": "AH", "ah-esp": "AH and ESP"}


class PeerValue(msgspec.Struct, frozen=True):
    """A value to enter. `name`: stable, for programs; `label`: in words."""

    name: Annotated[str, Meta(description="stable name of the value")]
    label: Annotated[str, Meta(description="what it is, in plain words")]
    value: Annotated[str, Meta(description="the value")]


def values(config: SiteConfig) -> list[PeerValue]:
    """Values that the administrator of the peer has to enter, in the order in which devices ask for it."""
    return [PeerValue(*each) for each in (*_ends(config), *_phase1(config), *_phase2(config), *_life(config))]


def _ends(config: SiteConfig) -> Iterator[tuple[str, str, str]]:
    yield "local_address", "your gateway's public address", config.local_address or "any"
    yield "remote_address", "our gateway's public address", config.remote_address or "none yet"
    yield "local_id", "your identity, local ID", _identity(config.local_id)
    yield "remote_id", "our identity, remote ID", _identity(config.remote_id)
    if config.auth_mode == "certs":
        yield "auth_mode", "authentication", "certificates of both ends"
    else:
        yield "auth_mode", "authentication", "pre-shared key"
        yield "psk", "pre-shared key", HIDDEN if config.psk is None else config.psk.reveal()
    for place, (left, right) in enumerate(config.pairs, 1):
        yield f"pair_{place}", f"networks {place}: yours, and ours", f"{left} and {right}"


def _identity(text: str) -> str:
    identity = identities.stored(text)
    return f"{identity.text} (type: {_TYPES[identity.kind]})"


def _phase1(config: SiteConfig) -> Iterator[tuple[str, str, str]]:
    suite = config.ike[0]
    v2 = config.versions == ("v2",)
    yield "ike_version", "IKE version", "IKEv2" if v2 else "IKEv1"
    if config.mode:
        yield "mode", "phase 1 mode", config.mode
    yield "ike_encryption", "phase 1 encryption", encryption(suite)
    kind = "integrity, and the same PRF" if v2 else "hash"
    if is_aead(suite.encryption):
        kind = "pseudo-random function"
    yield "ike_integrity", f"phase 1 {kind}", _HASHES[suite.integrity]
    yield "ike_group", "phase 1 Diffie-Hellman group", _group(suite.group)
    if config.ike_lifetime:
        yield "ike_lifetime", "phase 1 lifetime", f"{config.ike_lifetime} s"


def _phase2(config: SiteConfig) -> Iterator[tuple[str, str, str]]:
    suite = config.child[0]
    yield "protocol", "phase 2 protocol", _PROTOCOLS[config.protocol or "esp"]
    yield "encapsulation", "phase 2 encapsulation mode", config.encapsulation or "tunnel"
    if suite.encryption:
        yield "encryption", "phase 2 encryption", encryption(suite)
    if suite.integrity:
        yield "integrity", "phase 2 integrity", _HASHES[suite.integrity]
    else:
        yield "integrity", "phase 2 integrity", "none: the encryption includes it"
    yield "pfs", "perfect forward secrecy, phase 2 group", _group(suite.group)
    if config.child_lifetime:
        yield "child_lifetime", "phase 2 lifetime", f"{config.child_lifetime} s"
    if config.child_kilobytes:
        yield "child_kilobytes", "phase 2 lifetime", f"{config.child_kilobytes} kilobytes"


def _life(config: SiteConfig) -> Iterator[tuple[str, str, str]]:
    yield "initiates", "who initiates", "you: we only respond" if config.initiates else "we do, and you may"
    if config.dpd_action == "disabled":
        yield "dpd", "dead peer detection", "off"
    else:
        times = f"every {config.dpd_interval} s, dead after {config.dpd_timeout} s"
        yield "dpd", "dead peer detection", f"{times}, then {config.dpd_action}"
    if config.mtu:
        yield "mtu", "largest packet in the tunnel", f"{config.mtu} bytes, or less where the path takes less"
    protocol = "IP protocol 51 (AH)" if config.protocol == "ah" else "IP protocol 50 (ESP)"
    yield "firewall", "your firewall lets pass", f"UDP 500 and 4500, and {protocol}, both ways"


def encryption(suite: Suite) -> str:
    """An encryption algorithm in words: AES-256 GCM with a 128-bit ICV."""
    if suite.encryption == "3des":
        return "3DES-CBC"
    _, bits, *rest = suite.encryption.split("-")
    if not rest:
        return f"AES-{bits} CBC"
    icv = f", {int(rest[1]) * 8}-bit ICV" if len(rest) > 1 else ""
    return f"AES-{bits} {_MODES[rest[0]]}{icv}"


def _group(name: str) -> str:
    return f"{name.removeprefix('group')} ({GROUPS[name]})"
