"""Deltas and what they lead to: a node that follows is always where a new one would be."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.core.state import desired
from linkspan.core.state.desired import Connection, Delta, Gone, Mismatch, NodeState
from tests.core.samples import CONNECTION, GATEWAY, connection


class Log:
    """The API's side in a few lines: objects with stamps, and tombstones."""

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
def test_following_by_revision_equals_reading_everything(writes: list[tuple[str, int | None, bool]]) -> None:
    log, state = Log(), desired.EMPTY
    for id, mtu, read in writes:
        log.write(id, mtu)
        if read:
            state = desired.merge(state, log.delta(state.revision))
    state = desired.merge(state, log.delta(state.revision))
    assert state == desired.merge(desired.EMPTY, log.delta(0))
    assert state.connections == log.live


def test_a_snapshot_that_lacks_something_is_refused() -> None:
    log = Log()
    log.write("a", 1500)
    log.write("b", 1500)
    whole = log.delta(0)
    with pytest.raises(Mismatch, match="should have 2"):
        desired.merge(desired.EMPTY, msgspec.structs.replace(whole, connections=whole.connections[:1]))


def test_an_old_stamp_is_noticed_though_the_count_is_right() -> None:
    log = Log()
    log.write("a", 1500)
    state = desired.merge(desired.EMPTY, log.delta(0))
    log.write("a", 1400)
    with pytest.raises(Mismatch):
        desired.merge(state, msgspec.structs.replace(log.delta(1), connections=()))


def test_a_delta_from_elsewhere_is_refused() -> None:
    log = Log()
    log.write("a", 1500)
    log.write("a", 1400)
    with pytest.raises(Mismatch, match="starts at revision 1"):
        desired.merge(desired.EMPTY, log.delta(1))


def test_the_wire_form_keeps_everything_and_the_key() -> None:
    delta = Delta(
        since=0, revision=1, gateways=(GATEWAY,), connections=(CONNECTION,), gone=(), count=2, digest="whatever"
    )
    back = desired.decode(desired.encode(delta))
    assert back == delta
    assert back.connections[0].psk.reveal() == "correct horse"


def test_a_gateway_goes_by_its_tombstone() -> None:
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
