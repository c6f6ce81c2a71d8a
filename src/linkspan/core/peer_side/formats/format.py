"""A format: a device, what it can do, and the function that writes its configuration; and what the writers share.

Nothing that a user gives reaches a configuration as it is: names become words, networks and addresses have one text,
and identities and keys go through the quoting of the format, or the device is said not to take them.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from linkspan.core.ipsec import identities
from linkspan.core.ipsec.identities import Identity
from linkspan.core.peer_side.device import Device
from linkspan.core.peer_side.site_config import SiteConfig, Suite
from linkspan.core.secret import Secret

Mark = Literal["tested", "syntax-checked", "unverified"]
UNTRIED: Final = "written after its manual; no device has taken it yet"
"""The evidence of a format that is `unverified`."""
PLACEHOLDER: Final = "REPLACE_WITH_THE_PRE_SHARED_KEY"
"""Placeholder of a key that nobody asked for. It has the form that most devices take."""
_WORD: Final = re.compile(r"[^A-Za-z0-9]+")


class ConfigFile(msgspec.Struct, frozen=True):
    """A file, or what is to be entered at once."""

    name: Annotated[str, Meta(description="name of the file")]
    text: Annotated[str, Meta(description="its text")]


class PeerFormat(msgspec.Struct, frozen=True, kw_only=True):
    """A format. `mark`: how sure it is; `evidence`: what shows that. `by_hand`: words in capitals that an administrator
    has to replace, with what they stand for."""

    name: str
    title: str
    mark: Mark
    evidence: str
    device: Device
    write: Callable[[SiteConfig], tuple[ConfigFile, ...]]
    by_hand: dict[str, str] = {}


def key_of(config: SiteConfig) -> str:
    """The pre-shared key, or what stands for it."""
    return PLACEHOLDER if config.psk is None else config.psk.reveal()


def without_key(config: SiteConfig) -> SiteConfig:
    """The same without its key, in whose place stands a word."""
    return msgspec.structs.replace(config, psk=None)


def with_key(config: SiteConfig, key: str) -> SiteConfig:
    """The same with a key."""
    return msgspec.structs.replace(config, psk=Secret(key))


def word(config: SiteConfig, most: int = 24) -> str:
    """A name for the configuration's objects: letters, digits and `-`, beginning with a letter."""
    text = _WORD.sub("-", config.name).strip("-").lower()[:most].strip("-")
    return text if text[:1].isalpha() else f"linkspan-{text}".strip("-")[:most].strip("-")


def local_identity(config: SiteConfig) -> Identity:
    """The identity that the peer sends."""
    return identities.stored(config.local_id)


def remote_identity(config: SiteConfig) -> Identity:
    """The identity that this end sends."""
    return identities.stored(config.remote_id)


def is_address(text: str) -> bool:
    """True for an IP address; a DNS name is none."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def version_of(config: SiteConfig) -> str:
    """The version of IKE: `1` or `2`."""
    return config.versions[0][1:]


def suites(config: SiteConfig) -> tuple[Suite, Suite]:
    """The proposals of IKE and of the child SA."""
    return config.ike[0], config.child[0]


def number(group: str) -> str:
    """The number of a group: 14 of group14."""
    return group.removeprefix("group")


def lists(config: SiteConfig) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """The local and the remote networks, if their product is all pairs of one IP version."""
    local = tuple(dict.fromkeys(left for left, _ in config.pairs))
    remote = tuple(dict.fromkeys(right for _, right in config.pairs))
    product = {(left, right) for left in local for right in remote if (":" in left) == (":" in right)}
    return (local, remote) if product == set(config.pairs) else None


def numbered(config: SiteConfig) -> Iterator[tuple[int, str, str]]:
    """The pairs of networks with their numbers from 1."""
    for place, (left, right) in enumerate(config.pairs, 1):
        yield place, left, right


def mask(network: str) -> tuple[str, str]:
    """Address and netmask of an IPv4 network."""
    parsed = ipaddress.ip_network(network)
    return str(parsed.network_address), str(parsed.netmask)


def wildcard(network: str) -> tuple[str, str]:
    """Address and inverted netmask of an IPv4 network."""
    parsed = ipaddress.ip_network(network)
    return str(parsed.network_address), str(parsed.hostmask)


def text_of(lines: Iterable[str]) -> str:
    """Lines as a text."""
    return "\n".join(lines) + "\n"


def head(title: str, comment: str, by_hand: dict[str, str] | None = None) -> list[str]:
    """The comment at the beginning of a configuration. Nothing in it is from a user."""
    lines = [f"{comment} {title}: the other end of a connection of Linkspan."]
    lines += [f"{comment} Replace {name}: {meaning}." for name, meaning in (by_hand or {}).items()]
    return lines
