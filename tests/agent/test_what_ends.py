"""What ends, ends: whatever the peer initiates, charon lists nothing but desired versions of enabled connections."""

from __future__ import annotations

import pytest

from linkspan.agent.stray_sas import StraySas
from linkspan.core.tunnel import stray_sas
from tests.agent.two_ends import History

HISTORIES = 1000
SHARE = 40


@pytest.mark.parametrize(
    "first", [pytest.param(first, marks=[pytest.mark.slow] if first else []) for first in range(0, HISTORIES, SHARE)]
)
def test_every_sa_belongs_to_a_desired_version_of_an_enabled_connection_or_ends(first: int) -> None:
    """With several connections a peer, either end initiating, edits, deletes, disables, crashes and lost messages."""
    assert {seed: faults[:3] for seed in range(first, first + SHARE) if (faults := History(seed).run())} == {}


def test_without_looking_at_what_is_listed_the_histories_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stray_sas, "strays", lambda _sas, _needed: ())
    faults = [fault for seed in range(6) for fault in History(seed).run()]
    assert any("the tombstone is answered" in fault for fault in faults)
    assert any(" is listed for " in fault for fault in faults)


def test_without_a_look_after_unloading_the_histories_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StraySas, "end", lambda _strays, _unloaded: ())
    assert any("the tombstone is answered" in fault for seed in range(40) for fault in History(seed).run())
