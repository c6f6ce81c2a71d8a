"""The meter of child SAs: whatever is rekeyed, restarted or handled late, what it shows is what charon has counted."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from linkspan.core.state.traffic import Amounts
from linkspan.core.tunnel import traffic_meter
from linkspan.core.tunnel.sas import ChildSa
from linkspan.core.tunnel.traffic_meter import Meter

ONE, OTHER = "0198c0de-0000-7000-8000-000000000001", "0198c0de-0000-7000-8000-000000000002"


def child(spi: str, in_bytes: int = 0, out_bytes: int = 0, owner: str = ONE, **values: Any) -> ChildSa:
    """A child SA that has carried so many bytes, in packets of 100."""
    packets = (in_bytes // 100, out_bytes // 100)
    return ChildSa(f"{owner}.0a1b2c3d", 1, "INSTALLED", spi, "ff", in_bytes, out_bytes, *packets, -1, **values)


def total(meter: Meter, owner: str = ONE) -> tuple[int, int]:
    """Bytes in and out since the last sample."""
    amounts = meter.amounts.get(owner, Amounts())
    return amounts.in_bytes, amounts.out_bytes


def test_what_an_agent_finds_is_no_traffic_and_what_is_new_later_is() -> None:
    meter = traffic_meter.listed(Meter(), [child("c1", 5000, 7000)], 0.0)
    assert total(meter) == (0, 0)
    meter = traffic_meter.listed(meter, [child("c1", 5100, 7000), child("c2", 300, 400)], 10.0)
    assert total(meter) == (400, 400)


def test_before_the_first_listing_an_unknown_child_is_no_traffic() -> None:
    meter = traffic_meter.ended(Meter(), child("c1", 5000, 7000, age=3), 0.0)
    assert total(meter) == (0, 0)
    assert total(traffic_meter.listed(meter, [child("c1", 5200, 7000)], 1.0)) == (200, 0)


@pytest.mark.parametrize(("age", "counted"), [(3, 800), (40, 0), (-1, 0)])
def test_a_child_that_was_never_listed_counts_if_it_is_new(age: int, counted: int) -> None:
    """One that ended before the first listing has counted what was before this agent, and its event may be late."""
    meter = traffic_meter.listed(Meter(), [], 0.0)
    assert total(traffic_meter.ended(meter, child("c1", 800, 0, age=age), 10.0)) == (counted, 0)
    assert total(traffic_meter.ended(traffic_meter.charon_started(Meter()), child("c1", 800, 0, age=age), 10.0)) == (
        800 if age >= 0 else 0,
        0,
    )


def test_all_of_a_charon_that_was_started_anew_counts() -> None:
    meter = traffic_meter.listed(Meter(), [child("c1", 5000, 7000)], 0.0)
    meter = traffic_meter.charon_started(meter)
    assert total(traffic_meter.listed(meter, [child("c1", 100, 200)], 10.0)) == (100, 200)


def test_an_event_that_is_handled_after_a_later_listing_counts_once() -> None:
    new = traffic_meter.charon_started(Meter())
    meter = traffic_meter.listed(new, [child("c1", 1000, 0)], 0.0)
    meter = traffic_meter.listed(meter, [], 10.0)
    event = child("c1", 1500, 0, age=20)
    assert total(traffic_meter.ended(meter, event, 10.1)) == (1500, 0)
    # Its control: a meter that had forgotten the child would take it for a new one.
    forgetful = msgspec.structs.replace(meter, children={})
    assert total(traffic_meter.ended(forgetful, event, 10.1)) == (2500, 0)


def test_counters_that_go_back_are_older_ones() -> None:
    meter = traffic_meter.listed(traffic_meter.charon_started(Meter()), [child("c1", 1000, 1000)], 0.0)
    meter = traffic_meter.ended(meter, child("c1", 900, 900), 1.0)
    meter = traffic_meter.listed(meter, [child("c1", 1000, 1100)], 2.0)
    assert total(meter) == (1000, 1100)


def test_a_sample_begins_at_zero_and_connections_are_counted_apart() -> None:
    new = traffic_meter.charon_started(Meter())
    meter = traffic_meter.listed(new, [child("c1", 100, 0), child("c2", 0, 300, owner=OTHER)], 0.0)
    assert (total(meter), total(meter, OTHER)) == ((100, 0), (0, 300))
    meter = traffic_meter.sampled(meter)
    assert (total(meter), total(meter, OTHER)) == ((0, 0), (0, 0))


@given(st.lists(st.sampled_from(["c1", "c2"]), max_size=30))
def test_a_child_is_forgotten_once_it_is_absent_for_good(present: list[str]) -> None:
    meter = traffic_meter.listed(Meter(), [child("c1"), child("c2")], 0.0)
    for spi in present:
        meter = traffic_meter.listed(meter, [child(spi)], 0.0)
    meter = traffic_meter.listed(traffic_meter.listed(meter, [], 0.0), [], 0.0)
    assert meter.children == {}


class Charon(RuleBasedStateMachine):
    """A charon that rekeys, replaces and is started anew, and an agent that lists, hears and is started anew.

    `shown`: the sum of the samples; `counted`: what charon has counted since the agent's first listing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.numbers = itertools.count(1)
        self.now = 100.0
        self.children: dict[str, int] = {}
        self.ages: dict[str, float] = {}
        self.ending: list[tuple[ChildSa, float]] = []
        self.meter = Meter()
        self.counted = self.shown = self.before = 0
        self._install()

    def _install(self) -> None:
        spi = f"c{next(self.numbers)}"
        self.children[spi], self.ages[spi] = 0, self.now

    def _child(self, spi: str) -> ChildSa:
        return child(spi, self.children[spi], age=int(self.now - self.ages[spi]))

    def _list(self) -> None:
        self.meter = traffic_meter.listed(self.meter, map(self._child, self.children), self.now)
        self.now += 1.5

    @rule(count=st.integers(0, 10**12), data=st.data())
    def carry(self, count: int, data: st.DataObject) -> None:
        """Traffic passes; what charon counts before the first listing of an agent is known to nobody."""
        spi = data.draw(st.sampled_from(sorted(self.children)))
        self.children[spi] += count
        if self.meter.known_since is not None:
            self.counted += count

    @rule(data=st.data())
    def rekey(self, data: st.DataObject) -> None:
        """A child is rekeyed or deleted: the event with its last counters is on its way."""
        spi = data.draw(st.sampled_from(sorted(self.children)))
        self._install()
        self.ending.append((self._child(spi), self.now))
        del self.children[spi]

    @rule()
    def hear(self) -> None:
        """The agent handles the events."""
        for ended, at in self.ending:
            self.meter = traffic_meter.ended(self.meter, ended, at)
        self.ending = []

    @rule()
    def listing(self) -> None:
        """The agent lists all child SAs; events are handled before the next listing at the latest."""
        self._list()
        self.hear()

    @rule()
    def sample(self) -> None:
        """The agent takes a sample."""
        self._list()
        self.hear()
        amounts = self.meter.amounts.get(ONE, Amounts())
        assert amounts.in_bytes >= 0
        self.shown += amounts.in_bytes
        self.meter = traffic_meter.sampled(self.meter)
        assert self.shown == self.counted, "after a sample everything is shown"

    @rule()
    def another_agent(self) -> None:
        """The agent is started anew: it shows nothing of what was before."""
        self.meter, self.ending, self.counted, self.shown = Meter(), [], 0, 0

    @precondition(lambda self: not self.ending)
    @rule()
    def another_charon(self) -> None:
        """charon ends with an agent that has just listed, and is started anew."""
        self._list()
        self.children = {}
        self._install()
        self.meter = traffic_meter.charon_started(self.meter)

    @invariant()
    def nothing_is_shown_twice(self) -> None:
        """What is shown and about to be was counted."""
        assert self.shown + total(self.meter)[0] <= self.counted


TestCharon = Charon.TestCase
