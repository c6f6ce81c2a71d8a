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
        since=0, revision=1, gateways=(GATEWAY,), connections=(CONNECTION,), gone=(), count=2, digest="0" * 64
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


# --- what a message can contain -----------------------------------------------------------------------------------

GOOD = Delta(
    since=0,
    revision=1,
    gateways=(GATEWAY,),
    connections=(CONNECTION,),
    gone=(Gone("connection", CONNECTION.id, 1, GATEWAY.id),),
    count=2,
    digest="0" * 64,
)
BAD_IDS = (
    "../../../etc",
    "",
    "x",
    "a/b",
    CONNECTION.id.upper(),
    f"{CONNECTION.id}\n",
    f"{CONNECTION.id}/..",
    ".",
    "\x00",
)
BAD: dict[str, tuple[object, ...]] = {
    "gateways.id": BAD_IDS,
    "gateways.revision": (-1, 2**64, "1"),
    "gateways.generation": (-1, 2**64),
    "gateways.outside.network_id": ("..", "a" * 300),
    "gateways.outside.network_name": ("n" * 256,),
    "gateways.outside.mac_address": ("fa:16", "x" * 17, "fa:16:3e:00:00:01\n"),
    "gateways.outside.addresses": (
        ["2001:db8::2%a/64"],
        ["2001:db8::2"],
        ["2001:DB8::2/64"],
        ["198.51.100.1/33"],
        ["rubbish"],
        ["::ffff:198.51.100.1/120"],
        [""],
    ),
    "gateways.outside.next_hops": (["198.51.100.254/24"], ["fe80::1%eth0"], ["; rm"], [""]),
    "gateways.inside.network_id": ("..", ""),
    "gateways.inside.addresses": (["fd00::1%a/64"], ["10.1.0.1"], ["10.1.0.01/24"]),
    "connections.id": BAD_IDS,
    "connections.gateway_id": BAD_IDS,
    "connections.local_address": ("198.51.100.1/24", "2001:db8::2%a", "rubbish"),
    "connections.peer_address": ("", "a b", "x" * 254, "198.51.100.2\n", "a;b", "2001:db8::2%a"),
    "connections.peer_id": ("x" * 256,),
    "connections.local_id": ("x" * 256,),
    "connections.local_cidrs": (["10.1.0.0"], ["fd00::%a/64"], ["rubbish"]),
    "connections.peer_cidrs": (["10.1.0.0/33"], ["0.0.0.0/0 accept"]),
    "connections.mtu": (2**40, "1500"),
    "connections.psk": ("x" * 8193, 7, None),
    "connections.psk_from": ("x",),
    "connections.fault": ("x" * 1001,),
    "connections.ike.encryption_algorithm": ("aes 128", "x" * 33, "aes-128\n", "AES"),
    "connections.ike.lifetime": (-1, 2**64),
    "connections.ike.ike_version": ("v3",),
    "connections.dpd.timeout": (-1,),
    "connections.dpd.action": ("explode",),
    "gone.id": BAD_IDS,
    "gone.gateway_id": BAD_IDS,
    "gone.kind": ("node",),
    "digest": ("", "0" * 63, "g" * 64),
    "count": (-1,),
    "revision": (-1, 2**70),
}


@pytest.mark.parametrize(("place", "value"), [(place, value) for place, values in BAD.items() for value in values])
def test_what_the_api_sends_is_typed_at_decoding(place: str, value: object) -> None:
    assert desired.decode(desired.encode(GOOD)) == GOOD
    message = msgspec.json.decode(desired.encode(GOOD))
    inner, *names = message, *place.split(".")
    for name in names[:-1]:
        inner = inner[name]
        inner = inner[0] if isinstance(inner, list) else inner
    assert names[-1] in inner
    inner[names[-1]] = value
    with pytest.raises(msgspec.DecodeError):
        desired.decode(msgspec.json.encode(message))


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", b"", b"7", b"\xff"]
)
def test_what_is_no_delta_is_refused(body: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        desired.decode(body)
