"""The lifecycle of a tunnel: single histories, and invariants of every history."""

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
from linkspan.core.tunnel import attempts, fallback, lifecycle, listing, pfs_check, reconcile, reports, sa_expiry
from linkspan.core.tunnel import tunnel as tunnels
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
    RekeyFailed,
    Retransmitted,
    SaChanged,
)
from linkspan.core.tunnel.events import Adopted, EventsLost, Loaded, LoadFailed, PeerDeclaredDead, SasListed, Tick
from linkspan.core.tunnel.sas import IkeSa
from linkspan.core.tunnel.tunnel import Tunnel
from tests.core.samples import child, connection, ikev1, sa


def fresh(**changes: Any) -> Tunnel:
    return reconcile.tunnel_for(connection(**changes), "user-space")


def name(tunnel: Tunnel) -> str:
    assert tunnel.config
    return tunnel.config.name


def cname(tunnel: Tunnel) -> str:
    assert tunnel.config
    return tunnel.config.children[0].name


def play(tunnel: Tunnel, *events: Any, now: float = 0.0) -> tuple[Tunnel, list[Any]]:
    done: list[Any] = []
    for event in events:
        tunnel, actions = lifecycle.step(tunnel, event, now)
        done += actions
    return tunnel, done


def up(tunnel: Tunnel, **more: Any) -> IkeSa:
    assert tunnel.config
    return sa(name(tunnel), *(child(item.name) for item in tunnel.config.children), **more)


def state(tunnel: Tunnel) -> tuple[str, str]:
    report = reports.report(tunnel, generation=1)
    assert report
    return report.state, report.reason


def test_a_loaded_connection_initiates_and_reports_up_once_seen() -> None:
    tunnel = fresh()
    assert reports.report(tunnel, 1) is None, "nothing is said before it is applied"
    tunnel, actions = play(tunnel, Loaded())
    assert actions == [Initiate(name(tunnel), cname(tunnel))]
    assert state(tunnel) == ("down", "initiating to 198.51.100.2")
    tunnel, actions = play(tunnel, SaChanged(tunnel.connection.id))
    assert actions == [ListSas()]
    tunnel, actions = play(tunnel, SasListed((up(tunnel),)))
    assert actions == []
    assert state(tunnel) == ("up", "")
    assert lifecycle.wake_at(tunnel) is None


def test_response_only_waits_and_comes_up_by_the_peer() -> None:
    tunnel, actions = play(fresh(initiator="response-only"), Loaded())
    assert actions == []
    assert state(tunnel) == ("down", "waits for the peer to initiate (initiator is response-only)")
    tunnel, actions = play(tunnel, SasListed((up(tunnel, initiator=False),)))
    assert (actions, state(tunnel)) == ([], ("up", ""))


@pytest.mark.parametrize("initiator", ["response-only", "bi-directional"])
def test_an_ikev1_sa_that_no_end_replaced_ends_at_its_lifetime(initiator: str) -> None:
    tunnel, _ = play(fresh(initiator=initiator, ike=ikev1(lifetime=100)), Loaded())
    tunnel, actions = play(tunnel, SasListed((up(tunnel, initiator=False, age=30),)), now=5.0)
    assert (actions, lifecycle.wake_at(tunnel)) == ([], 75.0)
    assert play(tunnel, Tick(), now=74.9)[1] == []
    tunnel, actions = play(tunnel, Tick(), now=75.0)
    assert actions == [ListSas()]
    assert tunnel.config
    renewed = up(tunnel, initiator=False, unique_id=2, age=5)
    for age, ended, wake in ((99, [], 76.0), (100, [DeleteIkeSa(1)], 170.0)):
        beside, actions = play(tunnel, SasListed((sa(tunnel.config.name, age=age, initiator=False), renewed)), now=75.0)
        assert (actions, state(beside)) == (ended, ("up", "")), "not a second early"
        assert lifecycle.wake_at(beside) == wake
    tunnel, actions = play(tunnel, SasListed((up(tunnel, initiator=False, age=100),)), now=75.0)
    assert (actions, state(tunnel)) == ([DeleteIkeSa(1)], ("down", sa_expiry.EXPIRED))
    assert (lifecycle.wake_at(tunnel) is None) == (initiator == "response-only")


def test_an_ikev2_sa_is_rekeyed_in_place_and_has_no_end_of_ours() -> None:
    tunnel, _ = play(
        fresh(initiator="response-only", ike=msgspec.structs.replace(connection().ike, lifetime=100)), Loaded()
    )
    tunnel, actions = play(tunnel, SasListed((up(tunnel, initiator=False, age=1000),)))
    assert (actions, lifecycle.wake_at(tunnel)) == ([], None)


def test_an_adopted_tunnel_is_left_alone() -> None:
    tunnel, actions = play(fresh(), Adopted())
    assert actions == [ListSas()]
    tunnel, actions = play(tunnel, SasListed((up(tunnel),)))
    assert (actions, state(tunnel)) == ([], ("up", ""))


