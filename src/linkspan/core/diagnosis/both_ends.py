"""Both ends of a tunnel that this service runs: what one end knows says why the other one is down. Pure.

An end whose attempt is refused is rarely told why; the end that has refused it knows. Both ends may belong to
different projects. So of another project's end only the code counts, and what concerns one's own end: never its values.
"""

from __future__ import annotations

from typing import Final

import msgspec

from linkspan.core.diagnosis import causes
from linkspan.core.diagnosis.causes import CAUSES
from linkspan.core.diagnosis.codes import Code

JOINABLE: Final[frozenset[str]] = frozenset(
    {
        *("IKE_REFUSED", "AUTHENTICATION_REFUSED", "PEER_BROKE_OFF", "PSK_MISSING_AT_PEER", "PEER_NO_REPLY"),
        *("WAITING_FOR_PEER", "NEGOTIATING", "ESP_PROPOSAL_MISMATCH", "SELECTORS_UNACCEPTABLE", "CHILD_REFUSED"),
        *("PEER_DELETED", "DPD_TIMEOUT", "UNKNOWN", "UNKNOWN_SOURCE", "ENCRYPTED_UNANSWERED", "IKE_DAEMON_DOWN"),
    }
)
"""Codes of an end that may not know the cause itself."""
_MIRRORED: Final[dict[str, Code]] = {
    **{code: code for code in CAUSES if code.startswith(("IKE_PROPOSAL_MISMATCH", "ESP_PROPOSAL_MISMATCH"))},
    **{
        code: code
        for code in (
            *("PFS_MISMATCH", "IKE_VERSION_MISMATCH", "EXCHANGE_MODE_MISMATCH", "ENCAPSULATION_MODE_MISMATCH"),
            "AUTH_METHOD_MISMATCH",
            *("PSK_MISMATCH", "PPK_MISMATCH", "UDP_4500_BLOCKED", "PPK_REQUIRED"),
        )
    },
    "SELECTORS_UNACCEPTABLE": "SELECTORS_UNACCEPTABLE",
    # What the peer is called here is the identity that it gives itself, and the other way round.
    "PEER_ID_MISMATCH": "LOCAL_ID_REFUSED",
    "LOCAL_ID_REFUSED": "PEER_ID_MISMATCH",
}
"""The code of an end, by the exact one of the other end."""


_OF_IDENTITIES: Final = frozenset({"PEER_ID_MISMATCH", "LOCAL_ID_REFUSED"})
MAY_BE_JOINED: Final = JOINABLE | _OF_IDENTITIES
"""Codes that the other end may change."""


class OtherEnd(msgspec.Struct, frozen=True):
    """The other end, as far as it is known. `enabled`: its admin state and that of its service. `reason`: its status
    reason, which has values of its own; empty if the caller may not read it. `is_who_we_expect`, `expects_us`: the
    identities of the two connections fit, by type and value."""

    enabled: bool
    initiator: str
    code: str
    reason: str = ""
    is_who_we_expect: bool = True
    expects_us: bool = True


class Joined(msgspec.Struct, frozen=True):
    """The cause of an end, with what the other end knows."""

    code: Code
    sentence: str


def joined(code: str, initiator: str, other: OtherEnd) -> Joined | None:
    """The cause of an end that is down; None if the other end says nothing more.

    `code`, `initiator`: of this end.
    """
    if code not in MAY_BE_JOINED:
        return None
    if not other.enabled:
        return Joined("PEER_END_DISABLED", causes.sentence("PEER_END_DISABLED"))
    if initiator == other.initiator == "response-only":
        return Joined("BOTH_RESPONSE_ONLY", causes.sentence("BOTH_RESPONSE_ONLY"))
    mirrored = _exact(_MIRRORED.get(other.code), other) if code in JOINABLE else _exact(code, other)
    if mirrored is None or mirrored == code:
        return None
    if code in JOINABLE and other.reason:
        return Joined(mirrored, f"the other end, which this service runs too, says: {other.reason}")
    parts = (f"as the other end, which this service runs too, shows: {CAUSES[mirrored].title}", CAUSES[mirrored].ours)
    return Joined(mirrored, "; ".join(part for part in parts if part))


def _exact(code: str | None, other: OtherEnd) -> Code | None:
    """The code of an identity that does not fit, by both configurations: charon's log has no types of identities."""
    if code in _OF_IDENTITIES and not other.is_who_we_expect:
        return "PEER_ID_MISMATCH"
    if code in _OF_IDENTITIES and not other.expects_us:
        return "LOCAL_ID_REFUSED"
    return next((known for known in CAUSES if known == code), None)
