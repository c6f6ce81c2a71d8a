"""Findings of a comparison: what of two ends does not fit, how bad that is, and what to do at which end."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from linkspan.core.diagnosis import causes
from linkspan.core.diagnosis.causes import CAUSES
from linkspan.core.diagnosis.codes import Code

DifferenceSeverity = Literal["cannot", "impaired", "differs", "unknown"]
"""The tunnel cannot come up; it comes up and something is amiss; both may be so; the text does not say."""
DifferenceField = Literal[
    "ike_version",
    "phase1_negotiation_mode",
    "peer_address",
    "external_ip",
    "peer_id",
    "local_id",
    "auth_mode",
    "psk",
    "ppk_id",
    "ikepolicy",
    "ikepolicy.lifetime",
    "transform_protocol",
    "encapsulation_mode",
    "ipsecpolicy",
    "ipsecpolicy.pfs",
    "ipsecpolicy.lifetime",
    "cidrs",
    "dpd",
    "initiator",
    "mtu",
]
"""A difference, in the words of the API: of the connection, its policies, or its service (`external_ip`)."""
_ORDER: Final[tuple[DifferenceSeverity, ...]] = ("cannot", "impaired", "unknown", "differs")


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A difference. `code`: of the cause that the diagnosis would name, empty if it names none. `ours`, `theirs`: the
    values, never a secret. `line`: of the peer's text that states it; None if it states nothing and a default holds.
    `here`, `there`: what to do at this end, or at the peer's; one of them is enough."""

    field: DifferenceField
    severity: DifferenceSeverity
    code: str
    text: str
    ours: str = ""
    theirs: str = ""
    line: int | None = None
    here: str = ""
    there: str = ""


def of_cause(
    field: DifferenceField,
    code: Code,
    *,
    ours: str = "",
    theirs: str = "",
    line: int | None = None,
    severity: DifferenceSeverity = "cannot",
    variant: str = "",
    addition: str = "",
) -> Difference:
    """A difference that the catalogue of causes describes. `addition`: what follows its sentence."""
    text = causes.sentence(code, variant, ours=ours, peer=theirs) + addition
    declared = CAUSES[code]
    return Difference(
        field=field,
        severity=severity,
        code=code,
        text=text,
        ours=ours,
        theirs=theirs,
        line=line,
        here=declared.ours,
        there=declared.peers,
    )


def ordered(found: list[Difference]) -> tuple[Difference, ...]:
    """The worst ones first, else in the order in which they were found."""
    return tuple(sorted(found, key=lambda difference: _ORDER.index(difference.severity)))


def fits(found: tuple[Difference, ...]) -> bool:
    """True if the tunnel comes up and works, as far as the text says."""
    return not any(difference.severity in ("cannot", "impaired") for difference in found)