def test_a_refusal_is_told_at_once_and_tried_again_later() -> None:
    tunnel, _ = play(fresh(), Loaded())
    why = Cause(tunnel.connection.id, "AUTHENTICATION_REFUSED", "the peer refused our authentication")
    tunnel, _ = play(tunnel, why)
    assert state(tunnel) == ("down", "the peer refused our authentication")
    assert lifecycle.wake_at(tunnel) == attempts.SETTLE
    tunnel, actions = play(tunnel, Tick(), now=attempts.SETTLE)
    assert actions == [ListSas()]
    tunnel, _ = play(tunnel, SasListed(()), now=attempts.SETTLE)
    assert tunnel.retry_at is not None
    assert 0.5 < tunnel.retry_at < 2.0
    tunnel, actions = play(tunnel, Tick(), now=tunnel.retry_at)
    assert actions == [Initiate(name(tunnel), cname(tunnel))]


def test_waiting_grows_to_a_limit_and_success_forgets_it() -> None:
    tunnel, _ = play(fresh(), Loaded())
    now, waits = 0.0, []
    for _ in range(8):
        tunnel, _ = play(tunnel, SasListed(()), now=now)
        assert tunnel.retry_at is not None
        waits.append(tunnel.retry_at - now)
        now = tunnel.retry_at
        tunnel, _ = play(tunnel, Tick(), now=now)
    assert waits == sorted(waits)
    assert waits[-1] < 1.25 * attempts.BACKOFF[-1]
    tunnel, _ = play(tunnel, SasListed((up(tunnel),)), now=now)
    assert tunnel.failures == 0


def test_an_ike_sa_that_will_never_have_a_child_is_ended() -> None:
    tunnel, _ = play(fresh(), Loaded())
    bare = sa(name(tunnel))
    tunnel, actions = play(tunnel, SasListed((bare,)), now=0.1)
    assert actions == [], "the child may still come"
    tunnel, _ = play(tunnel, Cause(tunnel.connection.id, "ESP_PROPOSAL_MISMATCH", "none of our proposals"), now=0.2)
    tunnel, actions = play(tunnel, SasListed((bare,)), now=0.3)
    assert actions == [DeleteIkeSa(bare.unique_id)]
    assert tunnel.retry_at is not None


def test_a_silent_attempt_is_given_up() -> None:
    tunnel, _ = play(fresh(), Loaded())
    connecting = sa(name(tunnel), state="CONNECTING")
    tunnel, actions = play(tunnel, SasListed((connecting,)), now=1.0)
    assert actions == []
    tunnel, actions = play(tunnel, Tick(), SasListed((connecting,)), now=attempts.ATTEMPT)
    assert DeleteIkeSa(connecting.unique_id) in actions
    assert tunnel.retry_at is not None


def test_our_attempt_has_its_time_once_the_peers_is_up() -> None:
    """The peer may have it up already, and end its own for it."""
    tunnel, _ = play(fresh(), Loaded())
    both = sa(name(tunnel), unique_id=7, state="CONNECTING"), up(tunnel, unique_id=8, initiator=False)
    tunnel, actions = play(tunnel, SasListed(both), now=1.0)
    assert (actions, state(tunnel), lifecycle.wake_at(tunnel)) == ([], ("up", ""), attempts.ATTEMPT)
    done, _ = play(tunnel, SasListed(both[1:]), now=2.0)
    assert lifecycle.wake_at(done) is None
    tunnel, actions = play(tunnel, Tick(), SasListed(both), now=attempts.ATTEMPT)
    assert (actions, lifecycle.wake_at(tunnel)) == ([ListSas(), DeleteIkeSa(7)], None)


@pytest.mark.parametrize(("local", "acts_at_once"), [("198.51.100.1", True), ("198.51.100.9", False)])
def test_of_two_initiated_simultaneously_the_one_of_the_higher_address_goes(local: str, acts_at_once: bool) -> None:
    tunnel, _ = play(fresh(), Loaded())
    both = [
        msgspec.structs.replace(up(tunnel, unique_id=number, initiator=initiator), local_address=local)
        for number, initiator in ((1, True), (2, False))
    ]
    tunnel, actions = play(tunnel, SasListed(tuple(both)))
    assert actions == ([DeleteIkeSa(2)] if acts_at_once else [])
    if not acts_at_once:
        assert lifecycle.wake_at(tunnel) == listing.DUPLICATE
        _, actions = play(tunnel, Tick(), SasListed(tuple(both)), now=listing.DUPLICATE)
        assert DeleteIkeSa(2) in actions, "the peer did not: somebody has to"


def test_one_that_the_peer_has_just_initiated_stays_until_the_peer_has_it() -> None:
    """Until it has the response to IKE_AUTH, charon ignores a delete, and goes on to send by what is gone here."""
    tunnel, _ = play(fresh(), Loaded())
    own, theirs = up(tunnel, unique_id=1), msgspec.structs.replace(up(tunnel, unique_id=2, initiator=False), age=0)
    tunnel, actions = play(tunnel, SasListed((own, theirs)))
    assert (actions, lifecycle.wake_at(tunnel)) == ([], listing.FRESH)
    _, actions = play(tunnel, Tick(), SasListed((own, theirs)), now=listing.FRESH)
    assert actions == [ListSas(), DeleteIkeSa(2)]
    # Its control: the peer has what is older.
    older = msgspec.structs.replace(theirs, age=int(listing.FRESH))
    assert play(play(fresh(), Loaded())[0], SasListed((own, older)))[1] == [DeleteIkeSa(2)]


