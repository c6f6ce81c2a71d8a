"""The traffic of an hour: what goes in comes out, in order, without overlap, and in few bytes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from linkspan.core.state.traffic import KEPT, Amounts, TrafficSample
from linkspan.core.tunnel import traffic_history
from linkspan.core.tunnel.traffic_history import SampleTimes, TrafficHistory

AMOUNTS = st.builds(Amounts, *[st.integers(0, 10**13)] * 4)
TAKEN = st.tuples(
    st.just(Amounts()) | AMOUNTS,
    st.none() | st.floats(0, 2000),
    st.floats(9.5, 60.0),
    st.sampled_from([0.0, 0.0, 0.0, 300.0]),
)
"""What passed, the round trip, the seconds of a sample, and those of a gap before it."""


def recorded(taken: Sequence[tuple[Amounts, float | None, float, float]]) -> tuple[TrafficHistory, SampleTimes]:
    """A history, and the times of its samples."""
    times, history, now = SampleTimes(), traffic_history.begun(0), 1000.0
    for number, (amounts, rtt_ms, seconds, gap) in enumerate(taken):
        begin, now = now + gap, now + gap + seconds
        times = traffic_history.taken(times, begin, now)
        history = traffic_history.added(history, number, times.first, amounts, rtt_ms)
    return history, times


def shown(history: TrafficHistory, times: SampleTimes, offset: float = 0.0, since: float = 0.0) -> list[TrafficSample]:
    return list(traffic_history.samples(history, times, offset, since))


@given(st.lists(TAKEN, max_size=20))
def test_what_goes_in_comes_out(taken: list[tuple[Amounts, float | None, float, float]]) -> None:
    found = [sample for sample in shown(*recorded(taken)) if sample.in_bytes is not None]
    assert [(each.in_bytes, each.out_bytes, each.in_packets, each.out_packets) for each in found] == [
        (each.in_bytes, each.out_bytes, each.in_packets, each.out_packets) for each, _, _, _ in taken
    ]
    for sample, (_, rtt_ms, seconds, _) in zip(found, taken, strict=True):
        assert abs(sample.seconds - seconds) < 0.001
        assert (sample.rtt_ms is None) == (rtt_ms is None)
        assert sample.rtt_ms is None or rtt_ms is None or abs(sample.rtt_ms - rtt_ms) < 0.01


@given(st.lists(TAKEN, max_size=20), st.floats(-500.0, 2e9))
def test_samples_and_gaps_follow_each_other_whatever_the_clock(
    taken: list[tuple[Amounts, float | None, float, float]], offset: float
) -> None:
    found = shown(*recorded(taken), offset=offset)
    for before, after in pairwise(found):
        assert abs(after.at - after.seconds - before.at) < 0.003
        assert after.at > before.at
    gaps = [sample for sample in found if sample.in_bytes is None]
    assert len(gaps) == sum(gap > 0 for _, _, _, gap in taken[1:])
    assert all(gap.rtt_ms is None and gap.out_packets is None for gap in gaps)


@given(st.lists(TAKEN, min_size=1, max_size=20), st.data())
def test_who_asks_again_gets_what_follows(
    taken: list[tuple[Amounts, float | None, float, float]], data: st.DataObject
) -> None:
    history, times = recorded(taken)
    found = shown(history, times, 1.7e9)
    at = data.draw(st.sampled_from(found)).at
    later = [sample for sample in found if sample.at > at]
    assert shown(history, times, 1.7e9, at) == later


@given(st.lists(TAKEN, min_size=1, max_size=20))
def test_the_newest_sample_is_the_last_one(taken: list[tuple[Amounts, float | None, float, float]]) -> None:
    history, times = recorded(taken)
    last, found = shown(history, times)[-1], traffic_history.newest(history, times, 0.0)
    assert found is not None
    assert (found.at, found.in_bytes, found.out_packets) == (last.at, last.in_bytes, last.out_packets)
    trips = [rtt_ms for _, rtt_ms, _, _ in taken[-6:] if rtt_ms is not None]
    assert found.rtt_ms == (None if not trips else found.rtt_ms)
    assert not trips or (found.rtt_ms is not None and abs(found.rtt_ms - trips[-1]) < 0.01)


def test_an_hour_is_kept_and_a_busy_connection_takes_few_bytes() -> None:
    busy = [(Amounts(12_500_000, 2_500_000, 9_000, 4_000), 21.5, 10.0, 0.0)] * (2 * KEPT)
    history, times = recorded(busy)
    found = shown(history, times)
    assert len(found) == KEPT
    assert sum(sample.in_bytes or 0 for sample in found) == KEPT * 12_500_000
    assert len(history.packed) < KEPT * 16


def test_a_connection_at_rest_takes_no_bytes_and_reads_zero() -> None:
    history, times = recorded([(Amounts(), None, 10.0, 0.0)] * 400)
    assert history.packed == b""
    found = shown(history, times)
    assert len(found) == KEPT
    assert {(sample.in_bytes, sample.out_packets, sample.rtt_ms) for sample in found} == {(0, 0, None)}


def test_what_was_before_a_long_rest_is_forgotten() -> None:
    first = [(Amounts(1, 1, 1, 1), None, 10.0, 0.0)] * 5
    rest = [(Amounts(), None, 10.0, 0.0)] * KEPT
    history, times = recorded([*first, *rest, *first])
    assert sum(sample.in_bytes or 0 for sample in shown(history, times)) == 5
    assert len(history.packed) <= 6 * 8


def test_a_connection_has_no_samples_of_the_time_before_it() -> None:
    times = SampleTimes()
    for number in range(5):
        times = traffic_history.taken(times, 10.0 * number, 10.0 * number + 10.0)
    history = traffic_history.added(traffic_history.begun(3), 3, times.first, Amounts(7, 0, 1, 0))
    assert [(sample.at, sample.in_bytes) for sample in shown(history, times)] == [(40.0, 7), (50.0, 0)]
    assert traffic_history.newest(traffic_history.begun(5), times, 0.0) is None
