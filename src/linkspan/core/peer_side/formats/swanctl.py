"""swanctl.conf of strongSwan (swanctl.conf(5)): the file of any plain charon, as `swanctl --load-all` reads it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from linkspan.core.ipsec import algorithms
from linkspan.core.ipsec.config import REKEY_PERCENT
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

TITLE: Final = "strongSwan, swanctl.conf"
_ACTIONS: Final = {"hold": "trap", "clear": "clear", "restart": "restart"}
_PLAIN: Final = re.compile(r"[ !#-\[\]-~]+")
"""ASCII that stands between double quotes as it is: without the quote and the backslash."""


def write(config: SiteConfig) -> tuple[ConfigFile, ...]:
    """The file."""
    return (ConfigFile("swanctl.conf", text_of(lines(config, TITLE))),)


def lines(config: SiteConfig, title: str) -> list[str]:
    """The lines of the file. Braces of sections are at the end of a line and alone in one."""
    name = word(config)
    return [
        *head(title, "#"),
        "connections {",
        *_indented(_connection(config, name)),
        "}",
        *(["secrets {", *_indented(_secret(config, name)), "}"] if config.auth_mode != "certs" else []),
    ]


def _indented(inner: Iterator[str]) -> Iterator[str]:
    return (f"    {line}" for line in inner)


def _connection(config: SiteConfig, name: str) -> Iterator[str]:
    ike = config.ike[0]
    yield f"{name} {{"
    yield f"    version = {version_of(config)}"
    if config.mode:
        yield f"    aggressive = {'yes' if config.mode == 'aggressive' else 'no'}"
    if is_address(config.local_address):
        yield "    # Behind NAT: the address that this machine has itself, or %any."
        yield f"    local_addrs = {config.local_address}"
    else:
        yield "    local_addrs = %any"
    yield f"    remote_addrs = {config.remote_address}"
    yield f"    proposals = {algorithms.ike_proposal(ike.encryption, ike.integrity, ike.group)}"
    if config.ike_lifetime:
        yield from (f"    {line}" for line in _ike_lifetime(config.ike_lifetime))
    yield "    mobike = no"
    if config.dpd_action != "disabled" and config.dpd_interval:
        yield f"    dpd_delay = {config.dpd_interval}s"
        if version_of(config) == "1" and config.dpd_timeout:
            yield f"    dpd_timeout = {config.dpd_timeout}s"
    yield from (f"    {line}" for line in _ends(config))
    yield "    children {"
    for number, local, remote in _selectors(config):
        yield from (f"        {line}" for line in _child(config, f"{name}-{number}", local, remote))
    yield "    }"
    yield "}"


def _ike_lifetime(seconds: int) -> Iterator[str]:
    rekey = seconds * REKEY_PERCENT // 100
    yield f"rekey_time = {rekey}s"
    yield f"over_time = {seconds - rekey}s"
    yield "reauth_time = 0"


def _ends(config: SiteConfig) -> Iterator[str]:
    auth = "pubkey" if config.auth_mode == "certs" else "psk"
    for end, identity in (("local", local_identity(config)), ("remote", remote_identity(config))):
        yield f"{end} {{"
        yield f"    auth = {auth}"
        yield f"    id = {_identity(identity)}"
        if auth == "pubkey":
            yield "    certs = peer.pem" if end == "local" else "    cacerts = linkspan-ca.pem"
        yield "}"


def _selectors(config: SiteConfig) -> Iterator[tuple[int, str, str]]:
    """The lists of networks of each child: one for all in IKEv2, one for each pair in IKEv1."""
    both = lists(config)
    if version_of(config) == "2" and both:
        yield 1, ",".join(both[0]), ",".join(both[1])
    else:
        yield from numbered(config)


def _child(config: SiteConfig, name: str, local: str, remote: str) -> Iterator[str]:
    _, suite = suites(config)
    yield f"{name} {{"
    yield f"    local_ts = {local}"
    yield f"    remote_ts = {remote}"
    yield f"    mode = {config.encapsulation or 'tunnel'}"
    if config.protocol == "ah":
        yield f"    ah_proposals = {algorithms.ah_proposal(suite.integrity, suite.group)}"
    else:
        yield f"    esp_proposals = {algorithms.esp_proposal(suite.encryption, suite.integrity, suite.group)}"
    if config.child_lifetime:
        yield f"    rekey_time = {config.child_lifetime * REKEY_PERCENT // 100}s"
        yield f"    life_time = {config.child_lifetime}s"
    if config.child_kilobytes:
        yield f"    rekey_bytes = {config.child_kilobytes * 1024 * REKEY_PERCENT // 100}"
        yield f"    life_bytes = {config.child_kilobytes * 1024}"
    yield f"    start_action = {'start' if config.initiates else 'trap'}"
    if config.dpd_action in _ACTIONS:
        yield f"    dpd_action = {_ACTIONS[config.dpd_action]}"
    yield "}"


def _secret(config: SiteConfig, name: str) -> Iterator[str]:
    yield f"ike-{name} {{"
    yield f"    id-1 = {_identity(local_identity(config))}"
    yield f"    id-2 = {_identity(remote_identity(config))}"
    yield f"    secret = {_key(key_of(config))}"
    yield "}"


def _identity(identity: Identity) -> str:
    """An identity with its type, between quotes. A key id that cannot be quoted is in hexadecimal."""
    if identity.kind == "keyid" and not _PLAIN.fullmatch(identity.text):
        return f'"keyid:#{identity.text.encode().hex()}"'
    text = identity.charon().replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def _key(key: str) -> str:
    """A key between quotes; one that cannot be quoted, or that would be read as a number, in hexadecimal."""
    if _PLAIN.fullmatch(key) and not key.startswith(("0x", "0s")):
        return f'"{key}"'
    return f"0x{key.encode().hex()}"


DEVICE: Final = Device(
    protocols=frozenset({"esp", "ah"}),
    transport=True,
    certificates=True,
    keyids_in_hex=True,
    id_text=Alphabet(r"[^\x00-\x1f\x7f]+", "without control characters"),
)
FORMAT: Final = PeerFormat(
    name="swanctl",
    title=TITLE,
    mark="tested",
    evidence="`swanctl --load-all` loads it, and tunnels of every algorithm come up",
    device=DEVICE,
    write=write,
)