def test_a_child_that_the_peer_has_just_created_stays_until_the_peer_has_it() -> None:
    """Also inside an IKE SA that both have long had: until it has the response, the peer knows no such child."""
    tunnel, _ = play(fresh(), Loaded())

    def listed(age: int) -> SasListed:
        theirs = sa(name(tunnel), msgspec.structs.replace(child(cname(tunnel), number=9), age=age), unique_id=2)
        return SasListed((up(tunnel, unique_id=1), msgspec.structs.replace(theirs, initiator=False)))

    tunnel, actions = play(tunnel, listed(0))
    assert (actions, lifecycle.wake_at(tunnel)) == ([], listing.FRESH)
    assert play(tunnel, Tick(), listed(1), now=listing.FRESH)[1] == [ListSas(), DeleteIkeSa(2)]
    # Its control: the peer has what is older.
    assert play(play(fresh(), Loaded())[0], listed(int(listing.FRESH)))[1] == [DeleteIkeSa(2)]


def test_nothing_counts_as_redundant_until_a_takeover_has_settled() -> None:
    """The peer may be about to end what belongs to its older connection, and a child SA does not tell which that is."""
    tunnel, _ = play(fresh(), Loaded())
    both = tuple(up(tunnel, unique_id=number, initiator=number == 1) for number in (1, 2))
    assert play(tunnel, SasListed(both))[1] == [DeleteIkeSa(2)], "without a takeover"
    tunnel, actions = play(msgspec.structs.replace(tunnel, settles_at=10.0), SasListed(both))
    assert (actions, lifecycle.wake_at(tunnel)) == ([], 10.0)
    sending = sa(name(tunnel), child(cname(tunnel), number=9), unique_id=2, initiator=False)
    tunnel, actions = play(tunnel, Tick(), SasListed((both[0], sending)), now=10.0)
    assert (actions, tunnel.settles_at) == ([ListSas(), DeleteIkeSa(1)], None), "it sends by the newest child"


def test_a_successor_that_carries_a_part_counts_as_coming_up_for_a_while() -> None:
    """A client that reads that it is up deletes the connection that still carries the rest."""
    networks = {"peer_cidrs": ("10.2.0.0/24", "10.3.0.0/24"), "ike": ikev1()}
    tunnel, _ = play(msgspec.structs.replace(fresh(**networks), taking_over=True), Loaded())
    part = sa(name(tunnel), child(cname(tunnel)))
    tunnel, _ = play(tunnel, SasListed((part,)), now=1.0)
    assert (reports.report(tunnel, 1), tunnel.partial_until) == (None, 1.0 + attempts.ATTEMPT)
    whole, _ = play(tunnel, SasListed((up(tunnel),)), now=2.0)
    assert reports.report(whole, 1) is None, "the older one goes on for a moment"
    assert state(msgspec.structs.replace(whole, taking_over=False)) == ("up", "")
    tunnel, _ = play(tunnel, Tick(), SasListed((part,)), now=1.0 + attempts.ATTEMPT)
    assert state(tunnel)[0] == "up"
    assert "1 of 2 pairs of networks are up" in state(tunnel)[1]


@pytest.mark.parametrize("initiator", [True, False])
def test_of_two_that_the_same_end_initiated_the_older_goes(initiator: bool) -> None:
    tunnel, _ = play(fresh(), Loaded())
    both = (up(tunnel, unique_id=3, initiator=initiator), up(tunnel, unique_id=4, initiator=initiator))
    tunnel, actions = play(tunnel, SasListed(both))
    assert actions == [DeleteIkeSa(3)], "whoever initiated again has lost the older one"


def test_what_carries_others_is_not_ended_with_ours() -> None:
    tunnel, _ = play(fresh(), Loaded())
    other = msgspec.structs.replace(child("other.0"), unique_id=77)
    mine = msgspec.structs.replace(child(cname(tunnel)), unique_id=78)
    shared = sa(name(tunnel), other, mine, unique_id=3)
    newer = sa(name(tunnel), child(cname(tunnel)), unique_id=4)
    _, actions = play(tunnel, SasListed((shared, newer)))
    assert actions == [DeleteChildSa(78)]


@pytest.mark.parametrize(("local", "acts"), [("198.51.100.1", True), ("198.51.100.9", False)])
def test_children_that_both_ends_made_in_one_ike_sa_are_thinned_by_one_end(local: str, acts: bool) -> None:
    tunnel, _ = play(fresh(), Loaded())
    twins = [
        msgspec.structs.replace(child(cname(tunnel)), unique_id=number, spi_in=spi_in, spi_out=spi_out)
        for number, spi_in, spi_out in ((5, "c2", "c9"), (6, "c8", "c1"))
    ]
    seen = SasListed((msgspec.structs.replace(sa(name(tunnel), *twins), local_address=local),))
    tunnel, actions = play(tunnel, seen)
    assert actions == [], "a rekeying shows two for a moment"
    _, actions = play(tunnel, seen, now=listing.DUPLICATE)
    assert actions == ([DeleteChildSa(5)] if acts else [])


def test_a_sibling_in_the_shared_ike_sa_is_no_reason_to_wait_after_a_refusal() -> None:
    tunnel, _ = play(fresh(), Loaded())
    shared = sa(name(tunnel), child("other.0"))
    tunnel, actions = play(tunnel, SasListed((shared,)), now=0.1)
    assert (actions, tunnel.retry_at) == ([], None)
    tunnel, _ = play(
        tunnel, Cause(name(tunnel), "SELECTORS_UNACCEPTABLE", "the traffic selectors do not match"), now=0.2
    )
    tunnel, actions = play(tunnel, SasListed((shared,)), now=0.3)
    assert actions == [], "the IKE SA carries another connection"
    assert tunnel.retry_at is not None


