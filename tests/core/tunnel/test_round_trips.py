"""Round trips: of a probe and its answer, and of nothing else."""

from __future__ import annotations

import pytest

from linkspan.core.tunnel import charon_events, round_trips
from linkspan.core.tunnel.charon_events import RoundTrip
from linkspan.core.tunnel.round_trips import LONGEST, SentProbes

NAME = "peer-0a1b2c3d-4e5f6071"
PROBE = "sending DPD request"
ANSWER = "parsed INFORMATIONAL response 7 [ ]"


def told(*lines: tuple[float, str], number: int = 7) -> list[RoundTrip]:
    """The round trips in these lines of a log, each with its time."""
    sent: SentProbes = {}
    found: list[RoundTrip] = []
    for at, line in lines:
        sent, events = round_trips.read(sent, charon_events.from_log(NAME, line, number), line, at)
        found += [event for event in events if isinstance(event, RoundTrip)]
    return found


@pytest.mark.parametrize("answer", [ANSWER, "parsed INFORMATIONAL_V1 request 2077 [ HASH N(DPD_ACK) ]"])
def test_a_probe_and_its_answer(answer: str) -> None:
    assert told((5.0, PROBE), (5.25, answer), (6.0, answer)) == [RoundTrip(NAME, 0.25)]


@pytest.mark.parametrize(
    "lines",
    [
        ((5.0, ANSWER),),
        # Out of order, and the answer to something else afterwards.
        ((5.0, ANSWER), (5.0, PROBE), (5.1 + LONGEST, ANSWER)),
        ((5.0, PROBE), (5.1, "parsed INFORMATIONAL request 3 [ ]")),
        ((5.0, PROBE), (7.0, "retransmit 1 of request with message ID 7"), (7.1, ANSWER)),
        ((5.0, PROBE), (5.1, "parsed CREATE_CHILD_SA response 7 [ SA No KE TSi TSr ]")),
    ],
)
def test_anything_else_is_none(lines: tuple[tuple[float, str], ...]) -> None:
    assert told(*lines) == []


def test_ike_sas_are_told_apart() -> None:
    sent: SentProbes = {}
    for number in (7, 8):
        sent, _ = round_trips.read(sent, charon_events.from_log(NAME, PROBE, number), PROBE, float(number))
    sent, events = round_trips.read(sent, charon_events.from_log(NAME, ANSWER, 8), ANSWER, 8.5)
    assert events[-1] == RoundTrip(NAME, 0.5)
    assert set(sent) == {7}
