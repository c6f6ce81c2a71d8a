"""The cause of a connection as the diagnosis answers it: what is declared of it, with what is known now. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

from linkspan.core.diagnosis.catalogue.declared import LayerName, Severity, Side
from linkspan.core.diagnosis.causes import declaration
from linkspan.core.diagnosis.layers import Layer
from linkspan.core.state.live_facts import LiveFacts
from linkspan.core.state.status import Verdict

DOCS = "diagnosis.md"
"""The page of the documentation that lists the causes."""


class Fix(msgspec.Struct, frozen=True):
    """A remedy, and the end for it."""

    who: Literal["us", "peer"]
    text: str


class Evidence(msgspec.Struct, frozen=True):
    """A fact that shows a cause. `source`: charon, which may quote the peer, or the counters of the child SAs."""

    source: Literal["charon", "counters"]
    text: str


class AnsweredCause(msgspec.Struct, frozen=True, kw_only=True):
    """A cause. `since`: in seconds since the epoch, null if it is not known. `side`: where the fault is. `confidence`:
    0 to 1. `ours`, `peer`: the values that differ, empty if they are not known; words of a peer are only quoted.
    `retry_in`: seconds until the next attempt, -1 without one."""

    code: str
    layer: LayerName
    title: str
    severity: Severity
    sentence: str
    since: float | None
    side: Side
    confidence: float
    ours: str
    peer: str
    evidence: tuple[Evidence, ...]
    fix: tuple[Fix, ...]
    depends_on: tuple[str, ...]
    retry_in: int
    docs: str


def answered(
    verdict: Verdict, first: Layer | None, since: float | None, facts: LiveFacts | None
) -> AnsweredCause | None:
    """The cause of a status; None if the connection is as desired. `first`: the first layer that is not ok."""
    code, sentence = verdict.code, verdict.reason
    if not code and first is not None and first.code:
        code, sentence = first.code, first.text
    declared = declaration(code)
    if declared is None:
        return None
    own = facts if facts is not None and facts.cause == code else None
    evidence = []
    if own is not None and own.evidence:
        evidence.append(Evidence("charon", own.evidence))
    elif declared.layer == "data" and first is not None:
        evidence.append(Evidence("counters", first.text))
    fixes = (("us", declared.ours), ("peer", declared.peers))
    return AnsweredCause(
        code=code,
        layer=declared.layer,
        title=declared.title,
        severity=declared.severity,
        sentence=sentence or declared.title,
        since=since if code == verdict.code else None,
        side=declared.side,
        confidence=declared.confidence,
        ours=own.ours if own else "",
        peer=own.peer if own else "",
        evidence=tuple(evidence),
        fix=tuple(Fix(who, text) for who, text in fixes if text),  # type: ignore[arg-type]  # literals above
        depends_on=declared.depends_on,
        retry_in=facts.retry_in if facts else -1,
        docs=f"{DOCS}#{code.lower()}",
    )
