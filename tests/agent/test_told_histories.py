"""The timelines of generated histories say what charon had: nothing else, nothing twice, and all of it."""

from __future__ import annotations

import pytest

from linkspan.agent.event_queue import EventQueue
from linkspan.core.state.observed import ConnectionReport
from linkspan.core.tunnel import history
from linkspan.core.tunnel.history import Known, News
from tests.agent.successions import SuccessionHistory
from tests.agent.told_histories import ToldHistory, ToldSite

HISTORIES, SHARE = 50, 10


@pytest.mark.parametrize(
    "first", [pytest.param(first, marks=[pytest.mark.slow] if first else []) for first in range(0, HISTORIES, SHARE)]
)
def test_the_timeline_says_what_charon_had(first: int) -> None:
    """With edits, deletions, killed agents and charons, cut networks, an API that is away, and lost answers."""
    histories = range(first, first + SHARE)
    assert {seed: faults[:3] for seed in histories if (faults := ToldHistory(seed).run())} == {}


def test_an_agent_without_its_file_tells_what_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ToldSite, "new_events", lambda site: EventQueue(None, lambda: site.network.time.now))
    faults = [fault for seed in range(10) for fault in ToldHistory(seed).run()]
    assert any("follows its like" in fault for fault in faults)


def test_a_timeline_without_downs_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    follow = history.follow

    def no_downs(known: Known, report: ConnectionReport) -> tuple[Known, News | None]:
        after, news = follow(known, report)
        return after, None if news and news.kind == "down" else news

    monkeypatch.setattr(history, "follow", no_downs)
    faults = [fault for seed in range(4) for fault in ToldHistory(seed).run()]
    assert any("is not told" in fault for fault in faults)


def test_a_connection_that_goes_down_by_dpd_has_both_events() -> None:
    found = 0
    for seed in range(60):
        played = ToldHistory(seed)
        played.run()
        for site in played.told_sites():
            dead = [event for event in site.received.values() if event.kind == "dpd"]
            downs = [event for event in site.received.values() if (event.kind, event.code) == ("down", "DPD_TIMEOUT")]
            places = [(event.connection_id, event.at) for event in dead]
            assert {event.code for event in dead} <= {"DPD_TIMEOUT"}
            assert all(any(id == down.connection_id and abs(at - down.at) < 1.0 for id, at in places) for down in downs)
            found += len(downs)
    assert found


def test_a_superseded_connection_is_told_once() -> None:
    told = []
    for seed in range(3):
        played = SuccessionHistory(seed)
        played.run()
        for site in played.sites:
            events = [event for event in site.outbox.events.oldest() if event.kind == "takeover"]
            told += events
            assert len({(event.connection_id, event.reason) for event in events}) == len(events)
    assert told
