"""The abilities of a device at the other end, as data, and the words that it has for algorithms."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from linkspan.core.ipsec import algorithms
from linkspan.core.ipsec.identities import IdentityType

Range = tuple[int, int]
ANY_IDENTITY: Final[frozenset[IdentityType]] = frozenset({"ipv4", "ipv6", "email", "fqdn", "keyid", "dn"})


class Alphabet(msgspec.Struct, frozen=True):
    """The texts that a device takes: a regular expression for the whole of one, and what it means in words."""

    pattern: str
    words: str

    def takes(self, text: str) -> bool:
        """True if the device takes a text."""
        return re.fullmatch(self.pattern, text, re.DOTALL) is not None


ANYTHING: Final = Alphabet(".+", "any text")


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """Abilities of a device.

    The mappings have its word for each algorithm of the API that it has, for IKE and for child SAs; `groups_of_v1`:
    those of child SAs in IKEv1, if others; `one_group`: in IKEv2 it rekeys a child SA with the group of IKE. Lifetimes
    in seconds, volumes in kilobytes: the least and the greatest; None: it has no limit by volume. `ipv6`: outside and
    in the tunnel. `pairs`: how it carries several pairs: in one child SA, in one each, or a single pair only.
    `identities`: the types of identities it sends and expects, `identities_of_v1`: those in IKEv1, if others;
    `addresses_are_identities`: both ends are known by their addresses alone. `id_text`, `psk`: the texts that it takes,
    as far as a configuration can hold them; `keyids_in_hex`: it holds any key id; `names_with_keys`: a distinguished
    name may have a pre-shared key.
    """

    versions: frozenset[Literal["v1", "v2"]] = frozenset({"v1", "v2"})
    aggressive: bool = True
    ike_encryption: Mapping[str, str] = msgspec.field(default_factory=lambda: algorithms.ENCRYPTION)
    ike_integrity: Mapping[str, str] = msgspec.field(default_factory=lambda: algorithms.INTEGRITY)
    ike_groups: Mapping[str, str] = msgspec.field(default_factory=lambda: algorithms.GROUPS)
    encryption: Mapping[str, str] = msgspec.field(default_factory=lambda: algorithms.ENCRYPTION)
    integrity: Mapping[str, str] = msgspec.field(default_factory=lambda: algorithms.INTEGRITY)
    groups: Mapping[str, str] = msgspec.field(default_factory=lambda: algorithms.GROUPS)
    groups_of_v1: Mapping[str, str] | None = None
    one_group: bool = False
    protocols: frozenset[str] = frozenset({"esp"})
    transport: bool = False
    certificates: bool = False
    ipv6: bool = True
    pairs: Literal["lists", "one a child", "one"] = "lists"
    identities: frozenset[IdentityType] = ANY_IDENTITY
    identities_of_v1: frozenset[IdentityType] | None = None
    addresses_are_identities: bool = False
    id_text: Alphabet = ANYTHING
    keyids_in_hex: bool = False
    names_with_keys: bool = True
    psk: Alphabet = ANYTHING
    ike_lifetime: Range = (60, 2**31 - 1)
    child_lifetime: Range = (60, 2**31 - 1)
    kilobytes: Range | None = (1, 2**42)


def within(value: int, limits: Range) -> int:
    """The nearest value that a device takes."""
    return max(limits[0], min(value, limits[1]))
