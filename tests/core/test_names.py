"""Which address a name stands for: IP versions, the one in use, and what a silent name server changes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.core import names, plan, rollout
from linkspan.core.names import Answer, Name
from tests.core.samples import connection

BOTH = ("198.51.100.1/24", "2001:db8:ff::1/64")
V4, V6 = BOTH[:1], BOTH[1:]
A, B, AAAA = "203.0.113.7", "203.0.113.8", "2001:db8::7"


def known(*found: str, address: str = "") -> Name:
    return names.heard(Name(text="vpn.example.org", address=address), Answer("vpn.example.org", found))


def test_names_are_compared_without_case_and_addresses_are_none() -> None:
    assert names.named(connection(peer_address="VPN.example.org")) == "vpn.example.org"
    assert names.named(connection(peer_address=A)) == names.named(connection(peer_address=AAAA)) == ""


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
    name = names.chosen(known(*found), own)
    assert name.address == address
    if not address:
        assert "addresses only, and the gateway has none of that version" in name.unresolved


@given(st.permutations([A, B, AAAA]), st.sampled_from([A, B]))
def test_the_address_in_use_stays_while_the_record_has_it(record: list[str], used: str) -> None:
    assert names.chosen(known(*record, address=used), BOTH).address == used


def test_it_moves_when_the_record_does_and_stays_when_nobody_answers() -> None:
    name = known(A, address=A)
    assert names.chosen(names.heard(name, Answer(name.text, (B,))), BOTH).address == B
    away = names.heard(name, Answer(name.text, error="no name server answers"))
    assert names.chosen(away, BOTH).address == A
    assert names.chosen(names.heard(name, Answer(name.text, (AAAA,))), V4).address == A


def test_an_adopted_address_is_good_until_an_answer_says_otherwise() -> None:
    name = Name(text="vpn.example.org", address=A)
    assert names.chosen(name, BOTH).address == A
    assert names.chosen(names.heard(name, Answer(name.text, error="nobody answers")), BOTH).address == A
    assert names.chosen(names.heard(name, Answer(name.text, (B,))), BOTH).address == B


def test_a_name_is_asked_for_at_once_then_regularly_and_sooner_while_something_is_down() -> None:
    name = Name(text="vpn.example.org")
    assert names.ask_at(name, calm=False) == 0.0
    name = names.asked(name, 100.0)
    assert names.ask_at(name, calm=True) == 100.0 + names.INTERVAL
    assert names.ask_at(name, calm=False) == 100.0 + names.SOON


def test_our_own_end_is_of_the_peers_version() -> None:
    one = connection(peer_address="vpn.example.org", local_address="198.51.100.1")
    there = names.placed(one, AAAA, BOTH)
    assert (there.peer_address, there.local_address) == (AAAA, "2001:db8:ff::1")
    here = names.placed(one, A, BOTH)
    assert (here.peer_address, here.local_address) == (A, "198.51.100.1")


def test_a_name_without_an_address_is_not_loaded_and_says_why() -> None:
    one = connection(peer_address="vpn.example.org")
    todo = plan.reconcile({}, {one.id: one}, (), {}, "user-space")
    assert (todo.load, todo.fresh, todo.keep) == ((), (), ())
    life, actions = rollout.step(todo.lives[one.id], rollout.Unresolved("it has no address"), 1.0)
    said = rollout.report(life, 1)
    assert said is not None
    assert (said.state, said.reason, actions) == ("down", "it has no address", ())
    off = plan.life(connection(peer_address="vpn.example.org", enabled=False), "user-space")
    assert rollout.report(off, 1).state == "disabled"  # type: ignore[union-attr]
