"""The outbox: the newest report of each object, none lost, none delivered twice, with bounded memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from linkspan.agent.outbox import BATCH, Outbox
from linkspan.core.state.observed import ConnectionReport, GatewayReport, Report


def up(id: str, revision: int = 1) -> ConnectionReport:
    return ConnectionReport(id, 1, revision, "up")


def gone(id: str) -> ConnectionReport:
    return ConnectionReport(id, 1, 9, "gone")


def test_the_newest_report_of_an_object_replaces_the_previous_one() -> None:
    box = Outbox()
    for revision in range(3):
        box.put(up("a", revision))
    assert box.take(0).connections == (up("a", 2),)
    assert box.take(0).connections == ()


def test_an_equal_report_is_not_delivered_again() -> None:
    box = Outbox()
    box.put(up("a"))
    box.delivered(box.take(0))
    box.put(up("a"))
    assert box.take(0) == Report()
    box.put(up("a", 2))
    assert box.take(0).connections == (up("a", 2),)


def test_a_batch_that_was_not_delivered_comes_again_with_newer_reports() -> None:
    box = Outbox()
    box.put(up("a", 1))
    lost = box.take(0)
    box.put(up("a", 2))
    box.put_back(lost)
    assert box.take(0).connections == (up("a", 2),)


def test_resend_all_delivers_every_report_of_an_object_that_exists() -> None:
    box = Outbox()
    box.put(GatewayReport("g", 1, 1, "ready"))
    box.put(up("a"))
    box.put(gone("b"))
    box.delivered(box.take(0))
    box.resend_all()
    batch = box.take(0)
    assert batch.gateways == (GatewayReport("g", 1, 1, "ready"),)
    assert batch.connections == (up("a"),), "what is gone was reported, and is forgotten"


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
def test_the_api_has_the_newest_reports_after_lost_batches(story: list[tuple[str, int, str]]) -> None:
    box, received, newest = Outbox(), {}, {}
    for id, revision, fate in story:
        newest[id] = up(id, revision)
        box.put(newest[id])
        if fate != "keep":
            batch = box.take(0)
            if fate == "send":
                received.update({report.id: report for report in batch.connections})
                box.delivered(batch)
            else:
                box.put_back(batch)
    received.update({report.id: report for report in box.take(0).connections})
    assert received == newest
