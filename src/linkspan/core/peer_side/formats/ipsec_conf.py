"""ipsec.conf and ipsec.secrets of libreswan (ipsec.conf(5)), 4.10 and later."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from linkspan.core.ipsec.algorithms import is_aead
from linkspan.core.ipsec.identities import Identity
from linkspan.core.peer_side.device import Alphabet, Device
from linkspan.core.peer_side.formats.format import (
    ConfigFile,
    PeerFormat,
    head,
    is_address,
    key_of,
    lists,
    local_identity,
    numbered,
    remote_identity,
    suites,
    text_of,
    version_of,
    word,
)
from linkspan.core.peer_side.site_config import SiteConfig

TITLE: Final = "libreswan, ipsec.conf and ipsec.secrets"
_CIPHERS: Final = {
    "3des": "3des",
    **{f"aes-{bits}": f"aes{bits}" for bits in (128, 192, 256)},
    **{f"aes-{bits}-ctr": f"aes_ctr{bits}" for bits in (128, 192, 256)},
}
_AEAD: Final = {
    mode: {
        f"aes-{bits}-{mode}-{icv}": f"aes_{mode}_{letter}{bits}"
        for bits in (128, 192, 256)
        for icv, letter in ((8, "a"), (12, "b"), (16, "c"))
    }
    for mode in ("gcm", "ccm")
}
_PLAIN: Final = re.compile(r"[A-Za-z0-9@#.:_-]+")
_HASHES: Final = {"sha1": "sha1", "sha256": "sha2_256", "sha384": "sha2_384", "sha512": "sha2_512"}
_GROUPS: Final = {f"group{number}": f"dh{number}" for number in (5, 14, 15, 16, 17, 18, 19, 20, 21, 31)}
DEVICE: Final = Device(
    ike_encryption=_CIPHERS | _AEAD["gcm"],
    ike_integrity=_HASHES | {"aes-xcbc": "aes_xcbc"},
    ike_groups=_GROUPS,
    encryption=_CIPHERS | _AEAD["gcm"] | _AEAD["ccm"],
    integrity=_HASHES | {"aes-xcbc": "aes_xcbc", "aes-cmac": "aes_cmac_96"},
    groups=_GROUPS,
    groups_of_v1={name: word for name, word in _GROUPS.items() if int(name.removeprefix("group")) < 19},
    one_group=True,
    protocols=frozenset({"esp", "ah"}),
    transport=True,
    certificates=True,
    pairs="one a child",
    id_text=Alphabet("[^\"'#{}\\x00-\\x1f\\x7f]+", "without quotes, '#' and braces"),
    keyids_in_hex=True,
    names_with_keys=False,
    ike_lifetime=(60, 86_400),
    child_lifetime=(60, 86_400),
)


def write(config: SiteConfig) -> tuple[ConfigFile, ...]:
    """Both files; with certificates there are no secrets."""
    files = (ConfigFile("ipsec.conf", text_of(_configuration(config))),)
    return files if config.auth_mode == "certs" else (*files, ConfigFile("ipsec.secrets", text_of(_secrets(config))))


def _configuration(config: SiteConfig) -> Iterator[str]:
    name = word(config)
    yield from head(TITLE, "#")
    both = lists(config)
    if both and len(config.pairs) > 1:
        yield f"conn {name}"
        yield f"    leftsubnets={{{','.join(both[0])}}}"
        yield f"    rightsubnets={{{','.join(both[1])}}}"
        yield from _shared(config)
        return
    for number, left, right in numbered(config):
        yield f"conn {name}-{number}" if len(config.pairs) > 1 else f"conn {name}"
        yield f"    leftsubnet={left}"
        yield f"    rightsubnet={right}"
        yield from _shared(config)


def _shared(config: SiteConfig) -> Iterator[str]:
    yield from (f"    {key}={value}" for key, value in _options(config))


def _options(config: SiteConfig) -> Iterator[tuple[str, str]]:
    v2 = version_of(config) == "2"
    yield "auto", "start" if config.initiates else "add"
    yield "ikev2", "insist" if v2 else "no"
    if config.mode:
        yield "aggressive", "yes" if config.mode == "aggressive" else "no"
    yield "left", config.local_address if is_address(config.local_address) else "%defaultroute"
    yield "leftid", _quoted(_identity(local_identity(config)))
    yield "right", config.remote_address
    yield "rightid", _quoted(_identity(remote_identity(config)))
    if config.auth_mode == "certs":
        yield from (("authby", "ecdsa,rsasig"), ("leftcert", "peer"), ("leftsendcert", "always"), ("rightca", "%same"))
    else:
        yield "authby", "secret"
    yield from _proposals(config)
    yield "type", config.encapsulation or "tunnel"
    yield "pfs", "yes"
    if config.ike_lifetime:
        yield "ikelifetime", f"{config.ike_lifetime}s"
    if config.child_lifetime:
        yield "salifetime", f"{config.child_lifetime}s"
    if config.child_kilobytes:
        yield "ipsec-max-bytes", f"{config.child_kilobytes * 1024}"
    if config.dpd_action != "disabled" and config.dpd_interval:
        yield "dpddelay", f"{config.dpd_interval}"
        yield "dpdtimeout", f"{config.dpd_timeout or 2 * config.dpd_interval}"
        yield "dpdaction", config.dpd_action or "restart"
    if config.mtu:
        yield "mtu", f"{config.mtu}"


def _proposals(config: SiteConfig) -> Iterator[tuple[str, str]]:
    ike, child = suites(config)
    yield (
        "ike",
        "-".join((DEVICE.ike_encryption[ike.encryption], DEVICE.ike_integrity[ike.integrity], _GROUPS[ike.group])),
    )
    if config.protocol == "ah":
        yield "phase2", "ah"
        yield "ah", f"{DEVICE.integrity[child.integrity]};{_GROUPS[child.group]}"
        return
    second = "" if is_aead(child.encryption) else f"-{DEVICE.integrity[child.integrity]}"
    yield "phase2", "esp"
    yield "esp", f"{DEVICE.encryption[child.encryption]}{second};{_GROUPS[child.group]}"


def _secrets(config: SiteConfig) -> Iterator[str]:
    left, right = (_identity(end) for end in (local_identity(config), remote_identity(config)))
    yield from head(TITLE, "#")
    yield f"{left} {right} : PSK {_key(key_of(config))}"


def _identity(identity: Identity) -> str:
    """An identity with its type: a key id in hexadecimal, as it may be any text.

    A mail address is known by its form. It has no blank and no quote, and may begin with what begins a comment.
    """
    if identity.kind == "keyid":
        return f"@#{identity.text.encode().hex()}"
    if identity.kind == "fqdn":
        return f"@{identity.text}"
    return identity.text


def _quoted(identity: str) -> str:
    """An identity as a value of ipsec.conf. In ipsec.secrets, quotes would be a part of it."""
    return identity if _PLAIN.fullmatch(identity) else f'"{identity}"'


def _key(key: str) -> str:
    """A key in double quotes, or in hexadecimal, as the file has no way to quote a quote."""
    if key.isascii() and key.isprintable() and not set(key) & set("\"'\\"):
        return f'"{key}"'
    return f"0x{key.encode().hex()}"


FORMAT: Final = PeerFormat(
    name="libreswan",
    title=TITLE,
    mark="tested",
    evidence="libreswan 4.10 loads it, and tunnels of every algorithm that it has come up and are rekeyed",
    device=DEVICE,
    write=write,
)
