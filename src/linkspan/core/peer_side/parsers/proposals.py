"""Proposals as strongSwan writes them, `aes128-sha256-modp2048`, and those that it has without any.

Keywords: strongSwan, proposal_keywords_static.txt; what a proposal needs, and defaults: proposal.c. Algorithms that the
API does not have keep strongSwan's keyword: they match nothing of ours, and are named in findings.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable, Sequence
from typing import Final, Literal

from linkspan.core.ipsec.algorithms import ENCRYPTION, GROUPS, INTEGRITY
from linkspan.core.peer_side.parsers.reading import MOST_SUITES, MOST_VALUES, StatedValue, Unreadable, shown
from linkspan.core.peer_side.site_config import Suite

Protocol = Literal["ike", "esp", "ah"]
_Kind = Literal["encryption", "integrity", "prf", "group", "esn"]

_OTHERS: Final[dict[_Kind, re.Pattern[str]]] = {
    "encryption": re.compile(
        r"null|des|blowfish(128|192|256)?|cast128|(serpent|twofish)(128|192|256)?|chacha20poly1305(compat)?"
        r"|camellia(128|192|256)?((ctr)|(ccm(8|12|16|64|96|128)?))?|aes(128|192|256)gmac"
    ),
    "integrity": re.compile(r"sha1_160|sha2?_?256_96|md5(_128)?|camelliaxcbc"),
    "prf": re.compile(r"prf(sha1|sha256|sha384|sha512|md5|aesxcbc|camelliaxcbc|aescmac)"),
    "group": re.compile(r"modpnull|modp768|curve448|x448|ntru\w+|(kyber|ntrup|ntrur|saber|bike|frodo[as]|hqc|sike)\d"),
}
"""Keywords of algorithms that the API does not have."""
NO_GROUP: Final = frozenset({"none", "modpnone"})
_ALIASES: Final = {
    "aes": "aes128",
    "sha": "sha1",
    "sha2_256": "sha256",
    "sha2_384": "sha384",
    "sha2_512": "sha512",
    "x25519": "curve25519",
    **{
        f"aes{bits}{mode}{written}": f"aes{bits}{mode}{icv}"
        for bits in (128, 192, 256)
        for mode in ("ccm", "gcm")
        for written, icv in (("", 16), ("64", 8), ("96", 12), ("128", 16))
    },
}
_NAMES: Final[dict[str, tuple[_Kind, str]]] = {
    **{keyword: ("encryption", name) for name, keyword in ENCRYPTION.items()},
    **{keyword: ("integrity", name) for name, keyword in INTEGRITY.items()},
    **{keyword: ("group", name) for name, keyword in GROUPS.items()},
}
_STRONG: Final = ("sha256", "sha384", "sha512", "aes-xcbc", "aes-cmac", "sha1")
_GROUPS: Final = (*(f"group{n}" for n in (19, 20, 21, 28, 29, 30, 31, 15, 16, 17, 18, 14)),)
_CBC: Final = ("aes-128", "aes-192", "aes-256")
_AEAD: Final = tuple(
    f"aes-{bits}-{mode}-{icv}" for icv in (16, 12, 8) for mode in ("gcm", "ccm") for bits in (128, 192, 256)
)


def is_aead(encryption: str) -> bool:
    """True for an AEAD cipher, also one that the API does not have."""
    return any(word in encryption for word in ("gcm", "ccm", "chacha20", "gmac"))


def suites(value: StatedValue, protocol: Protocol) -> tuple[Suite, ...]:
    """The suites of a list of proposals, separated by commas. `default` stands for those of `defaults`."""
    proposals = [part.strip() for part in value.text.split(",") if part.strip()]
    if len(proposals) > MOST_VALUES:
        raise Unreadable(value.line, f"a list has {MOST_VALUES} proposals at most, this has {len(proposals)}")
    found: dict[Suite, None] = {}
    for proposal in proposals:
        if proposal.lower() == "default":
            found |= dict.fromkeys(defaults(protocol))
        else:
            found |= dict.fromkeys(of_words(proposal.lower().split("-"), protocol, value.line))
            check_count(len(found), value.line)
    return tuple(found)


def check_count(count: int, line: int) -> None:
    """Raises Unreadable for more suites than a list may stand for."""
    if count > MOST_SUITES + len(defaults("ike")):
        raise Unreadable(line, f"proposals stand for {MOST_SUITES} combinations at most")


@functools.cache
def defaults(protocol: Protocol) -> tuple[Suite, ...]:
    """The suites that strongSwan has for a connection that names none, with all its plugins."""
    if protocol == "ah":
        return tuple(Suite("", integrity, "") for integrity in ("sha256", "sha384", "sha512", "sha1", "aes-xcbc"))
    if protocol == "esp":
        return (
            *(Suite(f"aes-{bits}-gcm-16", "", "") for bits in (128, 192, 256)),
            *product(_CBC, ("sha256", "sha384", "sha512", "sha1", "aes-xcbc"), ("",)),
        )
    ciphers = (*_CBC, *(f"{name}-ctr" for name in _CBC), "3des")
    return (*product(ciphers, _STRONG, _GROUPS), *product(_AEAD, _STRONG, _GROUPS))


def product(encryption: Iterable[str], integrity: Iterable[str], group: Iterable[str]) -> tuple[Suite, ...]:
    """Every suite of these algorithms."""
    return tuple(Suite(*parts) for parts in itertools.product(encryption, integrity, group))


def of_words(words: Sequence[str], protocol: Protocol, line: int) -> tuple[Suite, ...]:
    """The suites of one proposal. Raises Unreadable for what charon would not load."""
    kinds: dict[_Kind, dict[str, None]] = {"encryption": {}, "integrity": {}, "prf": {}, "group": {}, "esn": {}}
    for word in filter(None, (word.strip() for word in words)):
        kind, name = _algorithm(word, line)
        kinds[kind][name] = None
    encryption, integrity = [*kinds["encryption"]], [*kinds["integrity"]]
    groups = [*kinds["group"]] or [""]
    if protocol == "ah":
        return product(("",), _needed(integrity, "an integrity algorithm", line), groups)
    _needed(encryption, "an encryption algorithm", line)
    aead = {is_aead(name) for name in encryption}
    if len(aead) > 1:
        raise Unreadable(line, "a proposal cannot have AEAD ciphers beside others: give each its own proposal")
    if protocol == "ike":
        groups = _needed([name for name in groups if name], "a Diffie-Hellman group", line)
        hashes = _hashes(integrity, [*kinds["prf"]], aead == {True}, line)
    else:
        hashes = [""] if aead == {True} else integrity or [""]
        if "esn" in kinds["esn"] and "noesn" not in kinds["esn"]:
            encryption = [f"{name} with ESN" for name in encryption]
    check_count(len(encryption) * len(hashes) * len(groups), line)
    return product(encryption, hashes, groups)


def _algorithm(word: str, line: int) -> tuple[_Kind, str]:
    if word in NO_GROUP:
        return "group", ""
    if word in ("esn", "noesn"):
        return "esn", word
    known = _NAMES.get(_ALIASES.get(word, word))
    if known is not None:
        return known
    for kind, pattern in _OTHERS.items():
        if pattern.fullmatch(word):
            return kind, word.removeprefix("prf") if kind == "prf" else word
    raise Unreadable(line, f"'{shown(word)}' should be an algorithm, as in aes256-sha256-modp2048")


def _needed(names: list[str], what: str, line: int) -> list[str]:
    if not names:
        raise Unreadable(line, f"a proposal needs {what}, as in aes256-sha256-modp2048")
    return names


def _hashes(integrity: list[str], prfs: list[str], aead: bool, line: int) -> list[str]:
    """The hashes of IKE suites; a PRF that is not the hash's own is named beside it."""
    own = [_NAMES.get(prf, ("prf", prf))[1] for prf in prfs]
    if aead:
        return _needed(own or integrity, "a PRF", line)
    _needed(integrity, "an integrity algorithm", line)
    if not own:
        return integrity
    return [name if name == prf else with_prf(name, prf) for name in integrity for prf in own]


def with_prf(integrity: str, prf: str) -> str:
    """The hash of a suite whose PRF is another one."""
    return f"{integrity} with PRF {prf}"
