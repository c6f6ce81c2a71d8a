"""Spares: exactly one tunnel carries, the others say whose spare they are, and the preferred one is rekeyed."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.state.desired import Connection
from linkspan.core.state.observed import Backend
from linkspan.core.tunnel import lifecycle, spares
from linkspan.core.tunnel.actions import ListSas, Rekey
from linkspan.core.tunnel.events import Loaded, SasListed, Tick
from linkspan.core.tunnel.install_order import InstalledChildren, Place
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


def note(tunnel: Tunnel, rivals: Iterable[Tunnel], backend: Backend = "user-space") -> str:
    return spares.note(tunnel, rivals, backend)


def prefer(
    tunnel: Tunnel, rivals: Iterable[Tunnel], now: float, backend: Backend = "user-space"
) -> tuple[Tunnel, tuple[Rekey, ...]]:
    return spares.prefer(tunnel, rivals, now, backend)


def rekeyed(tunnel: Tunnel, number: int) -> InstalledChildren:
    """The installed children of a tunnel after a rekey, with this unique id."""
    return tuple((name, replace(entry, last=Place(number, number))) for name, entry in tunnel.installed)


def test_the_newest_child_carries_and_the_other_says_whose_spare_it_is() -> None:
    one, two = up(to(1), 5), up(to(2), 6)
    assert note(one, [two]) == "spare of connection id-2, which carries the traffic"
    assert note(two, [one]) == ""
    three = up(to(3), 7)
    assert note(one, [two, three]) == "spare of connections id-2, id-3, which carry the traffic"


def test_a_tunnel_that_is_down_is_no_spare_and_has_none() -> None:
    one, down = up(to(1), 5), up(to(2), 0)
    assert note(one, [down]) == note(down, [one]) == ""
    assert note(one, []) == ""


def test_a_spare_for_some_of_the_pairs_says_so() -> None:
    one = up(to(1, "10.9.0.0/24", "10.8.0.0/24", "10.7.0.0/24"), 5)
    assert note(one, [up(to(2, "10.8.0.0/24"), 6)]) == "spare of connection id-2 for 1 of 3 selector pairs"
    # A pair that is more specific or wider is no rival: charon orders these by their bits.
    assert note(one, [up(to(2, "10.8.0.0/16"), 6)]) == ""


def test_with_one_pair_a_child_each_pair_has_its_carrier() -> None:
    one = up(replace(to(1, "10.9.0.0/24", "10.8.0.0/24"), ike=ikev1()), 5, 8)
    two = up(to(2, "10.9.0.0/24", "10.8.0.0/24"), 6)
    assert note(one, [two]) == "spare of connection id-2 for 1 of 2 selector pairs"
    assert note(two, [one]) == "spare of connection id-1 for 1 of 2 selector pairs"
    assert prefer(one, [two], 0.0, "kernel")[1] == (Rekey(5),)


def test_in_user_space_a_rekey_changes_nothing_between_different_lists() -> None:
    """The policies are compared, and the one that came first stays where it is."""
    one, two = up(to(1), 5), up(to(2, "10.9.0.0/24", "10.8.0.0/24"), 6)
    renewed = replace(one, installed=rekeyed(one, 7))
    for tunnel in (one, renewed):
        assert note(tunnel, [two]) == "spare of connection id-2, which carries the traffic"
        assert note(two, [tunnel]) == ""
        assert prefer(tunnel, [two], 0.0)[1] == ()
    # The controls: kernel ESP, and equal lists.
    controls: tuple[tuple[Backend, Tunnel], ...] = (("kernel", two), ("user-space", up(to(2), 6)))
    for backend, rival in controls:
        assert prefer(one, [rival], 0.0, backend)[1] == (Rekey(5),)
        assert note(renewed, [rival], backend) == ""


def test_a_listing_keeps_the_place_of_the_first_child_in_a_row() -> None:
    tunnel = up(to(1), 5)
    config = ipsec_config.build(to(1))
    name = config.children[0].name

    def listed(*ids: int) -> SasListed:
        return SasListed((sa(config.name, *(child(name, number=number) for number in ids)),))

    for ids in ((5, 9), (9,), (9, 12), (12,)):
        tunnel, _ = step(tunnel, listed(*ids), 1.0)
        (entry,) = dict(tunnel.installed).values()
        assert (entry.first.unique_id, entry.last.unique_id) == (5, ids[-1])
    tunnel, _ = step(tunnel, listed(), 2.0)
    (entry,) = dict(step(tunnel, listed(20), 3.0)[0].installed).values()
    assert (entry.first.unique_id, entry.last.unique_id) == (20, 20)


def test_the_preferred_tunnel_is_rekeyed_once_for_a_newer_spare() -> None:
    one, two = up(to(1), 5), up(to(2), 6)
    asked, actions = prefer(one, [two], 0.0)
    assert actions == (Rekey(5),)
    assert prefer(asked, [two], 1.0) == (asked, ())
    assert prefer(two, [one], 0.0) == (two, ())
    assert prefer(up(to(2), 7), [up(to(1), 6)], 0.0)[1] == (), "its spare carries what it is preferred for"
    assert prefer(up(to(1), 7), [two], 0.0)[1] == ()


def test_who_must_not_rekey_does_not() -> None:
    two = up(to(2), 6)
    one = up(to(1), 5)
    assert prefer(replace(one, pfs_check=PfsCheck(refused=True)), [two], 0.0)[1] == ()
    waiting = replace(to(1), initiator="response-only", ike=ikev1())
    assert prefer(up(waiting, 5), [two], 0.0)[1] == ()
    assert prefer(up(replace(waiting, ike=to(1).ike), 5), [two], 0.0)[1] == (Rekey(5),)


def test_two_gateways_that_disagree_do_not_rekey_for_ever() -> None:
    tunnel, rekeys = up(to(1), 5), 0
    for turn in range(100):
        newer = 10 + 2 * turn
        tunnel, actions = prefer(tunnel, [up(to(2), newer)], turn / 10)
        rekeys += len(actions)
        tunnel = replace(tunnel, installed=rekeyed(tunnel, newer + 1))
    assert rekeys == spares.MOST
    assert tunnel.prefer_at is not None
    assert (tunnel.prefer_at, lifecycle.wake_at(tunnel)) == (spares.PERIOD, spares.PERIOD)
    # Afterwards it is rekeyed although nothing else happens.
    assert step(tunnel, Tick(), spares.PERIOD)[1] == (ListSas(),)
    config = ipsec_config.build(to(1))
    listed = SasListed((sa(config.name, child(config.children[0].name, number=209)),))
    for now, is_due in ((spares.PERIOD - 1.0, False), (spares.PERIOD, True)):
        after, _ = step(tunnel, listed, now)
        assert spares.is_to_compare(tunnel, after) is is_due
        assert len(prefer(after, [up(to(2), 300)], now)[1]) == is_due


@given(st.permutations(range(1, 6)), st.permutations(range(1, 6)))
def test_the_traffic_settles_on_one_tunnel_whatever_the_order(order: list[int], ids: list[int]) -> None:
    tunnels = {number: up(to(number), unique_id) for number, unique_id in zip(order, ids, strict=True)}
    rekeys = 0
    for _ in range(3):
        for number in order:
            rivals = [tunnel for other, tunnel in tunnels.items() if other != number]
            tunnels[number], actions = prefer(tunnels[number], rivals, 0.0)
            newest = max(entry.last.unique_id for tunnel in tunnels.values() for _, entry in tunnel.installed)
            rekeys += len(actions)
            if actions:
                tunnels[number] = replace(tunnels[number], installed=rekeyed(tunnels[number], newest + 1))
    notes = {
        number: note(tunnel, [*(tunnels[n] for n in tunnels if n != number)]) for number, tunnel in tunnels.items()
    }
    assert [number for number, note in notes.items() if not note] == [1]
    assert rekeys <= 1