def test_the_peer_ends_it_and_we_come_back() -> None:
    tunnel, _ = play(fresh(), Loaded(), SasListed((up(fresh()),)))
    tunnel, _ = play(tunnel, SasListed(()), now=100.0)
    assert state(tunnel) == ("down", "the peer ended the tunnel")
    assert tunnel.retry_at is not None
    _, actions = play(tunnel, Tick(), now=tunnel.retry_at)
    assert actions == [Initiate(name(tunnel), cname(tunnel))]


@pytest.mark.parametrize("action", ["hold", "restart", "restart-by-peer", "clear"])
def test_a_dead_peer_is_noticed_at_the_timeout_of_the_connection(action: str) -> None:
    tunnel, _ = play(fresh(dpd=Dpd(action, 10, 30)), Loaded())  # type: ignore[arg-type]
    tunnel, _ = play(tunnel, SasListed((up(tunnel),)), now=5.0)
    tunnel, _ = play(tunnel, Retransmitted(tunnel.connection.id), now=17.0)
    assert lifecycle.wake_at(tunnel) == 35.0
    tunnel, actions = play(tunnel, Tick(), SasListed((up(tunnel),)), now=35.0)
    assert GiveUpSa(1) in actions
    assert state(tunnel)[0] == "down"
    assert "did not answer for 30 s" in state(tunnel)[1]
    tunnel, _ = play(tunnel, SasListed(()), now=35.1)
    if action == "clear":
        assert "dpd action clear" in state(tunnel)[1]
        assert lifecycle.wake_at(tunnel) is None, "stays down until the peer or the user acts"
        tunnel, _ = play(tunnel, SasListed((up(tunnel, initiator=False),)), now=400.0)
        assert state(tunnel) == ("up", "")
    else:
        assert lifecycle.wake_at(tunnel) is not None


def test_inbound_traffic_or_an_answer_keeps_a_peer_alive() -> None:
    tunnel, _ = play(fresh(), Loaded(), SasListed((up(fresh()),)))
    tunnel, _ = play(tunnel, Retransmitted(tunnel.connection.id), now=12.0)
    busy = sa(name(tunnel), child(cname(tunnel), idle=2))
    tunnel, actions = play(tunnel, Tick(), SasListed((busy,)), now=30.0)
    assert not [action for action in actions if isinstance(action, GiveUpSa)]
    assert lifecycle.wake_at(tunnel) == 58.0
    tunnel, _ = play(tunnel, PeerSeen(tunnel.connection.id), now=31.0)
    assert lifecycle.wake_at(tunnel) is None


def dead(action: str, backend: Backend = "user-space", **changes: Any) -> tuple[Tunnel, list[Any]]:
    """A tunnel whose peer was declared dead at 30 s."""
    tunnel = reconcile.tunnel_for(connection(dpd=Dpd(action, 10, 30), **changes), backend)  # type: ignore[arg-type]
    tunnel, _ = play(tunnel, Loaded(), SasListed((up(tunnel),)), ProbeSent(name(tunnel), 1))
    return play(tunnel, Tick(), SasListed((up(tunnel),)), now=30.0)


def test_restart_goes_on_for_an_hour_and_comes_back() -> None:
    """A virtual hour: every timer that is due fires, every attempt comes to nothing, until the peer is there again."""
    tunnel, _ = dead("restart")
    initiated_at: list[float] = []
    now = 30.0
    while now < 3630.0:
        due = lifecycle.wake_at(tunnel)
        assert due is not None, "it never stops trying"
        now = max(now, due)
        half = sa(name(tunnel), state="CONNECTING", unique_id=len(initiated_at) + 10)
        tunnel, actions = play(tunnel, Tick(), now=now)
        initiated_at += [now for action in actions if isinstance(action, Initiate)]
        if ListSas() in actions:
            tunnel, _ = play(tunnel, SasListed((half,)), now=now)
    assert initiated_at[0] == 30.0, "at once"
    waits = [later - earlier - attempts.ATTEMPT for earlier, later in itertools.pairwise(initiated_at)]
    assert max(waits) <= 1.25 * attempts.BACKOFF[-1]
    assert len(initiated_at) > 60
    due = lifecycle.wake_at(tunnel)
    assert due is not None
    tunnel, _ = play(tunnel, Tick(), SasListed((up(tunnel, unique_id=999),)), now=due)
    assert state(tunnel) == ("up", "")
    assert due - 3630.0 <= attempts.ATTEMPT + 1.25 * attempts.BACKOFF[-1]


def test_hold_waits_for_traffic_and_an_attempt_that_it_begins_is_like_any_other() -> None:
    tunnel, actions = dead("hold", "kernel")
    assert not [one for one in actions if isinstance(one, Initiate)]
    assert tunnels.traps(tunnel) == {Initiate(name(tunnel), cname(tunnel))}
    assert "waits for traffic" in state(tunnel)[1]
    tunnel, _ = play(tunnel, SasListed(()), now=31.0)
    assert lifecycle.wake_at(tunnel) is None
    tunnel, actions = play(tunnel, Initiating(name(tunnel)), now=100.0)
    assert actions == [ListSas()]
    half = sa(name(tunnel), state="CONNECTING", unique_id=2)
    tunnel, actions = play(tunnel, SasListed((half,)), Tick(), SasListed((half,)), now=100.0)
    assert (actions, lifecycle.wake_at(tunnel)) == ([], 100.0 + attempts.ATTEMPT)
    tunnel, actions = play(tunnel, Tick(), SasListed((half,)), now=100.0 + attempts.ATTEMPT)
    assert actions == [ListSas(), DeleteIkeSa(2)]
    assert tunnels.traps(tunnel), "the next packet begins the next one"
    assert lifecycle.wake_at(tunnel) is None
    tunnel, _ = play(tunnel, Initiating(name(tunnel)), SasListed((up(tunnel, unique_id=3),)), now=200.0)
    assert (state(tunnel), tunnels.traps(tunnel)) == (("up", ""), frozenset())


