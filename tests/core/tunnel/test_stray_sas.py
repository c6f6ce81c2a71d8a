"""Which of the listed SAs are strays, and when the IKE SA around a stray child has to go."""

from __future__ import annotations

import msgspec
import pytest

from linkspan.core.tunnel import stray_sas
from linkspan.core.tunnel.actions import DeleteChildSa, DeleteIkeSa
from linkspan.core.tunnel.sas import UNNAMED, ChildSa, IkeSa
from linkspan.core.tunnel.stray_sas import MEMORY, PATIENCE, REPEATS, UNDECIDED, Deletion, Needed, Requests
from tests.core.samples import child, sa

NEEDED = Needed(frozenset({"a.1"}), frozenset({"peer-a"}), spared=frozenset({"unknown"}))


def deletions(*sas: IkeSa, requests: Requests | None = None, now: float = 0.0) -> tuple[tuple[Deletion, ...], Requests]:
    return stray_sas.deletions(stray_sas.strays(sas, NEEDED), requests or {}, now)


def shared(*children: ChildSa) -> IkeSa:
    return sa("peer-a", child("a.1", number=1), *children, unique_id=9)


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        (shared(), ()),
        (sa("peer-b", child("a.1")), ()),
        (sa("peer-a"), ()),
        (sa(UNNAMED, state="CONNECTING"), ()),
        (shared(child("unknown.7", number=2)), ()),
        (shared(child("b.1", number=2)), (DeleteChildSa(2),)),
        (shared(child("a.0", number=2)), (DeleteChildSa(2),)),
        (shared(child("b.1", number=2, state="REKEYED")), (DeleteChildSa(2),)),
        (sa("peer-a", child("b.1")), (DeleteIkeSa(1),)),
        (sa("peer-b", child("b.1")), (DeleteIkeSa(1),)),
        (sa("peer-b", child("b.1"), state="DELETING"), (DeleteIkeSa(1),)),
        (sa("peer-b"), (DeleteIkeSa(1),)),
        (sa("peer-b", state="CONNECTING"), (DeleteIkeSa(1),)),
    ],
)
def test_what_is_not_needed_is_deleted_and_nothing_else(listed: IkeSa, expected: tuple[Deletion, ...]) -> None:
    assert deletions(listed)[0] == expected


def test_a_deletion_is_requested_once_and_a_silent_peer_loses_its_ike_sa() -> None:
    listed = shared(child("b.1", number=2))
    actions, requests = deletions(listed)
    assert actions == (DeleteChildSa(2),)
    assert deletions(listed, requests=requests, now=PATIENCE - 1) == ((), requests)
    assert deletions(listed, requests=requests, now=PATIENCE)[0] == (DeleteIkeSa(9),)


def test_a_peer_that_creates_it_again_and_again_loses_its_ike_sa() -> None:
    requests: Requests = {}
    for number in range(2, REPEATS + 1):
        actions, requests = deletions(shared(child("b.1", number=number)), requests=requests, now=number)
        assert actions == (DeleteChildSa(number),)
    once_more = shared(child("b.1", number=7))
    assert deletions(once_more, requests=requests, now=9.0)[0] == (DeleteIkeSa(9),)
    assert deletions(once_more, requests=requests, now=9.0 + MEMORY)[0] == (DeleteChildSa(7),)
    other = shared(child("c.1", number=8))
    assert deletions(other, requests=requests, now=9.0)[0] == (DeleteChildSa(8),), "each name counts by itself"


def test_several_that_are_found_together_do_not_cost_their_ike_sa() -> None:
    """As when an older connection ends: one of each end, and one that was rekeyed and is still listed."""
    together = tuple(child("b.1", number=number) for number in range(2, REPEATS + 3))
    actions, requests = deletions(shared(*together))
    assert actions == tuple(DeleteChildSa(each.unique_id) for each in together)
    assert deletions(shared(*together[1:]), requests=requests, now=1.0)[0] == ()


def test_an_ike_sa_of_which_only_deletions_are_left_does_not_wait_for_ever() -> None:
    listed = sa("peer-a", child("a.1", number=1, state="DELETING"), unique_id=9)
    actions, requests = deletions(listed)
    assert actions == ()
    assert deletions(listed, requests=requests, now=PATIENCE)[0] == (DeleteIkeSa(9),)


def test_an_ike_connection_that_leaves_stays_for_what_is_needed_and_for_nothing_else() -> None:
    carrying, bare = [sa("peer-b", child("a.1"))], [sa("peer-b")]
    assert stray_sas.is_retained(carrying, ["a.1"], NEEDED)
    assert stray_sas.is_retained(carrying, [], NEEDED)
    assert not stray_sas.is_retained(carrying, ["a.1", "b.1"], NEEDED), "the peer could create what has to go"
    assert not stray_sas.is_retained(bare, ["a.1"], NEEDED)
    assert not stray_sas.is_retained([], ["a.1"], NEEDED)


def test_an_ike_sa_that_waits_for_the_answer_to_its_authentication_stays_for_a_while() -> None:
    """The peer may have it, and would not learn of its end."""
    half = msgspec.structs.replace(sa("peer-b", state="CONNECTING", unique_id=9), answered=True)
    found = stray_sas.strays((half,), NEEDED)
    actions, requests = stray_sas.deletions(found, {}, 0.0)
    assert actions == ()
    assert stray_sas.awaits_answer(found, requests, UNDECIDED - 0.1)
    assert not stray_sas.awaits_answer(found, requests, UNDECIDED)
    assert stray_sas.deletions(found, requests, UNDECIDED - 0.1) == ((), requests)
    assert stray_sas.deletions(found, requests, UNDECIDED)[0] == (DeleteIkeSa(9),)
    established = msgspec.structs.replace(half, state="ESTABLISHED")
    assert deletions(established, requests=requests, now=0.1)[0] == (DeleteIkeSa(9),)


@pytest.mark.parametrize("changes", [{"answered": False}, {"initiator": False}], ids=["unanswered", "the peer's"])
def test_other_ike_sas_that_are_negotiated_do_not_stay(changes: dict[str, bool]) -> None:
    half = msgspec.structs.replace(sa("peer-b", state="CONNECTING", unique_id=9), answered=True)
    found = stray_sas.strays((msgspec.structs.replace(half, **changes),), NEEDED)
    actions, requests = stray_sas.deletions(found, {}, 0.0)
    assert actions == (DeleteIkeSa(9),)
    assert not stray_sas.awaits_answer(found, requests, 0.0)
