"""Overlaps between selectors of connections to different peers: which are equally specific, which lie in wider ones."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.core.ipsec import ends, overlaps
from linkspan.core.ipsec.selectors import SelectorPair, pairs
from linkspan.core.state.desired import Connection
from tests.core.samples import connection


def to(
    id: str, *cidrs: str, local: Sequence[str] = ("10.1.0.0/24",), peer: str = "", enabled: bool = True
) -> Connection:
    """A connection to a peer of its own."""
    address = peer or f"198.51.100.{ord(id)}"
    values = {"peer_address": address, "peer_id": address, "peer_cidrs": tuple(cidrs), "local_cidrs": tuple(local)}
    return connection(id=id, enabled=enabled, **values)


@pytest.mark.parametrize(
    ("one", "other", "rivals", "nested"),
    [
        (to("a", "10.9.0.0/24"), to("b", "10.9.0.0/24"), True, set()),
        (to("a", "10.9.0.0/24", "10.8.0.0/24"), to("b", "10.7.0.0/24", "10.8.0.0/24"), True, set()),
        (to("a", "fd09::/64", local=["fd01::/64"]), to("b", "fd09::/64", local=["fd01::/64"]), True, set()),
        (to("a", "0.0.0.0/0"), to("b", "0.0.0.0/0"), True, set()),
        # The bits of both sides count together.
        (to("a", "10.9.0.0/24", local=["10.1.0.0/16"]), to("b", "10.9.0.0/16"), True, set()),
        (to("a", "10.9.0.0/24"), to("b", "10.8.0.0/24"), False, set()),
        (to("a", "10.9.0.0/24"), to("b", "10.9.0.0/24", local=["10.2.0.0/24"]), False, set()),
        (to("a", "10.9.0.0/24"), to("b", "fd09::/64", local=["fd01::/64"]), False, set()),
        (to("a", "10.9.0.0/24"), to("b", "10.9.0.0/24", peer="198.51.100.97"), False, set()),
        (to("a", "10.9.0.0/24", enabled=False), to("b", "10.9.0.0/24"), False, set()),
        (to("a", "10.0.0.0/8"), to("b", "10.9.0.0/24"), False, {("10.1.0.0/24", "10.9.0.0/24")}),
        (to("a", "::/0", local=["fd01::/64"]), to("b", "fd09::/64", local=["fd01::/64"]), False,
         {("fd01::/64", "fd09::/64")}),
        (to("a", "10.9.0.0/24", local=["10.0.0.0/8"]), to("b", "10.9.0.0/24"), False, {("10.1.0.0/24", "10.9.0.0/24")}),
        # A tunnel that is disabled is down; one that carries nothing takes nothing away.
        (to("a", "10.0.0.0/8"), to("b", "10.9.0.0/24", enabled=False), False, {("10.1.0.0/24", "10.9.0.0/24")}),
        (to("a", "10.0.0.0/8", enabled=False), to("b", "10.9.0.0/24"), False, set()),
    ],
)  # fmt: skip
def test_which_overlaps_are_found(
    one: Connection, other: Connection, rivals: bool, nested: set[tuple[str, str]]
) -> None:
    for both in ((one, other), (other, one)):
        found = overlaps.find(both)
        assert found.rivals == ({"a": {"b"}, "b": {"a"}} if rivals else {})
        assert found.nested == {SelectorPair(*pair) for pair in nested}


NETWORKS = [
    "10.0.0.0/8",
    "10.8.0.0/13",
    "10.9.0.0/16",
    "10.9.0.0/24",
    "10.9.0.128/25",
    "10.9.0.7/32",
    "0.0.0.0/0",
    "::/0",
]
LOCALS = ["10.1.0.0/24", "10.1.0.0/16", "10.2.0.0/24", "fd01::/64"]


@given(
    st.lists(
        st.builds(
            to,
            st.sampled_from("abcdef"),
            st.sampled_from(NETWORKS),
            st.sampled_from(NETWORKS),
            local=st.lists(st.sampled_from(LOCALS), min_size=1, max_size=2),
            enabled=st.booleans(),
        ),
        max_size=6,
        unique_by=lambda entry: entry.id,
    )
)
def test_the_same_is_found_as_by_comparing_every_pair(connections: list[Connection]) -> None:
    rivals: set[tuple[str, str]] = set()
    nested: set[SelectorPair] = set()
    for one, other in itertools.permutations(connections, 2):
        assert ends.ends_of(one) != ends.ends_of(other)
        for pair, its_pair in itertools.product(pairs(one), pairs(other)):
            if overlaps.overlap(pair, its_pair) and one.enabled:
                if overlaps.specificity(pair) < overlaps.specificity(its_pair):
                    nested.add(its_pair)
                elif overlaps.specificity(pair) == overlaps.specificity(its_pair) and other.enabled:
                    rivals.add((one.id, other.id))
    found = overlaps.find(connections)
    assert {(one, other) for one, others in found.rivals.items() for other in others} == rivals
    assert found.nested == nested