def test_hold_without_traps_is_restart_and_response_only_has_none() -> None:
    tunnel, _ = dead("hold", "user-space")
    assert (tunnels.traps(tunnel), lifecycle.wake_at(tunnel)) == (frozenset(), 30.0)
    tunnel, _ = dead("hold", "kernel", initiator="response-only")
    assert (tunnels.traps(tunnel), lifecycle.wake_at(tunnel)) == (frozenset(), None)


@pytest.mark.parametrize("action", ["clear", "hold"])
def test_the_user_acts_by_an_edit_and_a_repetition_is_none(action: str) -> None:
    tunnel, _ = dead(action, "kernel")
    tunnel, _ = play(tunnel, SasListed(()), now=31.0)
    told_again = tunnels.refreshed(tunnel, connection(dpd=tunnel.connection.dpd))
    assert lifecycle.wake_at(told_again) is None, "the same revision, read once more"
    edited = tunnels.refreshed(tunnel, connection(dpd=tunnel.connection.dpd, revision=2))
    tunnel, _ = play(edited, SasListed(()), now=60.0)
    assert tunnels.traps(tunnel) == frozenset()
    tunnel, actions = play(tunnel, Tick(), now=60.0)
    assert actions == [Initiate(name(tunnel), cname(tunnel))]


def test_what_rests_does_so_after_its_charon_was_started_anew() -> None:
    tunnel, actions = play(tunnels.after_charon_restart(dead("clear")[0]), Loaded(), now=40.0)
    assert (actions, lifecycle.wake_at(tunnel)) == ([], None)
    assert "dpd action clear" in state(tunnel)[1]


def test_a_permission_that_is_taken_ends_with_the_attempt() -> None:
    """The peer may be up by the attempt already, and charon tells it nothing of the end of one."""
    tunnel, _ = play(fresh(), Loaded())
    half = msgspec.structs.replace(sa(name(tunnel), state="CONNECTING", unique_id=2), answered=True)
    tunnel = tunnels.refreshed(tunnel, connection(initiator="response-only", revision=2))
    tunnel, actions = play(tunnel, Tick(), now=0.5)
    assert actions == [ListSas()]
    silent = sa(name(tunnel), state="CONNECTING", unique_id=2)
    assert play(tunnel, SasListed((silent,)), now=1.0)[1] == [DeleteIkeSa(2)], "nobody has answered"
    tunnel, actions = play(tunnel, SasListed((half,)), now=1.0)
    assert actions == []
    assert state(play(tunnel, SasListed((up(tunnel),)), now=2.0)[0])[0] == "up"
    tunnel, actions = play(tunnel, SasListed((half,)), now=attempts.ATTEMPT)
    assert actions == [DeleteIkeSa(2)]
    assert lifecycle.wake_at(tunnel) is None


def test_an_end_that_only_waits_lets_the_attempt_of_a_sibling_be() -> None:
    tunnel, _ = play(fresh(initiator="response-only"), Loaded())
    half = sa(name(tunnel), state="CONNECTING", unique_id=2)
    assert play(tunnel, SasListed((half,)), now=1.0)[1] == []


def test_a_permission_that_is_given_begins_an_attempt() -> None:
    tunnel, _ = play(fresh(initiator="response-only"), Loaded())
    tunnel = tunnels.refreshed(tunnel, connection(revision=3))
    tunnel, actions = play(tunnel, SasListed(()), Tick(), now=2.0)
    assert actions == [Initiate(name(tunnel), cname(tunnel))]


def test_a_shared_ike_sa_that_answers_in_time_brings_back_who_had_given_it_up() -> None:
    tunnel, actions = dead("restart")
    assert GiveUpSa(1) in actions
    tunnel, _ = play(tunnel, SasListed((up(tunnel),)), now=31.0)
    assert state(tunnel)[0] == "down", "it is there, since others wait for it"
    tunnel, actions = play(tunnel, PeerSeen(name(tunnel), 1), now=32.0)
    assert actions == [ListSas()]
    tunnel, _ = play(tunnel, SasListed((up(tunnel),)), now=32.0)
    assert state(tunnel) == ("up", "")


def test_an_ike_sa_that_was_given_up_makes_place_when_it_goes() -> None:
    tunnel, _ = dead("restart")
    for now in (30.0, 45.0, 62.0):
        tunnel, _ = play(tunnel, Tick(), SasListed((up(tunnel),)), now=now)
    tunnel, _ = play(tunnel, Tick(), SasListed((up(tunnel),)), now=80.0)
    assert tunnel.retry_at is not None
    assert tunnel.retry_at > 80.0, "charon would queue it in the IKE SA that is dead"
    tunnel, _ = play(tunnel, SasListed(()), now=80.1)
    assert tunnel.retry_at == 80.1


