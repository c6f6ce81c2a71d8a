"""Events that wait for the API: in order, none lost by an agent that is killed, bounded, and delivered with reports."""

from __future__ import annotations

import uuid
from pathlib import Path

import msgspec
import pytest

from linkspan.agent import event_queue
from linkspan.agent.event_queue import EventQueue
from linkspan.agent.outbox import Outbox
from linkspan.core.state.observed import ConnectionReport, Report
from linkspan.core.state.timeline import NodeEvent

ONE, TWO = (str(uuid.UUID(int=number)) for number in (1, 2))


def report(id: str, state: str, code: str = "") -> ConnectionReport:
    return ConnectionReport(id, 1, 1, state, "why", code=code)  # type: ignore[arg-type]


def kinds(box: EventQueue) -> list[tuple[str, str]]:
    return [(event.connection_id, event.kind) for event in box.oldest()]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "timeline.jsonl"


def test_events_wait_until_they_are_confirmed_and_are_taken_in_order() -> None:
    box = EventQueue()
    box.follow(report(ONE, "up"))
    box.happened(TWO, "rekey")
    box.follow(report(ONE, "down", "PEER_DELETED"))
    assert kinds(box) == [(ONE, "up"), (TWO, "rekey"), (ONE, "down")]
    first = box.oldest()[:1]
    box.confirmed(first)
    box.confirmed(first)
    assert kinds(box) == [(TWO, "rekey"), (ONE, "down")]


def test_another_agent_goes_on_where_one_was_killed(file: Path) -> None:
    box = EventQueue(file)
    box.follow(report(ONE, "up"))
    box.follow(report(TWO, "up"))
    box.confirmed(box.oldest())
    box.follow(report(TWO, "down", "PEER_DELETED"))
    box.succeeded(ONE, "superseded by two")
    waiting = box.oldest()
    again = EventQueue(file)
    assert again.oldest() == waiting
    again.follow(report(ONE, "up"))
    again.succeeded(ONE, "superseded by two")
    again.follow(report(TWO, "down", "PEER_DELETED"))
    assert again.oldest() == waiting, "it tells again what was told"
    again.follow(report(ONE, "down"))
    assert kinds(again)[2:] == [(ONE, "down")]


def test_without_its_file_another_agent_tells_what_was_told() -> None:
    """The control."""
    box = EventQueue()
    box.follow(report(ONE, "up"))
    again = EventQueue()
    again.follow(report(ONE, "up"))
    assert kinds(again) == [(ONE, "up")]


def test_a_line_that_was_cut_off_loses_itself_and_nothing_else(file: Path) -> None:
    box = EventQueue(file)
    box.follow(report(ONE, "up"))
    box.happened(ONE, "rekey")
    file.write_bytes(file.read_bytes()[:-20])
    again = EventQueue(file)
    assert kinds(again) == [(ONE, "up")]
    again.happened(TWO, "dpd")
    assert kinds(EventQueue(file)) == [(ONE, "up"), (TWO, "dpd")]


def test_events_of_one_connection_are_bounded_and_what_is_lost_is_said(file: Path) -> None:
    box = EventQueue(file)
    box.happened(TWO, "dpd")
    for _ in range(event_queue.OF_ONE + 25):
        box.happened(ONE, "rekey")
    for held in (box, EventQueue(file)):
        events = _all(held)
        own = [event for event in events if event.connection_id == ONE]
        assert len(own) == event_queue.OF_ONE
        (lost,) = [event for event in own if event.kind == "lost"]
        assert lost.reason.startswith("26 events are lost")
        assert [event.kind for event in events if event.connection_id == TWO] == ["dpd"]


def _all(box: EventQueue) -> list[NodeEvent]:
    found: list[NodeEvent] = []
    while events := box.oldest():
        found += events
        box.confirmed(events)
    return found


def test_events_of_all_connections_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_queue, "MOST", 50)
    box = EventQueue()
    for number in range(200):
        box.happened(str(uuid.UUID(int=number % 5)), "rekey")
    assert len(box) <= 50
    assert sum(event.kind == "lost" for event in box.oldest()) == 5


def test_the_file_does_not_grow_for_ever(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_queue, "SPARE_LINES", 20)
    box = EventQueue(file)
    for _ in range(500):
        box.happened(ONE, "rekey")
        box.confirmed(box.oldest())
    assert len(file.read_bytes().splitlines()) < 50
    assert kinds(EventQueue(file)) == []


def test_a_disk_that_cannot_be_written_costs_the_file_and_nothing_else(tmp_path: Path) -> None:
    box = EventQueue(tmp_path / "absent" / "timeline.jsonl")
    box.follow(report(ONE, "up"))
    assert kinds(box) == [(ONE, "up")]


def test_events_travel_with_reports_until_one_has_arrived() -> None:
    box = Outbox()
    box.put(report(ONE, "up"))
    box.happened(ONE, "rekey")
    lost = box.take(0)
    assert [event.kind for event in lost.events] == ["up", "rekey"]
    box.put_back(lost)
    again = box.take(0)
    assert again == lost
    box.delivered(again)
    assert box.take(0) == Report()
    box.put(report(ONE, "up"))
    assert box.take(0) == Report(), "an equal report tells nothing"


def test_what_was_up_goes_down_also_between_equal_reports() -> None:
    box = Outbox()
    box.went_down(ONE, "IKE_DAEMON_DOWN", "why")
    box.put(report(ONE, "up"))
    box.went_down(ONE, "IKE_DAEMON_DOWN", "why")
    box.went_down(ONE, "IKE_DAEMON_DOWN", "why")
    box.put(report(ONE, "up"))
    batch = box.take(0)
    assert [event.kind for event in batch.events] == ["up", "down", "up"]
    assert batch.connections == (report(ONE, "up"),)


def test_a_batch_of_events_is_bounded() -> None:
    box = Outbox()
    for number in range(event_queue.BATCH + 10):
        box.happened(str(uuid.UUID(int=number)), "rekey")
    batch = box.take(0)
    assert len(batch.events) == event_queue.BATCH
    assert len(msgspec.json.encode(batch)) < 4 * 1024 * 1024
    box.delivered(batch)
    assert len(box.take(0).events) == 10
