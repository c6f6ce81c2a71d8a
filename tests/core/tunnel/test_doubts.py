"""Doubts about a peer after signs that anybody can send: when it is asked, how often, and that nothing ends by them."""

from __future__ import annotations

import itertools

import msgspec
import pytest

from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.state.desired import Connection, Dpd
from linkspan.core.tunnel import doubts, events, lifecycle
from linkspan.core.tunnel.actions import Action, DeleteIkeSa, ListSas, ReplaceIkeSa
from linkspan.core.tunnel.charon_events import PeerSeen
from linkspan.core.tunnel.doubts import ANSWERED, BUSY, FIRST, LONGEST, PATIENCE, QUIET
from linkspan.core.tunnel.sas import IkeSa
from linkspan.core.tunnel.tunnel import Tunnel, new_tunnel
from tests.core.samples import child, connection, ikev1, sa

CONFIG = ipsec_config.build(connection())
NAME = CONFIG.children[0].name
OLD = 600


def ike_sa(*, idle: int = OLD, state: str = "ESTABLISHED", child_state: str = "INSTALLED", number: int = 1) -> IkeSa:
    """The tunnel's IKE SA; `idle`: seconds since the last packet arrived."""
    age = OLD if number == 1 else 0
    return sa(CONFIG.name, child(NAME, idle=idle, state=child_state), unique_id=number, state=state, age=age)


def up(of: Connection | None = None) -> Tunnel:
    """A tunnel that is up since the time 0."""
    of = of or connection()
    config = ipsec_config.build(of)
    tunnel = msgspec.structs.replace(new_tunnel(of, config, ""), applied=True)
    present = sa(config.name, child(config.children[0].name, idle=OLD))
    return lifecycle.step(tunnel, events.SasListed((present,)), 0.0)[0]


def doubted(tunnel: Tunnel, now: float) -> Tunnel:
    after, actions = lifecycle.step(tunnel, events.PeerDoubted(), now)
    assert actions == ()
    return after


def listed(tunnel: Tunnel, now: float, *sas: IkeSa) -> tuple[Tunnel, tuple[Action, ...]]:
    return lifecycle.step(tunnel, events.SasListed(sas), now)


def questions(tunnel: Tunnel, now: float, *sas: IkeSa) -> list[int]:
    """The IKE SAs in which the peer is asked."""
    return [action.unique_id for action in listed(tunnel, now, *sas)[1] if isinstance(action, ReplaceIkeSa)]


def test_a_silent_peer_is_asked_when_the_signs_have_stopped() -> None:
    tunnel = doubted(up(), 100.0)
    assert lifecycle.wake_at(tunnel) == 100.0 + QUIET
    assert questions(tunnel, 100.0 + QUIET - 0.1, ike_sa()) == []
    tunnel = doubted(tunnel, 101.0)
    assert questions(tunnel, 100.0 + QUIET, ike_sa()) == []
    assert lifecycle.step(tunnel, events.Tick(), 101.0 + QUIET)[1] == (ListSas(),)
    assert questions(tunnel, 101.0 + QUIET, ike_sa()) == [1]


def test_without_a_sign_nobody_is_asked() -> None:
    """The control."""
    assert questions(up(), 100.0, ike_sa()) == []


@pytest.mark.parametrize("idle", [0, 1, 2, 3, -1])
def test_a_packet_that_has_arrived_since_is_answer_enough(idle: int) -> None:
    tunnel = doubted(up(), 100.0)
    assert questions(tunnel, 100.0 + QUIET, ike_sa(idle=idle)) == ([] if 0 <= idle < QUIET else [1])


@pytest.mark.parametrize("at", [99.9, 100.1])
def test_an_authenticated_message_since_is_answer_enough(at: float) -> None:
    tunnel, message = up(), PeerSeen("", 1)
    if at < 100.0:
        tunnel = doubted(lifecycle.step(tunnel, message, at)[0], 100.0)
    else:
        tunnel = lifecycle.step(doubted(tunnel, 100.0), message, at)[0]
    assert questions(tunnel, 100.0 + QUIET, ike_sa()) == ([1] if at < 100.0 else [])


def test_an_ike_sa_that_is_younger_than_the_sign_is_answer_enough() -> None:
    assert questions(doubted(up(), 100.0), 100.0 + QUIET, ike_sa(number=2)) == []


