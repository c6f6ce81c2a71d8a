"""Dead peer detection per IKE SA, and what the connection does afterwards."""

from __future__ import annotations

import pytest

from linkspan.core.state.desired import Connection, Dpd
from linkspan.core.tunnel import dpd
from linkspan.core.tunnel.dpd import DpdState, LastSeen
from tests.core.samples import ID, child, connection, sa

MINE = frozenset({f"{ID}.1"})
OTHER = "22222222-6a55-4b8c-9a56-2f6f5a9f0b11"


def seen(watch: DpdState, now: float, *numbers: int, idle: int = -1) -> tuple[DpdState, frozenset[int]]:
    sas = tuple(sa("peer-1-2", child(f"{ID}.1", idle=idle), unique_id=number) for number in numbers)
    return dpd.check_liveness(watch, sas, MINE, 6, now)


def test_an_ike_sa_is_alive_when_it_is_first_seen_and_dead_a_timeout_after_its_last_sign() -> None:
    watch, _ = seen(DpdState(), 10.0, 1)
    assert dpd.deadline(watch, 6) is None, "nobody has asked"
    watch = dpd.probe_sent(watch, 1)
    assert dpd.deadline(watch, 6) == 16.0
    watch = dpd.probe_sent(dpd.peer_seen(watch, 1, 12.0), 1)
    watch, dead = seen(watch, 17.9, 1)
    assert dead == frozenset()
    watch, dead = seen(watch, 18.0, 1)
    assert dead == watch.given_up == {1}
    assert watch.last_seen == {}


def test_a_sign_in_one_ike_sa_says_nothing_of_another() -> None:
    """A peer that was restarted answers in the new one and never again in the old one."""
    watch, _ = seen(DpdState(), 0.0, 1, 2)
    watch = dpd.probe_sent(dpd.probe_sent(watch, 1), 2)
    watch = dpd.peer_seen(watch, 2, 5.0)
    watch, dead = seen(watch, 6.0, 1, 2)
    assert dead == {1}
    assert watch.last_seen == {2: LastSeen(5.0)}
    assert dpd.probe_sent(watch, 1) == watch, "what is given up is not waited for"


def test_inbound_esp_is_a_liveness() -> None:
    watch = dpd.probe_sent(seen(DpdState(), 0.0, 1)[0], 1)
    watch, dead = seen(watch, 7.0, 1, idle=2)
    assert (dead, watch.last_seen) == (frozenset(), {1: LastSeen(5.0, probed=True)})
    assert seen(watch, 11.0, 1, idle=6)[1] == {1}


def test_an_ike_sa_that_answers_after_all_is_no_more_given_up() -> None:
    watch = seen(dpd.probe_sent(seen(DpdState(), 0.0, 1)[0], 1), 6.0, 1)[0]
    assert seen(watch, 7.0, 1)[0].last_seen == {}
    back, _ = seen(dpd.peer_seen(watch, 1, 8.0), 8.0, 1)
    assert (back.last_seen, back.given_up) == ({1: LastSeen(8.0)}, frozenset())
    assert seen(watch, 9.0)[0].given_up == frozenset(), "its number is forgotten with it"


def test_what_carries_others_only_is_not_watched() -> None:
    watch, _ = dpd.check_liveness(DpdState(), (sa("peer-1-2", child(f"{OTHER}.1")),), MINE, 6, 0.0)
    assert watch.last_seen == {}


def test_a_question_whose_answer_may_have_been_missed_does_not_count() -> None:
    watch = dpd.probe_sent(seen(DpdState(), 0.0, 1)[0], 0)
    assert dpd.deadline(dpd.forget_probes(watch), 6) is None


@pytest.mark.parametrize(
    ("action", "traps", "rest", "words"),
    [
        ("hold", True, "trap", "waits for traffic"),
        ("hold", False, "", ""),
        ("clear", True, "peer", "waits for the peer"),
        ("restart", True, "", ""),
        ("restart-by-peer", True, "", ""),
    ],
)
def test_what_each_action_waits_for(action: str, traps: bool, rest: str, words: str) -> None:
    mine = connection(dpd=Dpd(action, 2, 6))  # type: ignore[arg-type]
    waits = dpd.wait_mode(mine, traps)
    assert waits == rest
    assert words in dpd.reason(mine, waits)
    assert "did not answer for 6 s" in dpd.reason(mine, waits)
    waiting = connection(dpd=mine.dpd, initiator="response-only")
    assert dpd.wait_mode(waiting, traps) == "", "response-only wins over every action"
    assert "response-only" in dpd.reason(waiting, "")


def test_a_shared_ike_sa_ends_when_the_last_one_has_given_it_up() -> None:
    shared = sa("peer-1-2", child(f"{ID}.1"), child(f"{OTHER}.1"), unique_id=7)
    gave_up, waits = DpdState(given_up=frozenset({7})), DpdState(last_seen={7: LastSeen(0.0)})

    def deserted(one: DpdState, other: DpdState, **changes: object) -> bool:
        second: Connection = connection(id=OTHER, **changes)
        return dpd.all_gave_up(shared, {ID: (connection(), one), OTHER: (second, other)})

    assert not deserted(gave_up, waits)
    assert deserted(gave_up, gave_up)
    assert deserted(gave_up, waits, dpd=Dpd("disabled", 2, 6)), "who does not watch has no say"
    assert dpd.all_gave_up(shared, {ID: (connection(), gave_up)}), "nor has who is not ours"
