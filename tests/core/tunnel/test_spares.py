"""Spares: exactly one tunnel carries, the others say whose spare they are, and the preferred one is rekeyed."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.state.desired import Connection
from linkspan.core.tunnel import spares
from linkspan.core.tunnel.actions import Rekey
from linkspan.core.tunnel.events import Loaded, SasListed
from linkspan.core.tunnel.lifecycle import step
from linkspan.core.tunnel.pfs_check import PfsCheck
from linkspan.core.tunnel.reconcile import tunnel_for
from linkspan.core.tunnel.tunnel import Tunnel
from tests.core.samples import child, connection, ikev1, sa

replace = msgspec.structs.replace


def to(number: int, *cidrs: str) -> Connection:
    """A connection to a peer of its own."""
    address = f"198.51.100.{number}"
    return connection(id=f"id-{number}", peer_address=address, peer_id=address, peer_cidrs=cidrs or ("10.9.0.0/24",))


def up(item: Connection, *ids: int) -> Tunnel:
    """The tunnel of a connection whose children are up; `ids`: the unique id of each, 0 for one that is not."""
    tunnel, _ = step(tunnel_for(item, "user-space"), Loaded(), 0.0)
    config = ipsec_config.build(item)
    seen = [child(one.name, number=number) for one, number in zip(config.children, ids, strict=False) if number]
    return step(tunnel, SasListed((sa(config.name, *seen),)), 0.0)[0]


def test_the_newest_child_carries_and_the_other_says_whose_spare_it_is() -> None:
    one, two = up(to(1), 5), up(to(2), 6)
    assert spares.note(one, [two]) == "spare of connection id-2, which carries the traffic"
    assert spares.note(two, [one]) == ""
    three = up(to(3), 7)
    assert spares.note(one, [two, three]) == "spare of connections id-2, id-3, which carry the traffic"


def test_a_tunnel_that_is_down_is_no_spare_and_has_none() -> None:
    one, down = up(to(1), 5), up(to(2), 0)
    assert spares.note(one, [down]) == spares.note(down, [one]) == ""
    assert spares.note(one, []) == ""


def test_a_spare_for_some_of_the_pairs_says_so() -> None:
    one = up(to(1, "10.9.0.0/24", "10.8.0.0/24", "10.7.0.0/24"), 5)
    assert spares.note(one, [up(to(2, "10.8.0.0/24"), 6)]) == "spare of connection id-2 for 1 of 3 selector pairs"
    # A pair that is more specific or wider is no rival: charon orders these by their bits.
    assert spares.note(one, [up(to(2, "10.8.0.0/16"), 6)]) == ""


def test_with_one_pair_a_child_each_pair_has_its_carrier() -> None:
    one = up(replace(to(1, "10.9.0.0/24", "10.8.0.0/24"), ike=ikev1()), 5, 8)
    two = up(to(2, "10.9.0.0/24", "10.8.0.0/24"), 6)
    assert spares.note(one, [two]) == "spare of connection id-2 for 1 of 2 selector pairs"
    assert spares.note(two, [one]) == "spare of connection id-1 for 1 of 2 selector pairs"
    assert spares.prefer(one, [two], 0.0)[1] == (Rekey(5),)


def test_the_preferred_tunnel_is_rekeyed_once_for_a_newer_spare() -> None:
    one, two = up(to(1), 5), up(to(2), 6)
    asked, actions = spares.prefer(one, [two], 0.0)
    assert actions == (Rekey(5),)
    assert spares.prefer(asked, [two], 1.0) == (asked, ())
    assert spares.prefer(two, [one], 0.0) == (two, ())
    assert spares.prefer(up(to(2), 7), [up(to(1), 6)], 0.0)[1] == (), "its spare carries what it is preferred for"
    assert spares.prefer(up(to(1), 7), [two], 0.0)[1] == ()


def test_who_must_not_rekey_does_not() -> None:
    two = up(to(2), 6)
    one = up(to(1), 5)
    assert spares.prefer(replace(one, pfs_check=PfsCheck(refused=True)), [two], 0.0)[1] == ()
    waiting = replace(to(1), initiator="response-only", ike=ikev1())
    assert spares.prefer(up(waiting, 5), [two], 0.0)[1] == ()
    assert spares.prefer(up(replace(waiting, ike=to(1).ike), 5), [two], 0.0)[1] == (Rekey(5),)


def test_two_gateways_that_disagree_do_not_rekey_for_ever() -> None:
    tunnel, rekeys = up(to(1), 5), 0
    for turn in range(100):
        newer = 10 + 2 * turn
        tunnel, actions = spares.prefer(tunnel, [up(to(2), newer)], turn / 10)
        rekeys += len(actions)
        tunnel = replace(tunnel, newest=tuple((name, newer + 1) for name, _ in tunnel.newest))
    assert rekeys == spares.MOST


@given(st.permutations(range(1, 6)), st.permutations(range(1, 6)))
def test_the_traffic_settles_on_one_tunnel_whatever_the_order(order: list[int], ids: list[int]) -> None:
    tunnels = {number: up(to(number), unique_id) for number, unique_id in zip(order, ids, strict=True)}
    rekeys = 0
    for _ in range(3):
        for number in order:
            rivals = [tunnel for other, tunnel in tunnels.items() if other != number]
            tunnels[number], actions = spares.prefer(tunnels[number], rivals, 0.0)
            newest = max(unique_id for tunnel in tunnels.values() for _, unique_id in tunnel.newest)
            rekeys += len(actions)
            if actions:
                renewed = tuple((name, newest + 1) for name, _ in tunnels[number].newest)
                tunnels[number] = replace(tunnels[number], newest=renewed)
    notes = {
        number: spares.note(tunnel, [*(tunnels[n] for n in tunnels if n != number)])
        for number, tunnel in tunnels.items()
    }
    assert [number for number, note in notes.items() if not note] == [1]
    assert rekeys <= 1
