"""Lists of proposals as charon logs them, and the kinds of transforms in which two of them differ."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal

Kind = Literal["protocol", "encryption", "integrity", "prf", "group"]

_KINDS: Final[tuple[tuple[re.Pattern[str], Kind | None], ...]] = (
    (re.compile(r"(NO_)?EXT_SEQ$"), None),
    (re.compile(r"PRF_"), "prf"),
    (re.compile(r"HMAC_|AES_XCBC_|AES_CMAC_|AES_\d+_GMAC|AUTH_"), "integrity"),
    (re.compile(r"MODP_|ECP_|CURVE_|ML_KEM_|KE\d_"), "group"),
)
_Proposal = Mapping[Kind, frozenset[str]]


def differences(offered: str, configured: str) -> frozenset[Kind]:
    """The kinds of transforms that two lists of proposals do not have in common: of the two proposals that are
    nearest to each other. Empty if a pair of them matches.

    A PRF that follows from the integrity algorithm, and an integrity algorithm that is absent because of the
    encryption algorithm, are no differences of their own. Nor is an absent group beside another difference: the first
    child of IKEv2 has none (RFC 7296, section 1.2).
    """
    pairs = (
        _differences(_proposal(theirs), _proposal(ours))
        for theirs in offered.split(", ")
        for ours in configured.split(", ")
    )
    return min(pairs, key=len)


def _proposal(text: str) -> _Proposal:
    protocol, _, transforms = text.partition(":")
    found: dict[Kind, set[str]] = {"protocol": {protocol}}
    for name in transforms.split("/"):
        kind: Kind | None = next((kind for pattern, kind in _KINDS if pattern.match(name)), "encryption")
        if kind:
            found.setdefault(kind, set()).add(name)
    return {kind: frozenset(names) for kind, names in found.items()}


def _differences(theirs: _Proposal, ours: _Proposal) -> frozenset[Kind]:
    nothing = frozenset[str]()
    kinds = {kind for kind in theirs.keys() | ours.keys() if not theirs.get(kind, nothing) & ours.get(kind, nothing)}
    if "protocol" in kinds:
        return frozenset({"protocol"})
    if "integrity" in kinds and "encryption" in kinds and ("integrity" in theirs) != ("integrity" in ours):
        kinds -= {"integrity"}
    if "prf" in kinds and ("integrity" in kinds or _follow(theirs) or _follow(ours)) and len(kinds) > 1:
        kinds -= {"prf"}
    if len(kinds) > 1 and ("group" in theirs) != ("group" in ours):
        kinds -= {"group"}
    return frozenset(kinds)


def _follow(proposal: _Proposal) -> bool:
    """True if there are PRFs without integrity algorithms: those of an AEAD."""
    return "integrity" not in proposal
