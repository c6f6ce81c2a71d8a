"""Connections whose ends turn out to be the same when the name of a peer is resolved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.core.ipsec.ends import ends_of
from linkspan.core.ipsec.selectors import selectors_overlap
from linkspan.core.secret import Secret
from linkspan.core.state.desired import Connection
from linkspan.core.tunnel import peer_conflicts
from linkspan.core.tunnel.peer_conflicts import PeerConflict
from tests.core.samples import connection, ikev1

NAME = "vpn.example.org"
BY_ADDRESS = connection(id="a")


def named(id: str = "n", name: str = NAME, **changes: Any) -> Connection:
    return connection(id=id, peer_name=name, **changes)


def find(*connections: Connection, in_use: Callable[[Connection], bool] = lambda _: False) -> dict[str, PeerConflict]:
    return peer_conflicts.find(connections, in_use, lambda entry: entry.auth_mode == "psk")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"psk": Secret("another"), "psk_ref": "another"},
        {"ike": ikev1()},
        {"peer_id": "ipv4:198.51.100.2"},
        {"local_id": "198.51.100.1"},
        {"peer_cidrs": ("10.9.0.0/24", "10.2.0.0/25")},
        {"initiator": "response-only"},
    ],
)
def test_the_one_with_an_address_is_in_use_and_both_say_so(changes: dict[str, Any]) -> None:
    conflicts = find(named(**changes), BY_ADDRESS)
    assert {id: conflict.held for id, conflict in conflicts.items()} == {"n": True, "a": False}
    for id, other in (("n", "a"), ("a", "n")):
        text = conflicts[id].text
        assert "the same peer and networks" in text
        assert f"connection {other}" in text
        assert f"{NAME} resolves to 198.51.100.2" in text


def test_the_one_that_runs_stays_in_use() -> None:
    conflicts = find(named(), BY_ADDRESS, in_use=lambda entry: entry.id == "n")
    assert {id: conflict.held for id, conflict in conflicts.items()} == {"a": True, "n": False}


def test_two_names_of_one_address() -> None:
    conflicts = find(
        named("1"), named("2", "gw.example.org"), named("3", "gw3.example.org", peer_cidrs=("10.9.0.0/24",))
    )
    assert {id: conflict.held for id, conflict in conflicts.items()} == {"1": False, "2": True}
    assert f"gw.example.org and {NAME} resolve to 198.51.100.2" in conflicts["1"].text


@pytest.mark.parametrize(
    "changes",
    [
        {"peer_cidrs": ("10.9.0.0/24",)},
        {"local_cidrs": ("10.3.0.0/24",)},
        {"peer_address": "198.51.100.9"},
        {"peer_id": "another"},
        {"local_id": "another"},
        {"local_address": "198.51.100.77"},
        {"enabled": False},
        {"auth_mode": "certs"},
    ],
    ids=str,
)
def test_others_are_no_conflict(changes: dict[str, Any]) -> None:
    assert find(named(**changes), BY_ADDRESS) == {}


def test_a_name_without_an_address_is_no_conflict() -> None:
    assert find(connection(id="n", peer_address=NAME), connection(id="m", peer_address=NAME), BY_ADDRESS) == {}


SOME = st.builds(
    connection,
    id=st.sampled_from("abcdef"),
    peer_name=st.sampled_from(["", NAME, "gw.example.org"]),
    peer_id=st.sampled_from(["gw", "GW", "other"]),
    peer_cidrs=st.sampled_from([("10.8.0.0/24",), ("10.8.0.0/23",), ("10.9.0.0/24",)]),
)


@given(st.lists(SOME, unique_by=lambda entry: entry.id), st.sets(st.sampled_from("abcdef")))
def test_what_is_in_use_never_overlaps_and_nothing_is_held_without_need(
    connections: list[Connection], running: set[str]
) -> None:
    conflicts = find(*connections, in_use=lambda entry: entry.id in running)
    used = [entry for entry in connections if not (entry.id in conflicts and conflicts[entry.id].held)]

    def meets(one: Connection, other: Connection) -> bool:
        same = ends_of(one) == ends_of(other) and selectors_overlap(one, other)
        return same and one.peer_name != other.peer_name

    assert not [one for one in used for other in used if meets(one, other)]
    for id, conflict in conflicts.items():
        (own,) = [entry for entry in connections if entry.id == id]
        if conflict.held:
            assert [other for other in used if meets(own, other)]
        else:
            assert own in used
    assert find(*connections[::-1], in_use=lambda entry: entry.id in running).keys() == conflicts.keys()
