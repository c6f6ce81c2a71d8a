"""Successions: which connection each pair of selectors belongs to, in random sets of connections of one gateway."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.ipsec import succession
from linkspan.core.ipsec.selectors import SelectorPair, named_pairs, pairs
from linkspan.core.state.desired import Connection
from tests.core.samples import connection

_set = msgspec.structs.replace


def made(id: str, *cidrs: str, at: float = 0.0, **changes: Any) -> Connection:
    return connection(**{"id": id, "name": id, "peer_cidrs": cidrs, "created_at": at} | changes)


OLD = made("old", "10.8.0.0/24", "10.9.0.0/24", at=1.0)


@pytest.mark.parametrize(
    ("newer", "moved"),
    [
        (made("new", "10.9.0.0/24", at=2.0), {"10.9.0.0/24"}),
        (made("new", "10.8.0.0/15", at=2.0), {"10.8.0.0/24", "10.9.0.0/24"}),
        (made("new", "10.9.0.0/24", at=2.0, mtu=1300, peer_id="ipv4:198.51.100.2"), {"10.9.0.0/24"}),
        (made("new", "10.9.0.0/24", at=2.0, local_id="198.51.100.1"), {"10.9.0.0/24"}),
        # A more specific one takes its part without it: charon prefers that.
        (made("new", "10.9.0.128/25", at=2.0), set()),
        (made("new", "10.9.0.0/24", at=2.0, enabled=False), set()),
        (made("new", "10.9.0.0/24", at=2.0, fault="no key"), set()),
        (made("new", "10.9.0.0/24", at=0.5), set()),
        (made("new", "10.9.0.0/24", at=2.0, peer_address="198.51.100.9"), set()),
        (made("new", "10.9.0.0/24", at=2.0, peer_id="another"), set()),
        (made("new", "10.9.0.0/24", at=2.0, service_id="another"), set()),
        (made("new", "10.7.0.0/24", at=2.0), set()),
        # Equal times: the higher uuid.
        (made("zzz", "10.9.0.0/24", at=1.0), {"10.9.0.0/24"}),
        (made("aaa", "10.9.0.0/24", at=1.0), set()),
    ],
)
def test_what_a_newer_connection_takes(newer: Connection, moved: set[str]) -> None:
    found = succession.successors([OLD, newer]).get("old", {})
    assert {pair.remote for pair in found} == moved
    assert set(found.values()) <= {newer.id}


def test_two_connections_to_one_name_are_a_succession_whatever_it_resolves_to() -> None:
    older = made("old", "10.9.0.0/24", peer_name="vpn.example", peer_address="203.0.113.1")
    newer = made("new", "10.9.0.0/24", at=2.0, peer_address="VPN.example.")
    assert set(succession.successors([older, newer])) == {"old"}


NETWORKS = st.sampled_from(["10.8.0.0/24", "10.8.0.0/23", "10.9.0.0/24", "10.8.0.0/15", "fd08::/64"])
LOCAL = st.sampled_from([("10.1.0.0/24",), ("10.1.0.0/24", "10.3.0.0/24"), ("10.1.0.0/16", "fd01::/64")])
SOME = st.lists(
    st.builds(
        connection,
        id=st.sampled_from("abcdefgh"),
        created_at=st.sampled_from([1.0, 2.0, 3.0, 4.0]),
        enabled=st.sampled_from([True, True, True, False]),
        service_id=st.sampled_from(["s", "s", "t"]),
        peer_id=st.sampled_from(["you", "you", "other"]),
        local_cidrs=LOCAL,
        peer_cidrs=st.lists(NETWORKS, min_size=1, max_size=3, unique=True).map(tuple),
    ),
    unique_by=lambda entry: entry.id,
    max_size=6,
)


def carriers(connections: list[Connection]) -> dict[str, frozenset[SelectorPair]]:
    """The pairs that each enabled connection carries once all have come up."""
    moved = succession.successors(connections)
    after = [succession.with_pairs_taken(entry, moved.get(entry.id, {}), "moved") for entry in connections]
    return {entry.id: pairs(entry) for entry in after if entry.enabled}


@given(SOME)
def test_every_pair_is_carried_by_exactly_one_connection_the_newest_that_covers_it(
    connections: list[Connection],
) -> None:
    carried = carriers(connections)
    for entry in connections:
        for pair in named_pairs(entry) if entry.enabled else ():
            line = [
                other for other in connections if other.enabled and succession.line(other) == succession.line(entry)
            ]
            covering = [other for other in line if any(succession.covers(wide, pair) for wide in named_pairs(other))]
            newest = max(covering, key=succession.age)
            holders = {
                other.id for other in covering if any(succession.covers(w, pair) for w in carried.get(other.id, ()))
            }
            assert newest.id in holders
            assert (pair in carried.get(entry.id, frozenset())) == (newest is entry)


@given(SOME, st.data())
def test_removal_restores_and_the_order_does_not_matter(connections: list[Connection], data: st.DataObject) -> None:
    assert carriers(connections[::-1]) == carriers(connections)
    if connections:
        newest = max(connections, key=succession.age)
        rest = [entry for entry in connections if entry is not newest]
        disabled = [_set(entry, enabled=entry.enabled and entry is not newest) for entry in connections]
        assert carriers(rest) == carriers(disabled)
        edited = [_set(entry, revision=9, mtu=1300) for entry in connections]
        assert carriers(edited) == carriers(connections), "an edit changes nothing in the order"


@given(SOME)
def test_the_children_are_for_exactly_what_is_left(connections: list[Connection]) -> None:
    moved = succession.successors(connections)
    for entry in connections:
        left = succession.with_pairs_taken(entry, moved.get(entry.id, {}), "moved")
        if left.enabled:
            config = ipsec_config.build(left)
            assert {*ipsec_config.pairs_of(config)} == pairs(left)
            back = _set(left, local_cidrs=left.peer_cidrs, peer_cidrs=left.local_cidrs)
            far = ipsec_config.build(_set(back, superseded=tuple((right, left) for left, right in left.superseded)))
            near_sets = {(frozenset(child.local_ts), frozenset(child.remote_ts)) for child in config.children}
            assert near_sets == {(frozenset(child.remote_ts), frozenset(child.local_ts)) for child in far.children}


def test_what_is_superseded_is_told() -> None:
    newer, third = made("new", "10.9.0.0/24", at=2.0), made("third", "10.8.0.0/15", at=3.0)
    assert succession.supersedes(newer, [OLD]) == "supersedes old (old) for 1 of 2 pairs of networks once it is up"
    assert succession.supersedes(third, [OLD, newer]) == "supersedes old (old), new (new) once it is up"
    assert succession.supersedes(OLD, [OLD, newer]) == ""
    assert succession.wholly_superseded([OLD, newer, third]) == {"old", "new"}
    assert succession.wholly_superseded([OLD, newer]) == frozenset()
