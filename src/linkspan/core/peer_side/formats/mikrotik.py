"""MikroTik, as commands of RouterOS 7."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

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
    remote_identity,
    suites,
    text_of,
    version_of,
    word,
)
from linkspan.core.peer_side.site_config import SiteConfig

TITLE: Final = "MikroTik, RouterOS 7"
_IKE_CIPHERS: Final = {"3des": "3des", **{f"aes-{bits}": f"aes-{bits}" for bits in (128, 192, 256)}}
_CIPHERS: Final = {
    "3des": "3des",
    **{f"aes-{bits}": f"aes-{bits}-cbc" for bits in (128, 192, 256)},
    **{f"aes-{bits}-ctr": f"aes-{bits}-ctr" for bits in (128, 192, 256)},
    **{f"aes-{bits}-gcm-16": f"aes-{bits}-gcm" for bits in (128, 192, 256)},
}
_IKE_HASHES: Final = {name: name for name in ("sha1", "sha256", "sha384", "sha512")}
_HASHES: Final = {name: name for name in ("sha1", "sha256", "sha512")}
_GROUPS: Final = {
    "group2": "modp1024",
    "group5": "modp1536",
    "group14": "modp2048",
    "group15": "modp3072",
    "group16": "modp4096",
    "group17": "modp6144",
    "group18": "modp8192",
    "group19": "ecp256",
    "group20": "ecp384",
    "group21": "ecp521",
}
_TYPES: Final = {"ipv4": "address", "ipv6": "address", "fqdn": "fqdn", "email": "user-fqdn", "keyid": "key-id"}
_UNQUOTED: Final = re.compile(r"[^A-Za-z0-9 ._@:/+=,*()-]")
DEVICE: Final = Device(
    ike_encryption=_IKE_CIPHERS,
    ike_integrity=_IKE_HASHES,
    ike_groups=_GROUPS,
    encryption=_CIPHERS,
    integrity=_HASHES,
    groups=_GROUPS,
    protocols=frozenset({"esp", "ah"}),
    pairs="one a child",
    identities=frozenset({"ipv4", "ipv6", "fqdn", "email", "keyid"}),
    id_text=Alphabet(r"[^\x00-\x1f\x7f]+", "without control characters"),
    psk=Alphabet(r"[^\x00]+", "without zero characters"),
    kilobytes=None,
)


def write(config: SiteConfig) -> tuple[ConfigFile, ...]:
    """The commands."""
    parts = (_profile(config), _proposal(config), _peer(config), _identities(config), _policies(config))
    return (ConfigFile("linkspan.rsc", text_of((*head(TITLE, "#"), *(line for part in parts for line in part)))),)


def _profile(config: SiteConfig) -> Iterator[str]:
    suite, _ = suites(config)
    line = f"/ip ipsec profile add name={word(config)} dh-group={_GROUPS[suite.group]}"
    line += f" enc-algorithm={_IKE_CIPHERS[suite.encryption]} hash-algorithm={_IKE_HASHES[suite.integrity]}"
    line += f" lifetime={config.ike_lifetime or 86_400}s nat-traversal=yes"
    if config.dpd_action != "disabled" and config.dpd_interval and config.dpd_timeout:
        failures = max(1, min(config.dpd_timeout // config.dpd_interval, 100))
        line += f" dpd-interval={config.dpd_interval}s dpd-maximum-failures={failures}"
    else:
        line += " dpd-interval=disable-dpd"
    yield line


def _proposal(config: SiteConfig) -> Iterator[str]:
    _, suite = suites(config)
    ciphers = _CIPHERS[suite.encryption] if suite.encryption else "null"
    hashes = _HASHES[suite.integrity] if suite.integrity else '""'
    yield (
        f"/ip ipsec proposal add name={word(config)} auth-algorithms={hashes} enc-algorithms={ciphers}"
        f" pfs-group={_GROUPS[suite.group]} lifetime={config.child_lifetime or 3600}s"
    )


def _peer(config: SiteConfig) -> Iterator[str]:
    mode = "ike2" if version_of(config) == "2" else config.mode or "main"
    local = f" local-address={config.local_address}" if is_address(config.local_address) else ""
    bits = 128 if ":" in config.remote_address else 32
    yield (
        f"/ip ipsec peer add name={word(config)} address={config.remote_address}/{bits}{local}"
        f" profile={word(config)} exchange-mode={mode} passive={'no' if config.initiates else 'yes'}"
    )


def _identities(config: SiteConfig) -> Iterator[str]:
    yield (
        f"/ip ipsec identity add peer={word(config)} auth-method=pre-shared-key secret={_quoted(key_of(config))}"
        f" my-id={_typed(local_identity(config))} remote-id={_typed(remote_identity(config))}"
    )


def _typed(identity: Identity) -> str:
    return _quoted(f"{_TYPES[identity.kind]}:{identity.text}")


def _policies(config: SiteConfig) -> Iterator[str]:
    for left, right in config.pairs:
        yield (
            f"/ip ipsec policy add peer={word(config)} tunnel=yes src-address={left} dst-address={right} protocol=all"
            f" action=encrypt level=unique ipsec-protocols={config.protocol or 'esp'} proposal={word(config)}"
        )
        family = "ipv6" if ":" in left else "ip"
        nat = f"/{family} firewall nat add chain=srcnat action=accept place-before=0"
        yield f"{nat} src-address={left} dst-address={right}"


def _quoted(text: str) -> str:
    """A text in double quotes. What could mean something there is in hexadecimal, as RouterOS writes it itself."""
    return '"' + _UNQUOTED.sub(lambda found: "".join(f"\\{byte:02X}" for byte in found[0].encode()), text) + '"'


FORMAT: Final = PeerFormat(
    name="mikrotik",
    title=TITLE,
    mark="unverified",
    evidence=UNTRIED,
    device=DEVICE,
    write=write,
)
