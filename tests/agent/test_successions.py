"""Successions: what is up stays up, and in the end each pair is carried by the newest connection that has it."""

from __future__ import annotations

import pytest

from linkspan.core.tunnel import reports, takeover
from tests.agent.replacements import ReplacementHistory
from tests.agent.successions import SuccessionHistory

HISTORIES, SHARE = 96, 8


@pytest.mark.parametrize(
    "first", [pytest.param(first, marks=[pytest.mark.slow] if first else []) for first in range(0, HISTORIES, SHARE)]
)
def test_what_is_up_stays_up_and_the_newest_connection_carries_it(first: int) -> None:
    """With other keys, policies, DPD and MTUs, parts that overlap, disabled and deleted successors, and crashes."""
    histories = range(first, first + SHARE)
    assert {seed: faults[:3] for seed in histories if (faults := SuccessionHistory(seed).run())} == {}


def test_without_waiting_for_the_successor_the_histories_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(takeover, "_has", lambda _connection, _pair, _situation: False)
    assert any("not carried any more" in fault for seed in range(4) for fault in SuccessionHistory(seed).run())


def test_without_an_order_of_the_children_the_histories_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(takeover, "_newer", lambda _waiting, _desired: {})
    assert any(SuccessionHistory(seed).run() for seed in range(30))


@pytest.mark.parametrize(
    "first", [pytest.param(first, marks=[pytest.mark.slow] if first else []) for first in range(0, HISTORIES, SHARE)]
)
def test_both_ends_are_replaced_at_about_the_same_time(first: int) -> None:
    """Each client deletes its older connection as soon as the successor is up, and that stays up."""
    histories = range(first, first + SHARE)
    assert {seed: faults[:3] for seed in histories if (faults := ReplacementHistory(seed).run())} == {}


def test_a_successor_that_is_reported_too_early_goes_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: without the wait for the older connections, for the peer, and for the pairs that are missing."""
    monkeypatch.setattr(reports, "_is_under_way", lambda _tunnel: False)
    monkeypatch.setattr(takeover, "settled", lambda _connection: 0.0)
    faults = [fault for seed in range(16) for fault in ReplacementHistory(seed).run()]
    assert any("went down" in fault or "not carried any more" in fault for fault in faults)
