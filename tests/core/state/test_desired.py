"""Deltas: a node that applies deltas has the same state as a node that reads everything."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.core.state import desired
from linkspan.core.state.desired import Connection, Delta, Gone, Mismatch, NodeState
from tests.core.samples import CONNECTION, GATEWAY, connection


class ModelApi:
    """A model of the API: stamped objects, and tombstones."""

    def __init__(self) -> None:
        self.revision = 0
        self.live: dict[str, Connection] = {}
        self.dead: dict[str, int] = {}

    def write(self, id: str, mtu: int | None) -> None:
        self.revision += 1
        if mtu is not None:
            self.live[id] = connection(id=id, mtu=mtu, revision=self.revision)
            self.dead.pop(id, None)
        elif id in self.live:
            del self.live[id]
            self.dead[id] = self.revision

    def delta(self, since: int) -> Delta:
        return Delta(
            since=since,
            revision=self.revision,
            gateways=(),
            connections=tuple(item for item in self.live.values() if item.revision > since),
            gone=tuple(Gone("connection", id, number, "g") for id, number in self.dead.items() if number > since),
            count=len(self.live),
            digest=desired.digest(("connection", item.id, item.revision) for item in self.live.values()),
        )


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.none() | st.integers(68, 9216), st.booleans()), max_size=30))
def test_applying_deltas_equals_reading_everything(writes: list[tuple[str, int | None, bool]]) -> None:
    api, state = ModelApi(), desired.EMPTY
    for id, mtu, read in writes:
        api.write(id, mtu)
        if read:
            state = desired.merge(state, api.delta(state.revision))
    state = desired.merge(state, api.delta(state.revision))
    assert state == desired.merge(desired.EMPTY, api.delta(0))
    assert state.connections == api.live


def test_a_full_delta_with_a_missing_object_is_refused() -> None:
    api = ModelApi()
    api.write("a", 1500)
    api.write("b", 1500)
    full = api.delta(0)
    with pytest.raises(Mismatch, match="should have 2"):
        desired.merge(desired.EMPTY, msgspec.structs.replace(full, connections=full.connections[:1]))


def test_an_outdated_object_is_detected_by_the_digest() -> None:
    api = ModelApi()
    api.write("a", 1500)
    state = desired.merge(desired.EMPTY, api.delta(0))
    api.write("a", 1400)
    with pytest.raises(Mismatch):
        desired.merge(state, msgspec.structs.replace(api.delta(1), connections=()))


def test_a_delta_from_another_revision_is_refused() -> None:
    api = ModelApi()
    api.write("a", 1500)
    api.write("a", 1400)
    with pytest.raises(Mismatch, match="starts at revision 1"):
        desired.merge(desired.EMPTY, api.delta(1))


def test_encoding_keeps_everything_with_the_key() -> None:
    delta = Delta(
        since=0, revision=1, gateways=(GATEWAY,), connections=(CONNECTION,), gone=(), count=2, digest="whatever"
    )
    decoded = desired.decode(desired.encode(delta))
    assert decoded == delta
    assert decoded.connections[0].psk.reveal() == "correct horse"


def test_a_tombstone_removes_a_gateway() -> None:
    state = NodeState(1, {GATEWAY.id: GATEWAY}, {})
    delta = Delta(
        since=1,
        revision=2,
        gateways=(),
        connections=(),
        gone=(Gone("gateway", GATEWAY.id, 2, GATEWAY.id),),
        count=0,
        digest=desired.digest(()),
    )
    assert desired.merge(state, delta).gateways == {}
