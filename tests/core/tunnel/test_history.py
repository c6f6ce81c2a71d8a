"""What the timeline says, from one report of a connection to the next."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from linkspan.core.state.observed import ConnectionReport
from linkspan.core.tunnel.history import Known, News, follow, succeeded

ID = "0" * 8 + "-0000-0000-0000-" + "0" * 12


def told(*reports: tuple[str, str]) -> list[tuple[str, str]]:
    """Kind and code of the events that reports of a new connection make."""
    known = Known()
    found: list[tuple[str, str]] = []
    for state, code in reports:
        known, news = follow(known, ConnectionReport(ID, 1, 1, state, f"because of {code}", code=code))  # type: ignore[arg-type]
        if news:
            found.append((news.kind, news.code))
            assert news.reason == f"because of {code}"
    return found


def test_a_connection_that_comes_up_and_goes_down() -> None:
    assert told(("down", "NEGOTIATING"), ("up", ""), ("down", "PEER_DELETED"), ("up", "")) == [
        ("up", ""),
        ("down", "PEER_DELETED"),
        ("up", ""),
    ]


def test_while_it_stays_down_each_cause_is_told_once() -> None:
    failing = [("down", "PSK_MISMATCH"), ("down", "PEER_NO_REPLY")]
    assert told(*failing, *failing, *failing) == [("cause", "PSK_MISMATCH"), ("cause", "PEER_NO_REPLY")]
    assert told(("up", ""), *failing, *failing)[1:] == [("down", "PSK_MISMATCH"), ("cause", "PEER_NO_REPLY")]


def test_while_it_is_up_every_change_is_told() -> None:
    assert told(("up", ""), ("up", "FLAPPING"), ("up", ""), ("up", "FLAPPING"))[1:] == [
        ("notice", "FLAPPING"),
        ("notice", ""),
        ("notice", "FLAPPING"),
    ]


def test_disabled_and_gone_is_down() -> None:
    assert told(("up", ""), ("disabled", "ADMIN_DISABLED"), ("gone", "")) == [("up", ""), ("down", "ADMIN_DISABLED")]
    assert told(("up", ""), ("gone", "")) == [("up", ""), ("down", "")]


def test_a_succession_is_told_once() -> None:
    known, news = succeeded(Known(is_up=True), "superseded by oslo")
    assert news == News("takeover", "", "superseded by oslo")
    assert succeeded(known, "superseded by oslo") == (known, None)
    known, news = succeeded(known, "")
    assert (known, news) == (Known(is_up=True), None)


STATES = st.sampled_from(("up", "down", "disabled", "error"))
CODES = st.sampled_from(("", "NEGOTIATING", "PSK_MISMATCH", "FLAPPING", "PEER_NO_REPLY"))


@given(st.lists(st.tuples(STATES, CODES), max_size=30))
def test_ups_and_downs_alternate_and_end_as_the_last_report(reports: list[tuple[str, str]]) -> None:
    ways = [kind for kind, _ in told(*reports) if kind in ("up", "down")]
    assert ways == ["up", "down"] * (len(ways) // 2) + ["up"] * (len(ways) % 2)
    assert (bool(reports) and reports[-1][0] == "up") == (len(ways) % 2 == 1)
