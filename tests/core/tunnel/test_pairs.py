"""A tunnel whose peer narrows the list of pairs: what is missing is said, and asked for pair by pair."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from linkspan.core.state.desired import Connection
from linkspan.core.tunnel import attempts, lifecycle, listing, reconcile, reports
from linkspan.core.tunnel import tunnel as tunnels
from linkspan.core.tunnel.actions import DeleteChildSa, Initiate, ListSas, Reconcile
from linkspan.core.tunnel.charon_events import Cause, SaChanged
from linkspan.core.tunnel.events import Loaded, SasListed, Tick
from linkspan.core.tunnel.sas import ChildSa, IkeSa
from linkspan.core.tunnel.tunnel import Tunnel
from tests.core.samples import ID, child, connection, ikev1, sa

LOCAL, REMOTE = ("10.1.0.0/24", "10.11.0.0/24"), ("10.2.0.0/24", "10.3.0.0/24", "10.4.0.0/24")
PAIRS = [(left, right) for left in LOCAL for right in REMOTE]
NOT_ALL = "1 of 6 pairs of networks are up; missing: "


def lists(**changes: Any) -> Connection:
    return connection(**{"local_cidrs": LOCAL, "peer_cidrs": REMOTE} | changes)


def play(tunnel: Tunnel, *happened: Any, now: float = 0.0) -> tuple[Tunnel, list[Any]]:
    done: list[Any] = []
    for event in happened:
        tunnel, actions = lifecycle.step(tunnel, event, now)
        done += actions
    return tunnel, done


def narrowed(name: str, pair: tuple[str, str], number: int = 1) -> ChildSa:
    return msgspec.structs.replace(child(name, number=number), local_ts=(pair[0],), remote_ts=(pair[1],))


def listed(tunnel: Tunnel, *parts: ChildSa, **more: Any) -> SasListed:
    assert tunnel.config
    return SasListed((sa(tunnel.config.name, *parts, **more),))


def names(tunnel: Tunnel) -> list[str]:
    assert tunnel.config
    return [part.name for part in tunnel.config.children]


def firsts(tunnel: Tunnel) -> list[str]:
    """Names of the first of the two children of each pair."""
    return names(tunnel)[1::2]


def state(tunnel: Tunnel) -> tuple[str, str]:
    report = reports.report(tunnel, 1)
    assert report
    return report.state, report.reason


def first_pair_up(**changes: Any) -> tuple[Tunnel, ChildSa]:
    """A tunnel that has initiated its list; the peer has taken the first pair, and the others are asked for."""
    tunnel, _ = play(reconcile.tunnel_for(lists(**changes), "user-space"), Loaded())
    first = narrowed(names(tunnel)[0], PAIRS[0])
    tunnel, actions = play(tunnel, listed(tunnel, first), now=1.0)
    assert actions == [Reconcile()]
    assert state(tunnel)[1].startswith(NOT_ALL)
    tunnel, actions = play(tunnel, Tick(), now=1.0 + attempts.SETTLE)
    assert tunnel.config
    assert actions == [Initiate(tunnel.config.name, name) for name in firsts(tunnel)[1:]]
    return tunnel, first


def all_up(tunnel: Tunnel, first: ChildSa) -> SasListed:
    others = (
        narrowed(name, pair, number)
        for number, (name, pair) in enumerate(zip(firsts(tunnel)[1:], PAIRS[1:], strict=True), 2)
    )
    return listed(tunnel, first, *others)


def test_what_the_peer_leaves_out_of_a_list_is_asked_for_pair_by_pair() -> None:
    tunnel, first = first_pair_up()
    second = narrowed(firsts(tunnel)[1], PAIRS[1], 2)
    tunnel, actions = play(tunnel, listed(tunnel, first, second), now=2.0)
    assert actions == [], "charon asks for one after the other"
    assert state(tunnel)[1].startswith("2 of 6 pairs")
    tunnel, actions = play(tunnel, all_up(tunnel, first), now=2.5)
    assert (actions, state(tunnel), lifecycle.wake_at(tunnel)) == ([], ("up", ""), None)


def test_the_plan_loads_a_child_for_each_pair_and_keeps_them() -> None:
    tunnel, _ = first_pair_up()
    assert tunnel.config
    desired = {ID: tunnel.connection}
    plan = reconcile.reconcile({ID: tunnel}, desired, (), {tunnel.config.name: frozenset(names(tunnel)[:1])}, "kernel")
    assert plan.load == (tunnel.config,)
    held = {tunnel.config.name: frozenset(names(tunnel))}
    plan = reconcile.reconcile({ID: tunnel}, desired, (), held, "kernel")
    assert (plan.load, plan.unload, plan.inspect) == ((), (), ())
    # An agent that has just started finds them in charon.
    plan = reconcile.reconcile({}, desired, (), held, "kernel")
    assert (plan.load, plan.unload, plan.inspect, plan.keep) == ((), (), (), (ID,))
    assert plan.tunnels[ID].config == tunnel.config


def test_a_peer_that_refuses_the_rest_is_asked_again_less_and_less_often() -> None:
    tunnel, first = first_pair_up()
    now, delays = 1.0 + attempts.SETTLE, []
    for _ in range(11):
        tunnel, _ = play(tunnel, Cause(ID, "SELECTORS_UNACCEPTABLE", "the traffic selectors do not match"), now=now)
        due = lifecycle.wake_at(tunnel)
        assert due == now + attempts.SETTLE
        tunnel, actions = play(tunnel, Tick(), listed(tunnel, first), now=due)
        assert actions == [ListSas()]
        ends_at = now + attempts.ANSWERS
        assert lifecycle.wake_at(tunnel) == ends_at, "other answers may come"
        tunnel, actions = play(tunnel, Tick(), listed(tunnel, first), now=ends_at)
        assert tunnel.retry_at is not None
        delays.append(tunnel.retry_at - ends_at)
        now = tunnel.retry_at
        tunnel, actions = play(tunnel, Tick(), now=now)
        assert len(actions) == 5
    assert delays == sorted(delays)
    assert 100 < delays[-1] < 400
    text = state(tunnel)[1]
    assert text.startswith(NOT_ALL + "10.1.0.0/24 - 10.3.0.0/24, 10.1.0.0/24 - 10.4.0.0/24, ")
    assert text.endswith(", 1 more: the traffic selectors do not match")


def test_a_rekey_and_an_edit_ask_at_once() -> None:
    tunnel, first = first_pair_up()
    tunnel, _ = play(tunnel, listed(tunnel, first), now=30.0)
    assert tunnel.retry_at is not None
    rekeyed, actions = play(tunnel, SaChanged(ID, rekeyed=True), now=30.1)
    assert (actions, rekeyed.retry_at) == ([ListSas()], 30.1)
    edited = tunnels.refreshed(tunnel, lists(revision=2))
    assert (edited.retry_at, edited.failures) == (0.0, 0)
    _, actions = play(edited, Tick(), now=30.1)
    assert len(actions) == 5


def test_a_response_only_connection_only_says_what_is_missing() -> None:
    tunnel, _ = play(reconcile.tunnel_for(lists(initiator="response-only"), "user-space"), Loaded())
    whole = names(tunnel)[0]
    for up in range(1, 6):
        parts = [narrowed(whole, pair, number) for number, pair in enumerate(PAIRS[:up])]
        tunnel, actions = play(tunnel, listed(tunnel, *parts, initiator=False), now=float(up))
        assert (actions, state(tunnel)[0]) == ([], "up")
        assert state(tunnel)[1].startswith(f"{up} of 6 pairs")
    parts = [narrowed(whole, pair, number) for number, pair in enumerate(PAIRS)]
    tunnel, actions = play(tunnel, listed(tunnel, *parts, initiator=False), now=9.0)
    assert (actions, state(tunnel), names(tunnel)) == ([], ("up", ""), [whole])


def test_a_pair_of_which_a_part_is_carried_is_asked_for_too() -> None:
    tunnel, _ = play(reconcile.tunnel_for(connection(), "user-space"), Loaded())
    half = narrowed(names(tunnel)[0], ("10.1.0.0/24", "10.2.0.0/25"))
    tunnel, actions = play(tunnel, listed(tunnel, half), now=1.0)
    assert actions == [Reconcile()]
    part = "10.1.0.0/24 - 10.2.0.0/24 (only 10.1.0.0/24 - 10.2.0.0/25)"
    assert state(tunnel) == ("up", f"0 of 1 pairs of networks are up; missing: {part}")
    tunnel, actions = play(tunnel, Tick(), now=1.1)
    assert [action.child for action in actions] == firsts(tunnel)
    again = narrowed(names(tunnel)[1], ("10.1.0.0/24", "10.2.0.0/25"), 2)
    tunnel, actions = play(tunnel, listed(tunnel, half, again), now=1.2)
    assert actions == [DeleteChildSa(2)]
    # The pair's second child asks for what its first one has got a part of.
    tunnel, _ = play(tunnel, listed(tunnel, again), Tick(), now=20.0)
    tunnel, _ = play(tunnel, listed(tunnel, again), now=20.0)
    assert tunnel.retry_at is not None
    tunnel, actions = play(tunnel, Tick(), now=tunnel.retry_at)
    assert [action.child for action in actions] == names(tunnel)[2:]
    mended = narrowed(names(tunnel)[2], ("10.1.0.0/24", "10.2.0.0/24"), 3)
    tunnel, actions = play(tunnel, listed(tunnel, again, mended), now=60.0)
    assert (actions, state(tunnel)) == ([], ("up", ""))


def test_in_ikev1_a_pair_of_which_a_part_is_carried_is_initiated_again() -> None:
    tunnel, _ = play(reconcile.tunnel_for(connection(ike=ikev1()), "user-space"), Loaded())
    half = narrowed(names(tunnel)[0], ("10.1.0.0/24", "10.2.0.0/25"))
    tunnel, actions = play(tunnel, listed(tunnel, half), now=1.0)
    assert (actions, tunnel.attempt_ends_at) == ([], None)
    assert state(tunnel)[1].startswith("0 of 1 pairs of networks are up")
    assert tunnel.retry_at is not None
    tunnel, actions = play(tunnel, Tick(), now=tunnel.retry_at)
    assert [action.child for action in actions] == names(tunnel)


def test_a_superfluous_child_stays_until_the_peer_has_it() -> None:
    """The peer may have initiated it, and ignores a delete until it has the response."""
    tunnel, _ = play(reconcile.tunnel_for(connection(), "user-space"), Loaded())
    half = narrowed(names(tunnel)[0], ("10.1.0.0/24", "10.2.0.0/25"))
    tunnel, _ = play(tunnel, listed(tunnel, half), now=1.0)
    tunnel, _ = play(tunnel, Tick(), now=1.1)
    again = narrowed(names(tunnel)[1], ("10.1.0.0/24", "10.2.0.0/25"), 2)
    fresh, actions = play(tunnel, listed(tunnel, half, msgspec.structs.replace(again, age=0)), now=1.2)
    assert (actions, fresh.list_at) == ([], 1.2 + listing.FRESH)
    older = msgspec.structs.replace(again, age=int(listing.FRESH))
    _, actions = play(fresh, Tick(), listed(tunnel, half, older), now=1.2 + listing.FRESH)
    assert actions[:2] == [ListSas(), DeleteChildSa(2)]


def edited(tunnel: Tunnel, revision: Connection) -> Tunnel:
    """The tunnel under another revision that charon has loaded."""
    assert tunnel.config
    held = {tunnel.config.name: frozenset(names(tunnel))}
    new = reconcile.reconcile({ID: tunnel}, {ID: revision}, (), held, "user-space").tunnels[ID]
    return play(new, Loaded(), now=20.0)[0]


def test_an_edit_replaces_all_children_of_the_list() -> None:
    tunnel, first = first_pair_up()
    before = all_up(tunnel, first)
    tunnel, _ = play(tunnel, before, now=2.0)
    stronger = msgspec.structs.replace(connection().ipsec, encryption_algorithm="aes-256")
    new = edited(tunnel, lists(revision=2, ipsec=stronger))
    new, _ = play(new, before, now=20.0)
    new, actions = play(new, Tick(), now=20.1)
    assert [action.child for action in actions] == firsts(new), "the peer is known to take one pair a child"
    (old_sa,) = before.sas
    some = [
        narrowed(name, pair, number) for number, (name, pair) in enumerate(zip(firsts(new), PAIRS, strict=True), 11)
    ]
    new, actions = play(new, SasListed((_with(old_sa, some[:5]),)), now=20.2)
    assert actions == [], "the previous version carries the sixth pair"
    new, actions = play(new, SasListed((_with(old_sa, some),)), now=20.3)
    assert actions == [*(DeleteChildSa(part.unique_id) for part in old_sa.children), Reconcile()]
    assert state(new) == ("up", "")


def test_a_network_that_the_peer_does_not_know_does_not_hold_the_previous_version() -> None:
    tunnel, _ = play(reconcile.tunnel_for(connection(), "user-space"), Loaded())
    old = child(names(tunnel)[0])
    tunnel, _ = play(tunnel, listed(tunnel, old), now=1.0)
    new = edited(tunnel, connection(revision=2, peer_cidrs=("10.2.0.0/24", "10.3.0.0/24")))
    one = narrowed(names(new)[0], ("10.1.0.0/24", "10.2.0.0/24"), 2)
    new, actions = play(new, listed(new, old, one), now=20.1)
    assert actions == [DeleteChildSa(1), Reconcile(), Reconcile()]
    assert state(new) == ("up", "1 of 2 pairs of networks are up; missing: 10.1.0.0/24 - 10.3.0.0/24")


def test_the_children_of_pairs_that_stay_are_not_initiated_again() -> None:
    tunnel, first = first_pair_up()
    before = all_up(tunnel, first)
    tunnel, _ = play(tunnel, before, now=2.0)
    less = edited(tunnel, lists(revision=2, peer_cidrs=REMOTE[1:]))
    less, actions = play(less, before, now=20.0)
    ended = [part.unique_id for part in before.sas[0].children if part.remote_ts == REMOTE[:1]]
    assert actions == [*(DeleteChildSa(number) for number in ended), Reconcile()]
    assert state(less) == ("up", "")


def test_a_peer_that_takes_the_whole_list_again_gets_it() -> None:
    tunnel, _ = first_pair_up()
    whole = child(names(tunnel)[0], number=9)
    tunnel, actions = play(tunnel, listed(tunnel, whole), now=2.0)
    assert (actions, state(tunnel), names(tunnel)) == ([Reconcile()], ("up", ""), [whole.name])


def test_a_peer_that_refuses_a_list_is_asked_for_its_pairs_and_then_for_the_list_again() -> None:
    tunnel, _ = play(reconcile.tunnel_for(lists(), "user-space"), Loaded())
    now = 0.0
    for by_pairs in (True, False, True):
        tunnel, _ = play(tunnel, Cause(ID, "SELECTORS_UNACCEPTABLE", "do not match"), now=now + 0.1)
        tunnel, actions = play(tunnel, listed(tunnel), now=now + 5.0)
        assert Reconcile() in actions
        assert tunnel.by_pairs == by_pairs
        assert tunnel.retry_at is not None
        now = tunnel.retry_at
        tunnel, actions = play(tunnel, Tick(), now=now)
        assert len(actions) == (6 if by_pairs else 1)


def test_more_pairs_than_the_limit_are_said() -> None:
    tunnel = reconcile.tunnel_for(lists(), "user-space", max_children=4)
    tunnel, _ = play(tunnel, Loaded())
    first = narrowed(names(tunnel)[0], PAIRS[0])
    tunnel, _ = play(tunnel, listed(tunnel, first), now=1.0)
    assert len(names(tunnel)) == 1 + 2 * 4
    tunnel, actions = play(tunnel, Tick(), now=1.1)
    assert len(actions) == 3
    assert state(tunnel)[1].endswith("; the peer takes one pair a child SA, and the node makes 4 at most")


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_after_a_restart_of_charon_the_peer_is_asked_for_its_pairs(version: str) -> None:
    ike = ikev1() if version == "v1" else connection().ike
    tunnel = reconcile.tunnel_for(lists(ike=ike), "user-space")
    if version == "v2":
        tunnel, _ = first_pair_up()
    tunnel, actions = play(tunnels.after_charon_restart(tunnel), Loaded(), now=9.0)
    assert len(actions) == 6


def _with(found: IkeSa, parts: list[ChildSa]) -> IkeSa:
    return msgspec.structs.replace(found, children=(*found.children, *parts))
