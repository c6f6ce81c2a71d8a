"""The key in use of connections that cannot have one each: exactly one, the one written last."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from linkspan.core.ipsec import shared_keys
from linkspan.core.secret import Secret
from linkspan.core.state.desired import Connection
from tests.core.samples import connection, ikev1

OLD, NEW = {"psk": Secret("old"), "psk_ref": "old"}, {"psk": Secret("new"), "psk_ref": "new", "psk_written_at": 5.0}


def used(*connections: Connection) -> dict[str, tuple[str, str, str]]:
    """Key, its reference and where it is from, by connection."""
    by_id = {entry.id: entry for entry in connections}
    return {
        id: (entry.psk.reveal(), entry.psk_ref, entry.psk_from)
        for id, entry in shared_keys.with_keys_in_use(by_id).items()
    }


def test_the_key_written_last_is_used_for_both_in_either_order() -> None:
    for first, second in (("a", "b"), ("b", "a")):
        rotated, earlier = connection(id=first, **NEW), connection(id=second, **OLD)
        assert used(rotated, earlier) == {first: ("new", "new", ""), second: ("new", "new", first)}
        both = connection(id=second, **NEW | {"psk_written_at": 6.0})
        assert used(rotated, both) == {first: ("new", "new", ""), second: ("new", "new", "")}


def test_connections_with_nothing_in_common_keep_their_keys() -> None:
    strangers: list[dict[str, Any]] = [
        {"peer_id": "you"},
        {"local_id": "me"},
        {"peer_id": "you", "ike": ikev1()},
        {"enabled": False},
        {"auth_mode": "certs"},
    ]
    for changes in strangers:
        assert used(connection(id="a", **OLD | changes), connection(id="b", **NEW))["a"] == ("old", "old", "")
        assert used(connection(id="a", **NEW | changes), connection(id="b", **OLD))["b"] == ("old", "old", "")


def test_spelling_does_not_matter() -> None:
    for one, other in (("GW.example.org", "gw.EXAMPLE.org"), ("2001:DB8::1", "2001:db8:0::1"), ("@gw", "gw")):
        assert used(connection(id="a", peer_id=one, **OLD), connection(id="b", peer_id=other, **NEW))["a"][2] == "b"


def test_main_mode_finds_a_key_by_addresses_also_through_a_third_connection() -> None:
    one, two = connection(id="a", ike=ikev1(), **OLD), connection(id="b", ike=ikev1(), peer_id="you", **NEW)
    assert used(one, two)["a"] == ("new", "new", "b")
    aggressive = ikev1(phase1_negotiation_mode="aggressive")
    assert used(connection(id="a", ike=aggressive, **OLD), two)["a"] == ("old", "old", "")
    third = connection(id="c", peer_address="203.0.113.9", peer_id="you", **OLD)
    assert {entry[:2] for entry in used(one, two, third).values()} == {("new", "new")}


@given(
    st.lists(
        st.builds(
            connection,
            id=st.uuids().map(str),
            peer_id=st.sampled_from(["you", "they", "198.51.100.2"]),
            peer_address=st.sampled_from(["198.51.100.2", "198.51.100.3"]),
            ike=st.sampled_from([ikev1(), ikev1(phase1_negotiation_mode="aggressive"), connection().ike]),
            psk=st.sampled_from(["one", "two", "three"]).map(Secret),
            psk_written_at=st.floats(0, 9),
            enabled=st.booleans(),
        ),
        max_size=7,
        unique_by=lambda entry: entry.id,
    ),
    st.randoms(),
)
def test_charon_never_holds_two_keys_for_two_ends(connections: list[Connection], random: Any) -> None:
    result = shared_keys.with_keys_in_use({entry.id: entry for entry in connections})
    enabled = [entry for entry in connections if entry.enabled]
    for one, other in itertools.combinations(enabled, 2):
        if shared_keys.share(one, other):
            assert result[one.id].psk == result[other.id].psk
    for entry in connections:
        source = result[result[entry.id].psk_from or entry.id]
        assert (result[entry.id].psk, source.psk_from) == (source.psk, "")
        assert source.psk_written_at >= entry.psk_written_at
    random.shuffle(connections)
    assert shared_keys.with_keys_in_use({entry.id: entry for entry in connections}) == result
