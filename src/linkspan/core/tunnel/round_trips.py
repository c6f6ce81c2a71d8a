"""Round trips to peers, measured by the DPD probes that charon sends anyway. Pure; the time is a parameter.

Two lines of charon's log may arrive in the wrong order (`core.tunnel.peer_attempts`): then nothing is measured. Nor is
it of a probe that was retransmitted, since nobody knows which of the two was answered.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from linkspan.core.tunnel.charon_events import CharonEvent, PeerSeen, ProbeSent, Retransmitted, RoundTrip

LONGEST: Final = 2.0
"""Seconds after which charon retransmits (`drivers.charon.strongswan_conf`)."""
_ANSWER: Final = re.compile(r"parsed (INFORMATIONAL response|INFORMATIONAL_V1 request \d+ \[ HASH N\(DPD_ACK\))")

SentProbes = Mapping[int, float]
"""When the probes were sent that are not answered, in seconds on a clock that never goes back; by the unique id of the
IKE SA."""


def read(
    sent: SentProbes, events: Iterable[CharonEvent], line: str, now: float
) -> tuple[SentProbes, tuple[CharonEvent, ...]]:
    """The probes after a line of charon's log, and the events in it with the round trip that it ends."""
    found = tuple(events)
    for event in found:
        match event:
            case ProbeSent(_, number):
                recent = {other: at for other, at in sent.items() if now - at <= LONGEST}
                return {**recent, number: now}, found
            case Retransmitted(_, number) if number in sent:
                return _without(sent, number), found
            case PeerSeen(about, number) if number in sent and _ANSWER.match(line):
                took = now - sent[number]
                trip = (RoundTrip(about, took),) if 0 <= took <= LONGEST else ()
                return _without(sent, number), (*found, *trip)
    return sent, found


def _without(sent: SentProbes, number: int) -> SentProbes:
    return {other: at for other, at in sent.items() if other != number}