def test_a_child_that_is_being_rekeyed_is_waited_for_but_not_for_ever() -> None:
    tunnel, busy = doubted(up(), 100.0), ike_sa(child_state="REKEYING")
    tunnel, actions = listed(tunnel, 100.0 + QUIET, busy)
    assert ReplaceIkeSa(1) not in actions
    assert lifecycle.wake_at(tunnel) == 100.0 + QUIET + BUSY
    assert questions(tunnel, 105.0, ike_sa()) == [1]
    tunnel, actions = listed(tunnel, 100.0 + PATIENCE, busy)
    assert ReplaceIkeSa(1) not in actions
    assert tunnel.doubts.since is None


def test_a_thousand_signs_a_second_ask_nothing_while_they_last_and_once_afterwards() -> None:
    tunnel, asked = up(), list[float]()
    for millisecond in range(6_000):
        now = 100.0 + millisecond / 1000
        tunnel = doubted(tunnel, now)
        due = lifecycle.wake_at(tunnel)
        if due is not None and due <= now:
            asked += [now] * len(questions(tunnel, now, ike_sa()))
    assert asked == []
    tunnel, actions = listed(tunnel, 106.0 + QUIET, ike_sa())
    assert ReplaceIkeSa(1) in actions
    assert not any(isinstance(action, DeleteIkeSa) for action in actions)
    assert tunnel.up == {NAME}


def test_questions_become_rarer_while_signs_go_on() -> None:
    """A sign every five seconds for three hours, from somebody who knows no key, while the peer is silent."""
    tunnel, asked = up(), list[float]()
    for now in (100.0 + 5 * number for number in range(2_160)):
        tunnel = doubted(tunnel, now)
        before = tunnel.doubts
        tunnel, actions = listed(tunnel, now + QUIET, ike_sa())
        asked += [now] * actions.count(ReplaceIkeSa(1))
        assert actions.count(ReplaceIkeSa(1)) == (tunnel.doubts.next_at != before.next_at)
    gaps = [later - earlier for earlier, later in itertools.pairwise(asked)]
    assert min(gaps) >= FIRST
    assert sorted(gaps) == gaps
    assert len(asked) <= 8 + 10_800 / LONGEST


def test_a_peer_that_restarts_now_and_then_is_asked_each_time() -> None:
    tunnel, asked = up(), 0
    for now in (100.0, 500.0, 900.0, 10_000.0):
        tunnel, actions = listed(doubted(tunnel, now), now + QUIET, ike_sa())
        asked += ReplaceIkeSa(1) in actions
    assert asked == 4


def test_what_the_peer_has_lost_is_deleted_once_its_successor_is_up() -> None:
    tunnel, _ = listed(doubted(up(), 100.0), 100.0 + QUIET, ike_sa())
    both = (ike_sa(state="DELETING"), ike_sa(number=2))
    tunnel, actions = listed(tunnel, 103.0, *both)
    assert DeleteIkeSa(1) not in actions
    assert lifecycle.wake_at(tunnel) == 103.0 + ANSWERED
    assert DeleteIkeSa(1) in listed(tunnel, 103.0 + ANSWERED, *both)[1]
    # The control: the peer has confirmed the deletion.
    tunnel, actions = listed(tunnel, 103.0 + ANSWERED, ike_sa(number=2))
    assert DeleteIkeSa(1) not in actions
    assert tunnel.doubts.asked == {}


def test_a_peer_that_does_not_answer_the_question_loses_nothing_by_it() -> None:
    tunnel, _ = listed(doubted(up(), 100.0), 100.0 + QUIET, ike_sa())
    for now in (103.0, 105.0, 120.0):
        tunnel, actions = listed(tunnel, now, ike_sa())
        assert DeleteIkeSa(1) not in actions
    assert tunnel.up == {NAME}


@pytest.mark.parametrize(
    "changes",
    [
        {"initiator": "response-only"},
        {"dpd": Dpd("disabled", 5, 9)},
        {"ike": ikev1()},
    ],
)
def test_some_are_not_asked(changes: dict[str, object]) -> None:
    """An end that only responds must not initiate; without dead peer detection nobody asks; IKEv1 as in `doubts`."""
    tunnel = up(connection(**changes))
    assert tunnel.up
    assert doubted(tunnel, 100.0) == tunnel


def test_a_tunnel_that_is_down_has_no_doubts() -> None:
    tunnel = msgspec.structs.replace(new_tunnel(connection(), CONFIG, ""), applied=True)
    assert doubted(tunnel, 100.0).doubts == doubts.Doubts()
