"""Reports on their way: the newest of each object, none lost, none doubled, bounded however long the API is away."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from linkspan.agent.outbox import BATCH, Outbox
from linkspan.core.state.observed import ConnectionReport, GatewayReport, Report


def up(id: str, revision: int = 1) -> ConnectionReport:
    return ConnectionReport(id, 1, revision, "up")


def gone(id: str) -> ConnectionReport:
    return ConnectionReport(id, 1, 9, "gone")


def test_the_newest_report_of_an_object_replaces_the_one_before() -> None:
    box = Outbox()
    for revision in range(3):
        box.put(up("a", revision))
    assert box.take(0).connections == (up("a", 2),)
    assert box.take(0) == Report()


def test_what_was_said_is_not_said_again_unless_it_changes() -> None:
    box = Outbox()
    box.put(up("a"))
    box.sent(box.take(0))
    box.put(up("a"))
    assert box.take(0) == Report()
    box.put(up("a", 2))
    assert box.take(0).connections == (up("a", 2),)


def test_a_batch_that_did_not_arrive_comes_back_unless_something_newer_was_said() -> None:
    box = Outbox()
    box.put(up("a", 1))
    lost = box.take(0)
    box.put(up("a", 2))
    box.back(lost)
    assert box.take(0).connections == (up("a", 2),)


def test_an_api_that_forgot_is_told_everything_that_still_is() -> None:
    box = Outbox()
    box.put(GatewayReport("g", 1, 1, "ready"))
    box.put(up("a"))
    box.put(gone("b"))
    box.sent(box.take(0))
    box.again()
    again = box.take(0)
    assert again.gateways == (GatewayReport("g", 1, 1, "ready"),)
    assert again.connections == (up("a"),), "what is gone was said, and is forgotten"


def test_a_batch_is_bounded_and_gateways_come_first() -> None:
    box = Outbox()
    for number in range(BATCH + 5):
        box.put(up(str(number)))
    box.put(GatewayReport("g", 1, 1, "ready"))
    first, second = box.take(0), box.take(0)
    assert first.gateways
    assert len(first.connections) == BATCH - 1
    assert len(second.connections) == 6


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5), st.sampled_from(["send", "lose", "keep"]))))
def test_an_api_that_loses_batches_knows_the_newest_in_the_end(story: list[tuple[str, int, str]]) -> None:
    box, knows, truth = Outbox(), {}, {}
    for id, revision, fate in story:
        truth[id] = up(id, revision)
        box.put(truth[id])
        if fate != "keep":
            batch = box.take(0)
            if fate == "send":
                knows.update({one.id: one for one in batch.connections})
                box.sent(batch)
            else:
                box.back(batch)
    knows.update({one.id: one for one in box.take(0).connections})
    assert knows == truth
