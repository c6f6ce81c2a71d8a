"""The traffic of a tunnel that is down goes to no wider tunnel, and all other traffic passes."""

from __future__ import annotations

from linkspan.core.ipsec import overlaps
from linkspan.core.ipsec.selectors import SelectorPair
from linkspan.core.tunnel.precedence import Precedence, precedence
from linkspan.core.tunnel.tunnel import Tunnel
from tests.core.tunnel.test_spares import replace, to, up

WIDE, NARROW, HOST = "10.0.0.0/8", "10.9.0.0/16", "10.9.0.7/32"


def blocks(*tunnels: Tunnel, unknown: tuple[str, ...] = ()) -> tuple[set[str], set[str]]:
    """The peer networks that are blocked, and those that pass."""
    by_id = {tunnel.connection.id: tunnel for tunnel in tunnels}
    nested = overlaps.find(tunnel.connection for tunnel in tunnels).nested
    found = precedence(by_id, nested, unknown)
    return {pair.remote for pair in found.blocked}, {pair.remote for pair in found.passing}


def test_a_tunnel_that_is_down_is_not_replaced_by_a_wider_one() -> None:
    wide, narrow, down = up(to(1, WIDE), 1), up(to(2, NARROW), 2), up(to(2, NARROW), 0)
    assert blocks(wide, narrow) == (set(), set())
    assert blocks(wide, down) == ({NARROW}, set())
    assert blocks(up(to(1, WIDE), 0), down) == ({NARROW}, set()), "the wider one may come up at any time"
    assert blocks(down) == (set(), set())
    assert blocks(wide, down, unknown=("id-2",)) == (set(), set())


def test_a_disabled_tunnel_is_down_and_a_disabled_wider_one_takes_nothing() -> None:
    wide, narrow = up(to(1, WIDE), 1), up(to(2, NARROW), 0)
    off = replace(narrow, config=None, connection=replace(narrow.connection, enabled=False))
    assert blocks(wide, off) == ({NARROW}, set())
    assert blocks(replace(wide, connection=replace(wide.connection, enabled=False)), narrow) == (set(), set())


def test_a_more_specific_tunnel_passes_through_what_is_blocked() -> None:
    wide, down, host = up(to(1, WIDE), 1), up(to(2, NARROW), 0), up(to(3, HOST), 3)
    assert blocks(wide, down, host) == ({NARROW}, {HOST})
    assert blocks(wide, down, up(to(3, HOST), 0)) == ({NARROW, HOST}, set())
    assert blocks(wide, up(to(2, NARROW), 2), up(to(3, HOST), 0)) == ({HOST}, set())


def test_a_spare_carries_what_its_preferred_tunnel_does_not() -> None:
    wide, down, spare = up(to(1, WIDE), 1), up(to(2, NARROW), 0), up(to(3, NARROW), 3)
    assert blocks(wide, down, spare) == (set(), set())
    assert blocks(wide, down, up(to(3, NARROW), 0)) == ({NARROW}, set())


def test_only_the_pairs_that_are_down_are_blocked() -> None:
    wide, partly = up(to(1, WIDE), 1), up(to(2, NARROW, "172.16.0.0/16"), 0)
    assert blocks(wide, partly) == ({NARROW}, set())
    assert blocks(wide, up(to(2, "172.16.0.0/16"), 0)) == (set(), set())
    assert precedence({}, frozenset({SelectorPair("10.1.0.0/24", NARROW)}), ()) == Precedence(
        frozenset({SelectorPair("10.1.0.0/24", NARROW)})
    )