def test_another_one_that_carries_it_is_enough() -> None:
    tunnel, _ = play(fresh(), Loaded())
    both = (up(tunnel, unique_id=1), up(tunnel, unique_id=2))
    tunnel, _ = play(tunnel, SasListed(both), ProbeSent(name(tunnel), 1))
    tunnel, actions = play(tunnel, Tick(), SasListed(both), now=30.0)
    assert GiveUpSa(1) in actions
    assert not [one for one in actions if isinstance(one, Initiate)]
    assert state(tunnel) == ("up", "")


def test_restart_by_peer_takes_along_what_rests_and_what_is_up() -> None:
    _, actions = dead("restart-by-peer")
    assert actions[-1] == DeclarePeerDead()
    other, _ = play(fresh(dpd=Dpd("disabled", 10, 30)), Loaded())
    other, _ = play(other, SasListed((up(other, unique_id=4),)))
    other, actions = play(other, PeerDeclaredDead(), now=30.0)
    assert actions == [GiveUpSa(4)]
    assert "restart-by-peer" in state(other)[1]
    assert play(other, Tick(), now=30.0)[1] == [Initiate(name(other), cname(other))]
    resting, _ = dead("clear")
    resting, _ = play(resting, PeerDeclaredDead(), now=40.0)
    assert lifecycle.wake_at(resting) == 40.0
    waiting, _ = play(fresh(initiator="response-only"), Loaded())
    waiting, _ = play(waiting, SasListed((up(waiting, unique_id=5),)), PeerDeclaredDead(), now=30.0)
    assert lifecycle.wake_at(waiting) is None


@pytest.mark.parametrize("action", ["clear", "restart"])
def test_when_charon_gives_an_ikev1_peer_up_the_action_decides_too(action: str) -> None:
    tunnel, _ = play(fresh(dpd=Dpd(action, 10, 30)), Loaded())  # type: ignore[arg-type]
    tunnel, _ = play(tunnel, SasListed((up(tunnel),)), PeerTimedOut(name(tunnel), 9), now=5.0)
    assert state(tunnel)[0] == "up", "of another IKE SA"
    tunnel, _ = play(tunnel, PeerTimedOut(name(tunnel), 1), SasListed(()), now=5.0)
    assert "did not answer" in state(tunnel)[1]
    assert lifecycle.wake_at(tunnel) == (None if action == "clear" else 5.0)


def test_lost_facts_are_no_reason_to_end_anything() -> None:
    tunnel, _ = play(fresh(), Loaded())
    tunnel, _ = play(tunnel, SasListed((up(tunnel),)), ProbeSent(name(tunnel), 1), EventsLost())
    assert lifecycle.wake_at(tunnel) is None


def test_waiting_to_try_again_leaves_the_attempt_of_a_sibling_alone() -> None:
    tunnel, _ = play(fresh(), Loaded(), SasListed(()))
    assert tunnel.retry_at is not None
    _, actions = play(tunnel, SasListed((sa(name(tunnel), state="CONNECTING", unique_id=8),)), now=0.1)
    assert actions == []


def test_a_tunnel_that_goes_down_leaves_the_attempt_of_a_sibling_alone() -> None:
    tunnel, _ = play(fresh(), Loaded())
    tunnel, _ = play(tunnel, SasListed((up(tunnel),)))
    tunnel, actions = play(tunnel, SasListed((sa(name(tunnel), state="CONNECTING", unique_id=8),)), now=9.0)
    assert (actions, state(tunnel)[0]) == ([], "down")


def test_no_deadline_without_dpd() -> None:
    tunnel, _ = play(fresh(dpd=Dpd("disabled", 10, 30)), Loaded(), SasListed((up(fresh(dpd=Dpd("disabled", 10, 30))),)))
    tunnel, _ = play(tunnel, Retransmitted(tunnel.connection.id), now=12.0)
    assert lifecycle.wake_at(tunnel) is None


def test_several_children_are_up_with_a_reason_while_some_are_missing() -> None:
    tunnel = fresh(ike=ikev1(), peer_cidrs=("10.2.0.0/24", "10.3.0.0/24"))
    tunnel, actions = play(tunnel, Loaded())
    assert len(actions) == 2
    first = sa(name(tunnel), child(cname(tunnel)))
    tunnel, _ = play(tunnel, SasListed((first,)), now=1.0)
    missing = "1 of 2 pairs of networks are up; missing: 10.1.0.0/24 - 10.3.0.0/24"
    assert state(tunnel) == ("up", missing)


def test_a_tunnel_that_charon_does_not_take_has_no_timer() -> None:
    """No event of a timer would be handled: the agent would be woken again and again."""
    tunnel, _ = play(fresh(), Loaded())
    tunnel, _ = play(tunnel, SasListed((up(tunnel),)))
    assert lifecycle.watch_at(tunnel) is not None
    failed, _ = play(tunnel, LoadFailed("no such proposal"))
    assert (lifecycle.wake_at(failed), lifecycle.watch_at(failed)) == (None, None)


def test_what_charon_refuses_is_an_error_and_not_tried_again() -> None:
    tunnel, actions = play(fresh(), LoadFailed("no such proposal"), Tick(), SasListed(()))
    assert (actions, state(tunnel)) == ([], ("error", "no such proposal"))
    assert lifecycle.wake_at(tunnel) is None
    assert tunnels.after_charon_restart(tunnel) == tunnel


