"""IKEv1 cannot choose between private keys of one local identity."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from linkspan.core.ipsec import local_keys
from linkspan.core.state.desired import Connection
from tests.core.samples import CONNECTION, certified, ikev1

A, B = ("aaaaaaaa" + CONNECTION.id[8:], "bbbbbbbb" + CONNECTION.id[8:])
_set = msgspec.structs.replace


def pair(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Connection]:
    """Two connections of IKEv1 with different keys, with these changes."""
    base = {"ike": ikev1()}
    one = _set(certified(key_id="a" * 40), id=A, created_at=1.0, **(base | first))
    other = _set(certified(key_id="b" * 40), id=B, created_at=2.0, **(base | second))
    return {A: one, B: other}


@pytest.mark.parametrize(
    ("first", "second", "in_use", "faulty"),
    [
        ({}, {}, (), {B}),
        ({}, {}, (B,), {A}),
        ({}, {"ike": CONNECTION.ike}, (), {A}),
        ({"ike": CONNECTION.ike}, {"ike": CONNECTION.ike}, (), set()),
        ({}, {"local_id": "other.example.org"}, (), set()),
        ({"enabled": False}, {}, (), set()),
        ({}, {"certificates": certified(key_id="a" * 40).certificates}, (), set()),
    ],
)
def test_of_two_keys_one_is_loaded(
    first: dict[str, Any], second: dict[str, Any], in_use: tuple[str, ...], faulty: set[str]
) -> None:
    connections = pair(first, second)
    after = local_keys.with_faults(connections, in_use)
    assert {id for id, each in after.items() if each.fault} == faulty
    assert all(after[id] is connections[id] for id in after.keys() - faulty)
