"""The address of a name: IP versions, the one in use, and a silent name server."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.core.tunnel import events, lifecycle, peer_names, reconcile, reports
from linkspan.core.tunnel.peer_names import PeerName, Resolution
from tests.core.samples import connection

BOTH = ("198.51.100.1/24", "2001:db8:ff::1/64")
V4, V6 = BOTH[:1], BOTH[1:]
A, B, AAAA = "203.0.113.7", "203.0.113.8", "2001:db8::7"


def known(*found: str, address: str = "") -> PeerName:
    return peer_names.with_resolution(
        PeerName(text="vpn.example.org", address=address), Resolution("vpn.example.org", found)
    )


def test_names_are_compared_without_case_and_addresses_are_none() -> None:
    for text in ("vpn.example.org", "VPN.example.org", "vpn.example.org."):
        assert peer_names.peer_name_of(connection(peer_address=text)) == "vpn.example.org"
    assert (
        peer_names.peer_name_of(connection(peer_address=A))
        == peer_names.peer_name_of(connection(peer_address=AAAA))
        == ""
    )


@pytest.mark.parametrize(
    ("found", "own", "address"),
    [
        ((A,), BOTH, A),
        ((AAAA, A), BOTH, A),
        ((AAAA,), BOTH, AAAA),
        ((A, AAAA), V6, AAAA),
        ((AAAA, B, A), V4, B),
        ((AAAA,), V4, ""),
        ((A,), V6, ""),
    ],
)
def test_the_first_address_of_a_version_that_the_gateway_has(
    found: tuple[str, ...], own: tuple[str, ...], address: str
) -> None:
    name = peer_names.choose_address(known(*found), own)
    assert name.address == address
    if not address:
        assert "addresses only, and the gateway has none of that version" in name.unresolved


@pytest.mark.parametrize(
    ("record", "error"),
    [
        (("127.0.0.1",), "127.0.0.1 is a loopback address"),
        (("::1",), "::1 is the loopback address"),
        (("169.254.1.1", "127.0.0.1"), "link-local"),
        (("::ffff:203.0.113.5",), "IPv4-mapped"),
        ((ipaddress.ip_interface(V4[0]).ip.exploded,), "the gateway's own"),
    ],
)
def test_an_address_that_no_peer_can_have_is_not_used(record: tuple[str, ...], error: str) -> None:
    name = peer_names.choose_address(known(*record), BOTH)
    assert name.address == ""
    assert error in name.unresolved
    assert peer_names.choose_address(known(*record, A), BOTH).address == A
    assert peer_names.choose_address(known(*record, address=B), BOTH).address == B


@given(st.permutations([A, B, AAAA]), st.sampled_from([A, B]))
def test_the_address_in_use_stays_while_the_record_has_it(record: list[str], used: str) -> None:
    assert peer_names.choose_address(known(*record, address=used), BOTH).address == used


def test_it_moves_when_the_record_does_and_stays_when_nobody_answers() -> None:
    name = known(A, address=A)
    assert peer_names.choose_address(peer_names.with_resolution(name, Resolution(name.text, (B,))), BOTH).address == B
    away = peer_names.with_resolution(name, Resolution(name.text, error="no name server answers"))
    assert peer_names.choose_address(away, BOTH).address == A
    assert peer_names.choose_address(peer_names.with_resolution(name, Resolution(name.text, (AAAA,))), V4).address == A


def test_an_adopted_address_is_good_until_an_answer_says_otherwise() -> None:
    name = PeerName(text="vpn.example.org", address=A)
    assert peer_names.choose_address(name, BOTH).address == A
    assert (
        peer_names.choose_address(
            peer_names.with_resolution(name, Resolution(name.text, error="nobody answers")), BOTH
        ).address
        == A
    )
    assert peer_names.choose_address(peer_names.with_resolution(name, Resolution(name.text, (B,))), BOTH).address == B


def test_a_name_is_asked_for_at_once_then_regularly_and_sooner_while_something_is_down() -> None:
    name = PeerName(text="vpn.example.org")
    assert peer_names.next_query_at(name, all_up=False) == 0.0
    name = peer_names.query_sent(name, 100.0)
    assert peer_names.next_query_at(name, all_up=True) == 100.0 + peer_names.INTERVAL
    assert peer_names.next_query_at(name, all_up=False) == 100.0 + peer_names.SOON


def test_our_own_end_is_of_the_peers_version() -> None:
    one = connection(peer_address="vpn.example.org", local_address="198.51.100.1")
    there = peer_names.with_address(one, AAAA, BOTH)
    assert (there.peer_address, there.local_address) == (AAAA, "2001:db8:ff::1")
    here = peer_names.with_address(one, A, BOTH)
    assert (here.peer_address, here.local_address) == (A, "198.51.100.1")


def test_a_name_without_an_address_is_not_loaded_and_says_why() -> None:
    one = connection(peer_address="vpn.example.org")
    todo = reconcile.reconcile({}, {one.id: one}, (), {}, "user-space")
    assert (todo.load, todo.fresh, todo.keep) == ((), (), ())
    tunnel, actions = lifecycle.step(todo.tunnels[one.id], events.Unresolved("it has no address"), 1.0)
    said = reports.report(tunnel, 1)
    assert said is not None
    assert (said.state, said.reason, actions) == ("down", "it has no address", ())
    off = reconcile.tunnel_for(connection(peer_address="vpn.example.org", enabled=False), "user-space")
    assert reports.report(off, 1).state == "disabled"  # type: ignore[union-attr]