def test_disabled_and_unsupported_are_applied_without_loading_anything() -> None:
    assert state(fresh(enabled=False)) == ("disabled", "admin_state_up is false")
    ah = msgspec.structs.replace(connection().ipsec, transform_protocol="ah")
    assert state(fresh(ipsec=ah))[0] == "error"
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
def histories(draw: st.DrawFn) -> tuple[Connection, Backend, list[tuple[Any, float]]]:
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
        st.builds(
            Cause,
            st.just(item.id),
            st.sampled_from(["PSK_MISMATCH", "ESP_PROPOSAL_MISMATCH"]),
            st.just("why"),
        ),
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


@given(histories())
def test_every_history(history: tuple[Connection, Backend, list[tuple[Any, float]]]) -> None:
    item, backend, events = history
    tunnel, actions = play(reconcile.tunnel_for(item, backend), Loaded())
    now = 0.0
    for event, later in events:
        due = lifecycle.wake_at(tunnel)
        now = min(now + later, due) if due is not None and event == Tick() else now + later
        tunnel, actions = play(tunnel, event, now=now)
        initiated = [action for action in actions if isinstance(action, Initiate)]
        assert tunnel.config
        children = {part.name for part in tunnel.config.children}
        assert not initiated or item.initiator == "bi-directional", "response-only never initiates"
        assert not {action.child for action in initiated} & tunnel.up, "what is up is not initiated"
        if event == Tick() and due is not None and due <= now:
            later_due = lifecycle.wake_at(tunnel)
            assert actions or later_due is None or later_due > now, "a timer that fires does something"
        if (
            isinstance(event, SasListed)
            and tunnel.up != children
            and item.initiator == "bi-directional"
            and not tunnel.dpd_state.waits_for
        ):
            assert lifecycle.wake_at(tunnel) is not None, "nothing that we may bring up is ever forgotten"
        assert reports.report(tunnel, 1) is not None
        traps = tunnels.traps(tunnel)
        assert not traps or (backend == "kernel" and item.initiator == "bi-directional" and item.dpd.action == "hold")
        assert not traps or not tunnel.up, "what is up needs no traps"
        if item.dpd.action == "disabled" and not isinstance(event, PeerDeclaredDead):
            assert not [action for action in actions if isinstance(action, GiveUpSa)], "without DPD nobody is dead"


# -- an edit of what is up ---------------------------------------------------------------------------------------


def edited(**changes: Any) -> tuple[Tunnel, Tunnel]:
    """A tunnel that is up, and the same after an edit, loaded."""
    old, _ = play(fresh(), Loaded())
    old, _ = play(old, SasListed((up(old),)))
    stronger = msgspec.structs.replace(connection().ipsec, encryption_algorithm="aes-256")
    new = tunnels.replaced(old, fresh(**({"revision": 2, "ipsec": stronger} | changes)))
    assert reports.report(new, 1) is None, "nothing new is said before charon has it"
    new, actions = play(new, Loaded(), now=10.0)
    assert [action for action in actions if isinstance(action, Initiate)]
    return old, new


def reported(tunnel: Tunnel) -> tuple[int, str, str]:
    report = reports.report(tunnel, 1)
    assert report
    return report.revision, report.state, report.reason


def test_the_previous_version_goes_on_until_the_new_one_is_up() -> None:
    old, new = edited()
    assert reported(new) == (1, "up", "revision 2 waits for the peer; revision 1 in use")
    both = sa(name(new), child(cname(old), number=1), child(cname(new), number=2))
    new, actions = play(new, SasListed((both,)), now=10.1)
    assert actions == [DeleteChildSa(1), Reconcile()]
    assert reported(new) == (2, "up", "")


def test_by_ikev1_the_previous_version_stays_until_the_peer_has_the_third_message() -> None:
    old, new = edited(ike=ikev1())
    both = sa(name(old), child(cname(old))), sa(name(new), child(cname(new), number=2), unique_id=2)
    for now in (10.1, 10.5):
        new, actions = play(new, SasListed(both), now=now)
        assert (actions, reported(new)[:2]) == ([], (1, "up"))
    assert lifecycle.wake_at(new) == 10.1 + listing.OVERLAP
    new, actions = play(new, Tick(), now=10.1 + listing.OVERLAP)
    assert actions == [ListSas()]
    new, actions = play(new, SasListed(both), now=10.1 + listing.OVERLAP)
    assert actions == [DeleteIkeSa(1), Reconcile()]
    assert (reported(new), new.previous, new.overlap_until) == ((2, "up", ""), None, None)


def test_a_peer_that_refuses_the_new_version_keeps_the_previous_one() -> None:
    old, new = edited()
    new, _ = play(new, Cause(name(new), "ESP_PROPOSAL_MISMATCH", "none of our proposals"), now=10.1)
    new, actions = play(new, SasListed((up(old),)), now=10.2)
    assert actions == []
    assert reported(new) == (1, "up", "revision 2 refused by the peer: none of our proposals; revision 1 in use")
    assert new.retry_at is not None


