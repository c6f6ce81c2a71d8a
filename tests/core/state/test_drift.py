"""When a gateway's network is compared, and what is said about what was missing."""

from __future__ import annotations

from linkspan.core.state import drift
from linkspan.core.state.drift import SPACING, Comparisons


def test_the_first_comparisons_of_many_gateways_are_spread() -> None:
    assert [drift.first(100.0, 60.0, fraction).next for fraction in (0.0, 0.5, 1.0)] == [100.0, 130.0, 160.0]


def test_a_change_is_looked_at_at_once_and_a_stream_of_changes_once_a_second() -> None:
    waiting = Comparisons(last=0.0, next=60.0)
    assert drift.noticed(waiting, 30.0).next == 30.0
    just = drift.compared(30.0, 60.0)
    assert just.next == 90.0
    again = drift.noticed(just, 30.1)
    assert again.next == 30.0 + SPACING
    assert drift.noticed(again, 30.5) == again


def test_the_sentence_names_the_first_five_each_once() -> None:
    assert drift.sentence(["a", "b", "a"], "noon") == "changed by another program and restored at noon: a, b"
    assert drift.sentence("abcdefg", "noon").endswith(": a, b, c, d, e and 2 more")
