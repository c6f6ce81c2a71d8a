"""The life of a connection: single stories, and what must hold in every story."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.state.desired import Connection, Dpd
from linkspan.core.state.observed import Backend
from linkspan.core.tunnel import fallback, lifecycle, pfs_check, reconcile, sa_expiry, tunnel
from linkspan.core.tunnel.actions import (
    DeclarePeerDead,
    DeleteChildSa,
    DeleteIkeSa,
    GiveUpSa,
    Initiate,
    ListSas,
    Reconcile,
    Rekey,
)
from linkspan.core.tunnel.charon_events import (
    Cause,
    Initiating,
    PeerSeen,
    PeerTimedOut,
    ProbeSent,
    Retransmitted,
    SaChanged,
)
from linkspan.core.tunnel.events import Adopted, EventsLost, Loaded, LoadFailed, PeerDeclaredDead, SasListed, Tick
from linkspan.core.tunnel.sas import IkeSa
from linkspan.core.tunnel.tunnel import Tunnel
from tests.core.samples import child, connection, ikev1, sa


def born(**changes: Any) -> Tunnel:
    return reconcile.tunnel_for(connection(**changes), "user-space")


def name(life: Tunnel) -> str:
    assert life.config
    return life.config.name


def cname(life: Tunnel) -> str:
    assert life.config
    return life.config.children[0].name


def play(life: Tunnel, *events: Any, now: float = 0.0) -> tuple[Tunnel, list[Any]]:
    done: list[Any] = []
    for event in events:
        life, actions = lifecycle.step(life, event, now)
        done += actions
    return life, done


def up(life: Tunnel, **more: Any) -> IkeSa:
    assert life.config
    return sa(name(life), *(child(item.name) for item in life.config.children), **more)


def state(life: Tunnel) -> tuple[str, str]:
    report = tunnel.report(life, generation=1)
    assert report
    return report.state, report.reason


def test_a_loaded_connection_initiates_and_reports_up_once_seen() -> None:
    life = born()
    assert tunnel.report(life, 1) is None, "nothing is said before it is applied"
    life, actions = play(life, Loaded())
    assert actions == [Initiate(name(life), cname(life))]
    assert state(life) == ("down", "initiating to 198.51.100.2")
    life, actions = play(life, SaChanged(life.connection.id))
    assert actions == [ListSas()]
    life, actions = play(life, SasListed((up(life),)))
    assert actions == []
    assert state(life) == ("up", "")
    assert lifecycle.wake_at(life) is None


def test_response_only_waits_and_comes_up_by_the_peer() -> None:
    life, actions = play(born(initiator="response-only"), Loaded())
    assert actions == []
    assert state(life) == ("down", "waits for the peer to initiate (initiator is response-only)")
    life, actions = play(life, SasListed((up(life, initiator=False),)))
    assert (actions, state(life)) == ([], ("up", ""))


@pytest.mark.parametrize("initiator", ["response-only", "bi-directional"])
def test_an_ikev1_sa_that_nobody_renewed_ends_at_its_lifetime(initiator: str) -> None:
    life, _ = play(born(initiator=initiator, ike=ikev1(lifetime=100)), Loaded())
    life, actions = play(life, SasListed((up(life, initiator=False, age=30),)), now=5.0)
    assert (actions, lifecycle.wake_at(life)) == ([], 75.0)
    assert play(life, Tick(), now=74.9)[1] == []
    life, actions = play(life, Tick(), now=75.0)
    assert actions == [ListSas()]
    assert life.config
    renewed = up(life, initiator=False, unique_id=2, age=5)
    for age, ended, wake in ((99, [], 76.0), (100, [DeleteIkeSa(1)], 170.0)):
        beside, actions = play(life, SasListed((sa(life.config.name, age=age, initiator=False), renewed)), now=75.0)
        assert (actions, state(beside)) == (ended, ("up", "")), "not a second early"
        assert lifecycle.wake_at(beside) == wake
    life, actions = play(life, SasListed((up(life, initiator=False, age=100),)), now=75.0)
    assert (actions, state(life)) == ([DeleteIkeSa(1)], ("down", sa_expiry.EXPIRED))
    assert (lifecycle.wake_at(life) is None) == (initiator == "response-only")


def test_an_ikev2_sa_is_renewed_in_place_and_has_no_end_of_ours() -> None:
    life, _ = play(
        born(initiator="response-only", ike=msgspec.structs.replace(connection().ike, lifetime=100)), Loaded()
    )
    life, actions = play(life, SasListed((up(life, initiator=False, age=1000),)))
    assert (actions, lifecycle.wake_at(life)) == ([], None)


def test_an_adopted_tunnel_is_left_alone() -> None:
    life, actions = play(born(), Adopted())
    assert actions == [ListSas()]
    life, actions = play(life, SasListed((up(life),)))
    assert (actions, state(life)) == ([], ("up", ""))


def test_a_refusal_is_told_at_once_and_tried_again_later() -> None:
    life, _ = play(born(), Loaded())
    why = Cause(life.connection.id, "auth-failed", "the peer refused our authentication")
    life, _ = play(life, why)
    assert state(life) == ("down", "the peer refused our authentication")
    assert lifecycle.wake_at(life) == lifecycle.SETTLE
    life, actions = play(life, Tick(), now=lifecycle.SETTLE)
    assert actions == [ListSas()]
    life, _ = play(life, SasListed(()), now=lifecycle.SETTLE)
    assert life.retry_at is not None
    assert 0.5 < life.retry_at < 2.0
    life, actions = play(life, Tick(), now=life.retry_at)
    assert actions == [Initiate(name(life), cname(life))]


def test_waiting_grows_to_a_limit_and_success_forgets_it() -> None:
    life, _ = play(born(), Loaded())
    now, waits = 0.0, []
    for _ in range(8):
        life, _ = play(life, SasListed(()), now=now)
        assert life.retry_at is not None
        waits.append(life.retry_at - now)
        now = life.retry_at
        life, _ = play(life, Tick(), now=now)
    assert waits == sorted(waits)
    assert waits[-1] < 1.25 * lifecycle.BACKOFF[-1]
    life, _ = play(life, SasListed((up(life),)), now=now)
    assert life.attempt == 0


def test_an_ike_sa_that_will_never_have_a_child_is_ended() -> None:
    life, _ = play(born(), Loaded())
    bare = sa(name(life))
    life, actions = play(life, SasListed((bare,)), now=0.1)
    assert actions == [], "the child may still come"
    life, _ = play(life, Cause(life.connection.id, "esp-proposal", "none of our proposals"), now=0.2)
    life, actions = play(life, SasListed((bare,)), now=0.3)
    assert actions == [DeleteIkeSa(bare.unique_id)]
    assert life.retry_at is not None


def test_a_silent_attempt_is_given_up() -> None:
    life, _ = play(born(), Loaded())
    connecting = sa(name(life), state="CONNECTING")
    life, actions = play(life, SasListed((connecting,)), now=1.0)
    assert actions == []
    life, actions = play(life, Tick(), SasListed((connecting,)), now=lifecycle.ATTEMPT)
    assert DeleteIkeSa(connecting.unique_id) in actions
    assert life.retry_at is not None


def test_our_attempt_has_its_time_once_the_peers_is_up() -> None:
    """The peer may have it up already, and end its own for it."""
    life, _ = play(born(), Loaded())
    both = sa(name(life), unique_id=7, state="CONNECTING"), up(life, unique_id=8, initiator=False)
    life, actions = play(life, SasListed(both), now=1.0)
    assert (actions, state(life), lifecycle.wake_at(life)) == ([], ("up", ""), lifecycle.ATTEMPT)
    done, _ = play(life, SasListed(both[1:]), now=2.0)
    assert lifecycle.wake_at(done) is None
    life, actions = play(life, Tick(), SasListed(both), now=lifecycle.ATTEMPT)
    assert (actions, lifecycle.wake_at(life)) == ([ListSas(), DeleteIkeSa(7)], None)


@pytest.mark.parametrize(("local", "ours_goes"), [("198.51.100.1", False), ("198.51.100.9", True)])
def test_of_two_that_met_the_one_of_the_higher_address_goes(local: str, ours_goes: bool) -> None:
    life, _ = play(born(), Loaded())
    both = [
        msgspec.structs.replace(up(life, unique_id=number, initiator=initiator), local_address=local)
        for number, initiator in ((1, True), (2, False))
    ]
    life, actions = play(life, SasListed(tuple(both)))
    assert actions == ([DeleteIkeSa(1)] if ours_goes else [])
    if not ours_goes:
        assert lifecycle.wake_at(life) == lifecycle.DUPLICATE
        _, actions = play(life, Tick(), SasListed(tuple(both)), now=lifecycle.DUPLICATE)
        assert DeleteIkeSa(2) in actions, "the peer did not: somebody has to"


@pytest.mark.parametrize("initiator", [True, False])
def test_of_two_that_the_same_end_initiated_the_older_goes(initiator: bool) -> None:
    life, _ = play(born(), Loaded())
    both = (up(life, unique_id=3, initiator=initiator), up(life, unique_id=4, initiator=initiator))
    life, actions = play(life, SasListed(both))
    assert actions == [DeleteIkeSa(3)], "whoever initiated again has lost the older one"


def test_what_carries_others_is_not_ended_with_ours() -> None:
    life, _ = play(born(), Loaded())
    other = msgspec.structs.replace(child("other.0"), unique_id=77)
    mine = msgspec.structs.replace(child(cname(life)), unique_id=78)
    shared = sa(name(life), other, mine, unique_id=3)
    newer = sa(name(life), child(cname(life)), unique_id=4)
    _, actions = play(life, SasListed((shared, newer)))
    assert actions == [DeleteChildSa(78)]


@pytest.mark.parametrize(("local", "acts"), [("198.51.100.1", True), ("198.51.100.9", False)])
def test_children_that_both_ends_made_in_one_ike_sa_are_thinned_by_one_end(local: str, acts: bool) -> None:
    life, _ = play(born(), Loaded())
    twins = [
        msgspec.structs.replace(child(cname(life)), unique_id=number, spi_in=spi_in, spi_out=spi_out)
        for number, spi_in, spi_out in ((5, "c2", "c9"), (6, "c8", "c1"))
    ]
    seen = SasListed((msgspec.structs.replace(sa(name(life), *twins), local_address=local),))
    life, actions = play(life, seen)
    assert actions == [], "a rekeying shows two for a moment"
    _, actions = play(life, seen, now=lifecycle.DUPLICATE)
    assert actions == ([DeleteChildSa(5)] if acts else [])


def test_a_sibling_in_the_shared_ike_sa_is_no_reason_to_wait_after_a_refusal() -> None:
    life, _ = play(born(), Loaded())
    shared = sa(name(life), child("other.0"))
    life, actions = play(life, SasListed((shared,)), now=0.1)
    assert (actions, life.retry_at) == ([], None)
    life, _ = play(life, Cause(name(life), "selectors", "the traffic selectors do not match"), now=0.2)
    life, actions = play(life, SasListed((shared,)), now=0.3)
    assert actions == [], "the IKE SA carries another connection"
    assert life.retry_at is not None


def test_the_peer_ends_it_and_we_come_back() -> None:
    life, _ = play(born(), Loaded(), SasListed((up(born()),)))
    life, _ = play(life, SasListed(()), now=100.0)
    assert state(life) == ("down", "the peer ended the tunnel")
    assert life.retry_at is not None
    _, actions = play(life, Tick(), now=life.retry_at)
    assert actions == [Initiate(name(life), cname(life))]


@pytest.mark.parametrize("action", ["hold", "restart", "restart-by-peer", "clear"])
def test_a_dead_peer_is_noticed_at_the_timeout_of_the_connection(action: str) -> None:
    life, _ = play(born(dpd=Dpd(action, 10, 30)), Loaded())  # type: ignore[arg-type]
    life, _ = play(life, SasListed((up(life),)), now=5.0)
    life, _ = play(life, Retransmitted(life.connection.id), now=17.0)
    assert lifecycle.wake_at(life) == 35.0
    life, actions = play(life, Tick(), SasListed((up(life),)), now=35.0)
    assert GiveUpSa(1) in actions
    assert state(life)[0] == "down"
    assert "no sign of life for 30 s" in state(life)[1]
    life, _ = play(life, SasListed(()), now=35.1)
    if action == "clear":
        assert "dpd action clear" in state(life)[1]
        assert lifecycle.wake_at(life) is None, "stays down until the peer or the user acts"
        life, _ = play(life, SasListed((up(life, initiator=False),)), now=400.0)
        assert state(life) == ("up", "")
    else:
        assert lifecycle.wake_at(life) is not None


def test_inbound_traffic_or_an_answer_keeps_a_peer_alive() -> None:
    life, _ = play(born(), Loaded(), SasListed((up(born()),)))
    life, _ = play(life, Retransmitted(life.connection.id), now=12.0)
    busy = sa(name(life), child(cname(life), idle=2))
    life, actions = play(life, Tick(), SasListed((busy,)), now=30.0)
    assert not [action for action in actions if isinstance(action, GiveUpSa)]
    assert lifecycle.wake_at(life) == 58.0
    life, _ = play(life, PeerSeen(life.connection.id), now=31.0)
    assert lifecycle.wake_at(life) is None


def dead(action: str, backend: Backend = "user-space", **changes: Any) -> tuple[Tunnel, list[Any]]:
    """A life whose peer was declared dead at 30 s."""
    life = reconcile.tunnel_for(connection(dpd=Dpd(action, 10, 30), **changes), backend)  # type: ignore[arg-type]
    life, _ = play(life, Loaded(), SasListed((up(life),)), ProbeSent(name(life), 1))
    return play(life, Tick(), SasListed((up(life),)), now=30.0)


def test_restart_goes_on_for_an_hour_and_comes_back() -> None:
    """A virtual hour: every timer that is due fires, every attempt comes to nothing, until the peer is there again."""
    life, _ = dead("restart")
    began: list[float] = []
    now = 30.0
    while now < 3630.0:
        due = lifecycle.wake_at(life)
        assert due is not None, "it never stops trying"
        now = max(now, due)
        half = sa(name(life), state="CONNECTING", unique_id=len(began) + 10)
        life, actions = play(life, Tick(), now=now)
        began += [now for action in actions if isinstance(action, Initiate)]
        if ListSas() in actions:
            life, _ = play(life, SasListed((half,)), now=now)
    assert began[0] == 30.0, "at once"
    waits = [later - earlier - lifecycle.ATTEMPT for earlier, later in itertools.pairwise(began)]
    assert max(waits) <= 1.25 * lifecycle.BACKOFF[-1]
    assert len(began) > 60
    due = lifecycle.wake_at(life)
    assert due is not None
    life, _ = play(life, Tick(), SasListed((up(life, unique_id=999),)), now=due)
    assert state(life) == ("up", "")
    assert due - 3630.0 <= lifecycle.ATTEMPT + 1.25 * lifecycle.BACKOFF[-1]


def test_hold_waits_for_traffic_and_an_attempt_that_it_begins_is_like_any_other() -> None:
    life, actions = dead("hold", "kernel")
    assert not [one for one in actions if isinstance(one, Initiate)]
    assert tunnel.traps(life) == {Initiate(name(life), cname(life))}
    assert "waits for traffic" in state(life)[1]
    life, _ = play(life, SasListed(()), now=31.0)
    assert lifecycle.wake_at(life) is None
    life, actions = play(life, Initiating(name(life)), now=100.0)
    assert actions == [ListSas()]
    half = sa(name(life), state="CONNECTING", unique_id=2)
    life, actions = play(life, SasListed((half,)), Tick(), SasListed((half,)), now=100.0)
    assert (actions, lifecycle.wake_at(life)) == ([], 100.0 + lifecycle.ATTEMPT)
    life, actions = play(life, Tick(), SasListed((half,)), now=100.0 + lifecycle.ATTEMPT)
    assert actions == [ListSas(), DeleteIkeSa(2)]
    assert tunnel.traps(life), "the next packet begins the next one"
    assert lifecycle.wake_at(life) is None
    life, _ = play(life, Initiating(name(life)), SasListed((up(life, unique_id=3),)), now=200.0)
    assert (state(life), tunnel.traps(life)) == (("up", ""), frozenset())


def test_hold_without_traps_is_restart_and_response_only_has_none() -> None:
    life, _ = dead("hold", "user-space")
    assert (tunnel.traps(life), lifecycle.wake_at(life)) == (frozenset(), 30.0)
    life, _ = dead("hold", "kernel", initiator="response-only")
    assert (tunnel.traps(life), lifecycle.wake_at(life)) == (frozenset(), None)


@pytest.mark.parametrize("action", ["clear", "hold"])
def test_the_user_acts_by_an_edit_and_a_repetition_is_none(action: str) -> None:
    life, _ = dead(action, "kernel")
    life, _ = play(life, SasListed(()), now=31.0)
    told_again = tunnel.refreshed(life, connection(dpd=life.connection.dpd))
    assert lifecycle.wake_at(told_again) is None, "the same revision, read once more"
    edited = tunnel.refreshed(life, connection(dpd=life.connection.dpd, revision=2))
    life, _ = play(edited, SasListed(()), now=60.0)
    assert tunnel.traps(life) == frozenset()
    life, actions = play(life, Tick(), now=60.0)
    assert actions == [Initiate(name(life), cname(life))]


def test_what_rests_does_so_after_its_charon_was_started_anew() -> None:
    life, actions = play(tunnel.after_charon_restart(dead("clear")[0]), Loaded(), now=40.0)
    assert (actions, lifecycle.wake_at(life)) == ([], None)
    assert "dpd action clear" in state(life)[1]


def test_a_permission_that_is_taken_ends_the_attempt_and_one_that_is_given_begins_it() -> None:
    life, _ = play(born(), Loaded())
    half = sa(name(life), state="CONNECTING", unique_id=2)
    life = tunnel.refreshed(life, connection(initiator="response-only", revision=2))
    life, actions = play(life, SasListed((half,)), now=1.0)
    assert actions == [DeleteIkeSa(2)]
    assert lifecycle.wake_at(life) is None
    life = tunnel.refreshed(life, connection(revision=3))
    life, actions = play(life, SasListed(()), Tick(), now=2.0)
    assert actions == [Initiate(name(life), cname(life))]


def test_a_shared_ike_sa_that_answers_in_time_brings_back_who_had_given_it_up() -> None:
    life, actions = dead("restart")
    assert GiveUpSa(1) in actions
    life, _ = play(life, SasListed((up(life),)), now=31.0)
    assert state(life)[0] == "down", "it is there, since others wait for it"
    life, actions = play(life, PeerSeen(name(life), 1), now=32.0)
    assert actions == [ListSas()]
    life, _ = play(life, SasListed((up(life),)), now=32.0)
    assert state(life) == ("up", "")


def test_an_ike_sa_that_was_given_up_makes_place_when_it_goes() -> None:
    life, _ = dead("restart")
    for now in (30.0, 45.0, 62.0):
        life, _ = play(life, Tick(), SasListed((up(life),)), now=now)
    life, _ = play(life, Tick(), SasListed((up(life),)), now=80.0)
    assert life.retry_at is not None
    assert life.retry_at > 80.0, "charon would queue it in the IKE SA that is dead"
    life, _ = play(life, SasListed(()), now=80.1)
    assert life.retry_at == 80.1


def test_another_one_that_carries_it_is_enough() -> None:
    life, _ = play(born(), Loaded())
    both = (up(life, unique_id=1), up(life, unique_id=2))
    life, _ = play(life, SasListed(both), ProbeSent(name(life), 1))
    life, actions = play(life, Tick(), SasListed(both), now=30.0)
    assert GiveUpSa(1) in actions
    assert not [one for one in actions if isinstance(one, Initiate)]
    assert state(life) == ("up", "")


def test_restart_by_peer_takes_along_what_rests_and_what_is_up() -> None:
    _, actions = dead("restart-by-peer")
    assert actions[-1] == DeclarePeerDead()
    other, _ = play(born(dpd=Dpd("disabled", 10, 30)), Loaded())
    other, _ = play(other, SasListed((up(other, unique_id=4),)))
    other, actions = play(other, PeerDeclaredDead(), now=30.0)
    assert actions == [GiveUpSa(4)]
    assert "restart-by-peer" in state(other)[1]
    assert play(other, Tick(), now=30.0)[1] == [Initiate(name(other), cname(other))]
    resting, _ = dead("clear")
    resting, _ = play(resting, PeerDeclaredDead(), now=40.0)
    assert lifecycle.wake_at(resting) == 40.0
    waiting, _ = play(born(initiator="response-only"), Loaded())
    waiting, _ = play(waiting, SasListed((up(waiting, unique_id=5),)), PeerDeclaredDead(), now=30.0)
    assert lifecycle.wake_at(waiting) is None


@pytest.mark.parametrize("action", ["clear", "restart"])
def test_when_charon_gives_an_ikev1_peer_up_the_action_decides_too(action: str) -> None:
    life, _ = play(born(dpd=Dpd(action, 10, 30)), Loaded())  # type: ignore[arg-type]
    life, _ = play(life, SasListed((up(life),)), PeerTimedOut(name(life), 9), now=5.0)
    assert state(life)[0] == "up", "of another IKE SA"
    life, _ = play(life, PeerTimedOut(name(life), 1), SasListed(()), now=5.0)
    assert "no sign of life" in state(life)[1]
    assert lifecycle.wake_at(life) == (None if action == "clear" else 5.0)


def test_lost_facts_are_no_reason_to_end_anything() -> None:
    life, _ = play(born(), Loaded())
    life, _ = play(life, SasListed((up(life),)), ProbeSent(name(life), 1), EventsLost())
    assert lifecycle.wake_at(life) is None


def test_waiting_to_try_again_leaves_the_attempt_of_a_sibling_alone() -> None:
    life, _ = play(born(), Loaded(), SasListed(()))
    assert life.retry_at is not None
    _, actions = play(life, SasListed((sa(name(life), state="CONNECTING", unique_id=8),)), now=0.1)
    assert actions == []


def test_no_deadline_without_dpd() -> None:
    life, _ = play(born(dpd=Dpd("disabled", 10, 30)), Loaded(), SasListed((up(born(dpd=Dpd("disabled", 10, 30))),)))
    life, _ = play(life, Retransmitted(life.connection.id), now=12.0)
    assert lifecycle.wake_at(life) is None


def test_several_children_are_up_with_a_reason_while_some_are_missing() -> None:
    life = born(ike=ikev1(), peer_cidrs=("10.2.0.0/24", "10.3.0.0/24"))
    life, actions = play(life, Loaded())
    assert len(actions) == 2
    first = sa(name(life), child(cname(life)))
    life, _ = play(life, SasListed((first,)), now=1.0)
    assert state(life) == ("up", "1 of 2 child SAs are not up")


def test_what_charon_refuses_is_an_error_and_not_tried_again() -> None:
    life, actions = play(born(), LoadFailed("no such proposal"), Tick(), SasListed(()))
    assert (actions, state(life)) == ([], ("error", "no such proposal"))
    assert lifecycle.wake_at(life) is None
    assert tunnel.after_charon_restart(life) == life


def test_disabled_and_unsupported_are_applied_without_loading_anything() -> None:
    assert state(born(enabled=False)) == ("disabled", "admin_state_up is false")
    ah = msgspec.structs.replace(connection().ipsec, transform_protocol="ah")
    assert state(born(ipsec=ah))[0] == "error"
    assert reconcile.tunnel_for(connection(ipsec=ah), "kernel").config is not None


# -- what holds in every story -----------------------------------------------------------------------------------

CONNECTIONS = st.builds(
    connection,
    initiator=st.sampled_from(["bi-directional", "response-only"]),
    dpd=st.builds(
        Dpd, st.sampled_from(["hold", "clear", "restart", "disabled", "restart-by-peer"]), st.just(5), st.just(9)
    ),
    peer_cidrs=st.sampled_from([("10.2.0.0/24",), ("10.2.0.0/24", "10.3.0.0/24")]),
    ike=st.sampled_from([connection().ike, ikev1()]),
)


@st.composite
def stories(draw: st.DrawFn) -> tuple[Connection, Backend, list[tuple[Any, float]]]:
    item = draw(CONNECTIONS)
    config = ipsec_config.build(item)
    names = [part.name for part in config.children]
    some_sas = st.lists(
        st.builds(
            lambda parts, state, initiator, number: sa(
                config.name, *(child(part) for part in parts), state=state, initiator=initiator, unique_id=number
            ),
            st.lists(st.sampled_from(names), unique=True),
            st.sampled_from(["CONNECTING", "ESTABLISHED", "DELETING"]),
            st.booleans(),
            st.integers(1, 9),
        ),
        max_size=3,
    )
    events = st.one_of(
        st.builds(lambda found: SasListed(tuple(found)), some_sas),
        st.just(Tick()),
        st.builds(Cause, st.just(item.id), st.sampled_from(["auth-failed", "esp-proposal"]), st.just("why")),
        st.just(PeerSeen(item.id)),
        st.just(Retransmitted(item.id)),
        st.builds(ProbeSent, st.just(item.id), st.integers(1, 9)),
        st.builds(PeerSeen, st.just(item.id), st.integers(1, 9)),
        st.builds(PeerTimedOut, st.just(item.id), st.integers(1, 9)),
        st.sampled_from([Initiating(item.id), PeerDeclaredDead(), EventsLost()]),
        st.just(SaChanged(item.id)),
    )
    backend: Backend = draw(st.sampled_from(["kernel", "user-space"]))
    return item, backend, draw(st.lists(st.tuples(events, st.floats(0.0, 40.0)), max_size=40))


@given(stories())
def test_in_every_story(story: tuple[Connection, Backend, list[tuple[Any, float]]]) -> None:
    item, backend, events = story
    life, actions = play(reconcile.tunnel_for(item, backend), Loaded())
    now = 0.0
    for event, later in events:
        due = lifecycle.wake_at(life)
        now = min(now + later, due) if due is not None and event == Tick() else now + later
        life, actions = play(life, event, now=now)
        initiated = [action for action in actions if isinstance(action, Initiate)]
        assert life.config
        children = {part.name for part in life.config.children}
        assert not initiated or item.initiator == "bi-directional", "response-only never initiates"
        assert not {action.child for action in initiated} & life.up, "what is up is not initiated"
        if event == Tick() and due is not None and due <= now:
            later_due = lifecycle.wake_at(life)
            assert actions or later_due is None or later_due > now, "a timer that fires does something"
        if (
            isinstance(event, SasListed)
            and life.up != children
            and item.initiator == "bi-directional"
            and not life.watch.rest
        ):
            assert lifecycle.wake_at(life) is not None, "nothing that we may bring up is ever forgotten"
        assert tunnel.report(life, 1) is not None
        traps = tunnel.traps(life)
        assert not traps or (backend == "kernel" and item.initiator == "bi-directional" and item.dpd.action == "hold")
        assert not traps or not life.up, "what is up needs no traps"
        if item.dpd.action == "disabled" and not isinstance(event, PeerDeclaredDead):
            assert not [action for action in actions if isinstance(action, GiveUpSa)], "without DPD nobody is dead"


# -- an edit of what is up ---------------------------------------------------------------------------------------


def edited(**changes: Any) -> tuple[Tunnel, Tunnel]:
    """A life that is up, and the same after an edit, loaded."""
    old, _ = play(born(), Loaded())
    old, _ = play(old, SasListed((up(old),)))
    stronger = msgspec.structs.replace(connection().ipsec, encryption_algorithm="aes-256")
    new = tunnel.replaced(old, born(**({"revision": 2, "ipsec": stronger} | changes)))
    assert tunnel.report(new, 1) is None, "nothing new is said before charon has it"
    new, actions = play(new, Loaded(), now=10.0)
    assert [action for action in actions if isinstance(action, Initiate)]
    return old, new


def told(life: Tunnel) -> tuple[int, str, str]:
    report = tunnel.report(life, 1)
    assert report
    return report.revision, report.state, report.reason


def test_the_version_before_goes_on_until_the_new_one_is_up() -> None:
    old, new = edited()
    assert told(new) == (1, "up", "revision 2 waits for the peer; revision 1 in use")
    both = sa(name(new), child(cname(old), number=1), child(cname(new), number=2))
    new, actions = play(new, SasListed((both,)), now=10.1)
    assert actions == [DeleteChildSa(1), Reconcile()]
    assert told(new) == (2, "up", "")


def test_by_ikev1_the_version_before_stays_until_the_peer_has_the_third_message() -> None:
    old, new = edited(ike=ikev1())
    both = sa(name(old), child(cname(old))), sa(name(new), child(cname(new), number=2), unique_id=2)
    for now in (10.1, 10.5):
        new, actions = play(new, SasListed(both), now=now)
        assert (actions, told(new)[:2]) == ([], (1, "up"))
    assert lifecycle.wake_at(new) == 10.1 + lifecycle.OVERLAP
    new, actions = play(new, Tick(), now=10.1 + lifecycle.OVERLAP)
    assert actions == [ListSas()]
    new, actions = play(new, SasListed(both), now=10.1 + lifecycle.OVERLAP)
    assert actions == [DeleteIkeSa(1), Reconcile()]
    assert (told(new), new.previous, new.overlap_until) == ((2, "up", ""), None, None)


def test_a_peer_that_refuses_the_new_version_keeps_the_one_before() -> None:
    old, new = edited()
    new, _ = play(new, Cause(name(new), "esp-proposal", "none of our proposals"), now=10.1)
    new, actions = play(new, SasListed((up(old),)), now=10.2)
    assert actions == []
    assert told(new) == (1, "up", "revision 2 refused by the peer: none of our proposals; revision 1 in use")
    assert new.retry_at is not None


def test_a_peer_comes_back_with_the_version_before_or_with_the_new_one() -> None:
    old, new = edited()
    new, actions = play(new, SasListed(()), now=10.1)
    assert Reconcile() in actions, "its IKE connection may have to go"
    assert told(new)[:2] == (1, "down")
    answer = fallback.fallback_name(cname(new))
    assert old.config
    assert new.config
    assert [one.name for one in fallback.with_fallback(new.config, old.config).children] == [answer, cname(new)]
    new, _ = play(new, SasListed((sa(name(new), child(answer)),)), now=10.2)
    assert told(new) == (1, "up", "revision 2 waits for the peer; revision 1 in use")
    stronger = msgspec.structs.replace(child(answer), bits=256)
    new, actions = play(new, SasListed((sa(name(new), stronger),)), now=10.3)
    assert (told(new), actions) == ((2, "up", ""), [Reconcile()]), "the SA that answered stays"


def test_a_child_without_a_key_exchange_of_its_own_is_renewed() -> None:
    life, _ = play(born(), Loaded())
    bare = sa(name(life), child(cname(life), group=""))
    life, actions = play(life, SasListed((bare,)), now=1.0)
    assert (actions, lifecycle.wake_at(life)) == ([], 1.0 + pfs_check.EARLY)
    life, actions = play(life, Tick(), SasListed((bare,)), now=1.0 + pfs_check.EARLY)
    assert actions == [ListSas(), Rekey(1)]
    busy = sa(name(life), child(cname(life), state="REKEYING", group=""))
    life, actions = play(life, SasListed((busy,)), SasListed((bare,)), now=1.4)
    assert actions == [], "charon is at it"
    life, _ = play(life, Cause(name(life), "rekey-failed", "refused"), now=1.5)
    assert state(life) == ("up", pfs_check.reason("group14"))
    life, actions = play(life, SasListed((bare,)), now=99.0)
    assert (actions, lifecycle.wake_at(life)) == ([], None), "a peer that refused is not asked again"
    life, actions = play(life, SasListed((up(life),)), now=99.2)
    assert (actions, state(life)) == ([], ("up", ""))


def test_a_renewal_that_came_to_nothing_is_asked_for_again_a_few_times() -> None:
    life, _ = play(born(), Loaded())
    bare = sa(name(life), child(cname(life), group=""))
    life, actions = play(life, SasListed((bare,)), now=1.0)
    times = []
    while (due := lifecycle.wake_at(life)) is not None:
        life, actions = play(life, Tick(), SasListed((bare,)), now=due)
        times += [due] if Rekey(1) in actions else []
    first = 1.0 + pfs_check.EARLY
    assert times == [first, first + pfs_check.AGAIN, first + 2 * pfs_check.AGAIN]
    assert len(times) == pfs_check.TRIES


def test_a_responder_lets_the_initiator_renew_first() -> None:
    life, _ = play(born(), Loaded())
    bare = sa(name(life), child(cname(life), group=""), initiator=False)
    life, _ = play(life, SasListed((bare,)), now=1.0)
    assert lifecycle.wake_at(life) == 1.0 + pfs_check.LATE
    life, actions = play(life, SasListed((up(life, initiator=False),)), now=1.5)
    assert (actions, lifecycle.wake_at(life)) == ([], None)


def test_of_two_ike_sas_that_met_each_end_renews_the_child_of_its_own() -> None:
    """The one that the peer initiated is the peer's to renew: both at once would be a collision (RFC 7296 2.8.1)."""
    life, _ = play(born(), Loaded())
    ours = sa(name(life), child(cname(life), number=1, group=""), unique_id=1)
    theirs = sa(name(life), child(cname(life), number=2, group=""), unique_id=2, initiator=False)
    life, _ = play(life, SasListed((ours, theirs)), now=1.0)
    life, actions = play(life, Tick(), SasListed((ours, theirs)), now=1.0 + pfs_check.EARLY)
    assert [action for action in actions if isinstance(action, Rekey)] == [Rekey(1)]
    life, actions = play(life, SasListed((theirs,)), now=2.0)
    assert (actions, lifecycle.wake_at(life)) == ([], 1.0 + pfs_check.LATE)


def test_another_connections_renewal_says_nothing_of_a_verified_child() -> None:
    life, _ = play(born(), Loaded())
    life, _ = play(life, SasListed((up(life),)), Cause(name(life), "rekey-failed", "refused"))
    assert state(life) == ("up", "")


def test_without_the_version_before_it_is_down() -> None:
    _, new = edited()
    new, _ = play(new, Cause(name(new), "esp-proposal", "none of our proposals"), now=10.1)
    new, _ = play(new, SasListed(()), now=10.2)
    assert told(new) == (1, "down", "none of our proposals"), "a peer may still come back with revision 1"


def test_an_edit_taken_back_is_what_it_was() -> None:
    old, new = edited()
    back = tunnel.replaced(new, born(revision=3))
    assert told(back) == (3, "up", "")
    assert (back.up, back.previous) == (old.up, None)


def test_a_dead_peer_is_dead_for_both_versions() -> None:
    old, new = edited()
    new, _ = play(new, Retransmitted(name(new)), now=15.0)
    new, actions = play(new, Tick(), SasListed((up(old),)), now=40.0)
    assert GiveUpSa(1) in actions
    assert told(new)[1] == "down"
