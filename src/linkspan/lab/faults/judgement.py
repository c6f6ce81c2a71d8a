"""The judgement of what an end told of a fault. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Literal

from linkspan.core.diagnosis.causes import layer_of
from linkspan.lab.faults.declaration import Case, TunnelEnd

Judgement = Literal["right", "vague", "wrong", "nothing", "cannot know"]

STATES: Final = frozenset({"", "WAITING_FOR_PEER", "NEGOTIATING", "PROVISIONING", "UPDATE_IN_PROGRESS"})
"""Codes that say what a tunnel does, and no cause."""
REFUSALS: Final = frozenset({"IKE_REFUSED", "AUTHENTICATION_REFUSED", "CHILD_REFUSED", "NO_CHILD", "PEER_BROKE_OFF"})
"""Codes that say that the peer refuses, and not why: vague of every cause in their layer."""


def judge(case: Case, end: TunnelEnd, code: str) -> Judgement:
    """The judgement of a code that an end told; empty: none."""
    right = case.right(end)
    if right is None:
        return "cannot know"
    if code in right:
        return "right"
    if code in STATES:
        return "nothing"
    return "vague" if is_vague(code, right, case.fault.codes.vague) else "wrong"


def is_vague(code: str, right: Collection[str], vague: Collection[str]) -> bool:
    """True if a code is true of what one of the right codes names, and less exact: `IKE_PROPOSAL_MISMATCH` of
    `IKE_PROPOSAL_MISMATCH_DH`."""
    if code == "UNKNOWN" or code in vague:
        return True
    if code in REFUSALS and layer_of(code) in {layer_of(exact) for exact in right}:
        return True
    return any(exact.startswith(f"{code}_") for exact in right)