def test_a_peer_comes_back_with_the_previous_version_or_with_the_new_one() -> None:
    old, new = edited()
    new, actions = play(new, SasListed(()), now=10.1)
    assert Reconcile() in actions, "its IKE connection may have to go"
    assert reported(new)[:2] == (1, "down")
    answer = fallback.fallback_name(cname(new))
    assert old.config
    assert new.config
    assert [one.name for one in fallback.with_fallback(new.config, old.config).children] == [answer, cname(new)]
    new, _ = play(new, SasListed((sa(name(new), child(answer)),)), now=10.2)
    assert reported(new) == (1, "up", "revision 2 waits for the peer; revision 1 in use")
    stronger = msgspec.structs.replace(child(answer), bits=256)
    new, actions = play(new, SasListed((sa(name(new), stronger),)), now=10.3)
    assert (reported(new), actions) == ((2, "up", ""), [Reconcile()]), "the SA that answered stays"


def test_a_child_without_a_key_exchange_of_its_own_is_rekeyed() -> None:
    tunnel, _ = play(fresh(), Loaded())
    bare = sa(name(tunnel), child(cname(tunnel), group=""))
    tunnel, actions = play(tunnel, SasListed((bare,)), now=1.0)
    assert (actions, lifecycle.wake_at(tunnel)) == ([], 1.0 + pfs_check.EARLY)
    tunnel, actions = play(tunnel, Tick(), SasListed((bare,)), now=1.0 + pfs_check.EARLY)
    assert actions == [ListSas(), Rekey(1)]
    busy = sa(name(tunnel), child(cname(tunnel), state="REKEYING", group=""))
    tunnel, actions = play(tunnel, SasListed((busy,)), SasListed((bare,)), now=1.4)
    assert actions == [], "charon is at it"
    tunnel, _ = play(tunnel, RekeyFailed(name(tunnel)), now=1.5)
    assert state(tunnel) == ("up", pfs_check.reason("group14", replaces=True))
    tunnel, actions = play(tunnel, SasListed((bare,)), now=99.0)
    assert (actions, lifecycle.wake_at(tunnel)) == ([], None), "a peer that refused is not asked again"
    tunnel, actions = play(tunnel, SasListed((up(tunnel),)), now=99.2)
    assert (actions, state(tunnel)) == ([], ("up", ""))


def test_a_rekey_that_came_to_nothing_is_asked_for_again_a_few_times() -> None:
    tunnel, _ = play(fresh(), Loaded())
    bare = sa(name(tunnel), child(cname(tunnel), group=""))
    tunnel, actions = play(tunnel, SasListed((bare,)), now=1.0)
    times = []
    while (due := lifecycle.wake_at(tunnel)) is not None:
        tunnel, actions = play(tunnel, Tick(), SasListed((bare,)), now=due)
        times += [due] if Rekey(1) in actions else []
    first = 1.0 + pfs_check.EARLY
    assert times == [first, first + pfs_check.AGAIN, first + 2 * pfs_check.AGAIN]
    assert len(times) == pfs_check.TRIES


def test_a_responder_lets_the_initiator_rekey_first() -> None:
    tunnel, _ = play(fresh(), Loaded())
    bare = sa(name(tunnel), child(cname(tunnel), group=""), initiator=False)
    tunnel, _ = play(tunnel, SasListed((bare,)), now=1.0)
    assert lifecycle.wake_at(tunnel) == 1.0 + pfs_check.LATE
    tunnel, actions = play(tunnel, SasListed((up(tunnel, initiator=False),)), now=1.5)
    assert (actions, lifecycle.wake_at(tunnel)) == ([], None)


def test_of_two_ike_sas_initiated_simultaneously_each_end_rekeys_the_child_of_its_own() -> None:
    """The one that the peer initiated is the peer's to renew: both at once would be a collision (RFC 7296 2.8.1)."""
    tunnel, _ = play(fresh(), Loaded())
    ours = sa(name(tunnel), child(cname(tunnel), number=1, group=""), unique_id=1)
    theirs = sa(name(tunnel), child(cname(tunnel), number=2, group=""), unique_id=2, initiator=False)
    tunnel, _ = play(tunnel, SasListed((ours, theirs)), now=1.0)
    tunnel, actions = play(tunnel, Tick(), SasListed((ours, theirs)), now=1.0 + pfs_check.EARLY)
    assert [action for action in actions if isinstance(action, Rekey)] == [Rekey(1)]
    tunnel, actions = play(tunnel, SasListed((theirs,)), now=2.0)
    assert (actions, lifecycle.wake_at(tunnel)) == ([], 1.0 + pfs_check.LATE)


def test_another_connections_rekey_says_nothing_of_a_verified_child() -> None:
    tunnel, _ = play(fresh(), Loaded())
    tunnel, _ = play(tunnel, SasListed((up(tunnel),)), RekeyFailed(name(tunnel)))
    assert state(tunnel) == ("up", "")


def test_without_the_previous_version_it_is_down() -> None:
    _, new = edited()
    new, _ = play(new, Cause(name(new), "ESP_PROPOSAL_MISMATCH", "none of our proposals"), now=10.1)
    new, _ = play(new, SasListed(()), now=10.2)
    assert reported(new) == (1, "down", "none of our proposals"), "a peer may still come back with revision 1"


def test_an_edit_taken_back_is_what_it_was() -> None:
    old, new = edited()
    back = tunnels.replaced(new, fresh(revision=3))
    assert reported(back) == (3, "up", "")
    assert (back.up, back.previous) == (old.up, None)


def test_a_dead_peer_is_dead_for_both_versions() -> None:
    old, new = edited()
    new, _ = play(new, Retransmitted(name(new)), now=15.0)
    new, actions = play(new, Tick(), SasListed((up(old),)), now=40.0)
    assert GiveUpSa(1) in actions
    assert reported(new)[1] == "down"
