"""Of several equal IKE SAs both ends keep the same one, and one that is alive."""

from __future__ import annotations

import msgspec
import pytest

from linkspan.core.tunnel import duplicate_sas
from linkspan.core.tunnel.actions import DeleteChildSa, DeleteIkeSa
from linkspan.core.tunnel.sas import IkeSa
from tests.core.samples import child, sa

UP = frozenset({"a"})


def one(number: int, age: int, initiator: bool, lower: bool = True) -> IkeSa:
    ends = ("198.51.100.1", "198.51.100.2") if lower else ("198.51.100.2", "198.51.100.1")
    made = sa("peer", child("a"), unique_id=number, initiator=initiator)
    return msgspec.structs.replace(made, age=age, local_address=ends[0], remote_address=ends[1])


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("late", [True, False])
@pytest.mark.parametrize("initiated", [True, False])
def test_whoever_initiates_again_has_lost_the_previous_one(lower: bool, late: bool, initiated: bool) -> None:
    """Whichever end made the old one: a peer whose charon died knows only the new one."""
    for older in (True, False):
        sas = [one(1, 60, older, lower), one(2, 0, initiated, lower)]
        assert duplicate_sas.redundant_ike_sas(sas, UP, late) == (DeleteIkeSa(1),)


def test_of_two_initiated_simultaneously_both_ends_keep_what_the_lower_address_initiated() -> None:
    at_lower = [one(1, 1, True), one(2, 0, False)]
    at_higher = [one(7, 1, True, lower=False), one(8, 0, False, lower=False)]
    assert duplicate_sas.redundant_ike_sas(at_lower, UP, late=False) == (DeleteIkeSa(2),)
    assert duplicate_sas.redundant_ike_sas(at_higher, UP, late=False) == ()


def test_an_end_never_deletes_what_it_has_initiated_simultaneously() -> None:
    """The other one may be dead: its initiator's charon forgets it for INITIAL_CONTACT, and sends no delete."""
    at_higher = [one(7, 1, True, lower=False), one(8, 0, False, lower=False)]
    assert duplicate_sas.redundant_ike_sas(at_higher, UP, late=True) == (DeleteIkeSa(8),)


def test_an_ike_sa_that_carries_others_loses_the_child_alone() -> None:
    shared = msgspec.structs.replace(one(1, 60, True), children=(child("a", number=5), child("b", number=6)))
    assert duplicate_sas.redundant_ike_sas([shared, one(2, 0, False)], UP, late=False) == (DeleteChildSa(5),)
