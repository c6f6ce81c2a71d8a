"""Dead peer detection of a gateway's worker, over fake drivers and a clock that the test moves."""

from __future__ import annotations

import time
from collections.abc import Iterator

import msgspec
import pytest

from linkspan.core.state.desired import Connection, Dpd, Gone
from linkspan.core.state.observed import Backend
from linkspan.core.tunnel.attempts import ATTEMPT
from linkspan.testing.fake_drivers import FakeDrivers
from linkspan.testing.fake_world import FakeWorld
from tests.agent.test_gateway_worker import LEFT, RIGHT, GatewayUnderTest, loaded_or_none
from tests.drivers.machine import connection, eventually
from tests.harness.databases import Clock

replace = msgspec.structs.replace
ENDS = ("203.0.113.1", "203.0.113.2")
PACKET = (LEFT.id, "10.1.0.7", "10.2.0.7")
TO_LEFT = replace(connection(2, 1), initiator="response-only", dpd=Dpd("disabled", 10, 30))
OTHER = "0000aaaa-e29b-41d4-a716-446655440000"


def to_right(action: str, timeout: int = 30, **changes: object) -> Connection:
    return connection(1, 2, dpd=Dpd(action, 10, timeout), **changes)  # type: ignore[arg-type]


class GatewayPair:
    """Two gateways. The left one has the connections under test, the right one responds."""

    def __init__(self, backend: Backend) -> None:
        self.world = FakeWorld()
        self.clock = Clock()
        self.left = GatewayUnderTest(FakeDrivers(self.world, backend=backend), LEFT, self.clock)
        self.right = GatewayUnderTest(FakeDrivers(self.world, backend=backend), RIGHT)

    def bring_up(self, *connections: Connection, responders: tuple[Connection, ...] = (TO_LEFT,)) -> None:
        self.right.set_desired(*responders)
        for responder in responders:
            self.right.wait(responder.id, "down")
        self.left.set_desired(*connections)
        for initiator in connections:
            self.left.wait(initiator.id, "up")

    def hold(self, initiator: Connection) -> None:
        """Bring a connection up and cut its peer off, until it waits for traffic."""
        self.bring_up(initiator)
        self.world.cut(*ENDS)
        self.clock.pass_(31)
        eventually(lambda: len(self.traps()) == 1)

    def sas(self) -> list[tuple[str, int]]:
        return [(sa.state, len(sa.children)) for sa in self.left.drivers.charon(LEFT).sas()]

    def unique_ids(self) -> set[int]:
        return {sa.unique_id for sa in self.left.drivers.charon(LEFT).sas()}

    def traps(self) -> frozenset[tuple[str, str]]:
        return self.left.drivers.charon(LEFT).traps()

    def wait_for_retry(self, id: str) -> None:
        """Move the clock until the connection is up, by the longest delay between attempts at most."""
        for _ in range(60):
            if self.left.state(id) == "up":
                return
            self.clock.pass_(1)
            time.sleep(0.05)
        assert self.left.state(id) == "up"


@pytest.fixture
def pair(request: pytest.FixtureRequest) -> Iterator[GatewayPair]:
    pair = GatewayPair(getattr(request, "param", "user-space"))
    yield pair
    pair.left.stop()
    pair.right.stop()


kernel = pytest.mark.parametrize("pair", ["kernel"], indirect=True)


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("action", ["restart", "clear", "restart-by-peer", "hold", "disabled"])
def test_each_dpd_action_against_a_dead_peer(pair: GatewayPair, action: str, version: str) -> None:
    policy = replace(TO_LEFT.ike, ike_version=version)
    initiator = to_right(action, ike=policy)
    pair.bring_up(initiator, responders=(replace(TO_LEFT, ike=policy),))
    before = pair.unique_ids()
    pair.world.cut(*ENDS)
    pair.clock.pass_(29)
    time.sleep(0.1)
    assert (pair.left.state(initiator.id), pair.unique_ids()) == ("up", before)
    pair.clock.pass_(2)
    if action == "disabled":
        pair.clock.pass_(1000)
        time.sleep(0.1)
        assert (pair.left.state(initiator.id), pair.unique_ids()) == ("up", before)
        return
    reason = pair.left.wait(initiator.id, "down").reason
    if action == "clear":
        # With the other actions the connection initiates at once, and that failure becomes the reason.
        assert "did not answer for 30 s" in reason
        pair.clock.pass_(1000)
        pair.world.heal(*ENDS)
        time.sleep(0.1)
        assert pair.sas() == []
        return
    eventually(lambda: pair.sas() == [("CONNECTING", 0)])
    pair.world.heal(*ENDS)
    pair.left.wait(initiator.id, "up")


@kernel
def test_hold_waits_for_traffic(pair: GatewayPair) -> None:
    initiator = to_right("hold")
    pair.hold(initiator)
    assert "waits for traffic" in pair.left.wait(initiator.id, "down").reason
    assert pair.sas() == []
    assert pair.world.send(*PACKET) == "dropped"
    assert pair.sas() == [("CONNECTING", 0)]
    eventually(lambda: bool(pair.left.worker._tunnels.by_id[initiator.id].attempt_ends_at))
    pair.clock.pass_(ATTEMPT - 1)
    time.sleep(0.1)
    assert pair.sas() == [("CONNECTING", 0)], "an attempt that traffic triggered has its full time"
    pair.clock.pass_(2)
    eventually(lambda: pair.sas() == [])
    assert len(pair.traps()) == 1
    pair.world.heal(*ENDS)
    pair.clock.pass_(1000)
    time.sleep(0.1)
    assert pair.sas() == [], "without traffic no attempt starts"
    assert pair.world.send(*PACKET) == "dropped"
    pair.left.wait(initiator.id, "up")
    eventually(lambda: pair.traps() == frozenset())
    assert pair.world.send(*PACKET) == "esp"


@kernel
@pytest.mark.parametrize(
    "change",
    [
        {"enabled": False},
        {"dpd": Dpd("clear", 10, 30)},
        {"initiator": "response-only"},
        {"peer_cidrs": ("10.4.0.0/24",)},
    ],
)
def test_an_edit_removes_the_trap(pair: GatewayPair, change: dict[str, object]) -> None:
    initiator = to_right("hold")
    pair.hold(initiator)
    pair.left.set_desired(replace(initiator, revision=2, **change))
    eventually(lambda: pair.traps() == frozenset())


@kernel
def test_the_trap_goes_with_its_connection(pair: GatewayPair) -> None:
    initiator = to_right("hold")
    pair.hold(initiator)
    pair.left.set_desired(gone=(Gone("connection", initiator.id, 9, LEFT.id),))
    pair.left.wait(initiator.id, "gone")
    assert pair.traps() == frozenset()


@kernel
def test_a_restarted_agent_removes_traps_and_initiates(pair: GatewayPair) -> None:
    initiator = to_right("hold")
    pair.hold(initiator)
    pair.left.stop()
    assert len(pair.traps()) == 1
    pair.world.heal(*ENDS)
    pair.left = GatewayUnderTest(FakeDrivers(pair.world, backend="kernel"), LEFT)
    pair.left.set_desired(initiator)
    pair.left.wait(initiator.id, "up")
    assert pair.traps() == frozenset()


@kernel
def test_hold_still_waits_for_traffic_after_charon_was_killed(pair: GatewayPair) -> None:
    pair.hold(to_right("hold"))
    pair.world.kill(LEFT.id)
    eventually(lambda: len(loaded_or_none(pair.left)) == 1)
    eventually(lambda: len(pair.traps()) == 1)
    assert pair.sas() == []


def sharing_an_ike_sa(
    action: str, timeout: int, other_action: str, other_timeout: int
) -> tuple[Connection, Connection, tuple[Connection, ...]]:
    """Two connections to one peer, which share their IKE SA, and the responding connections of the peer."""
    first = to_right(action, timeout)
    second = to_right(other_action, other_timeout, id=OTHER, peer_cidrs=("10.2.1.0/24",))
    responders = (TO_LEFT, replace(TO_LEFT, id="0000bbbb-e29b-41d4-a716-446655440000", local_cidrs=("10.2.1.0/24",)))
    return first, second, responders


def test_the_dpd_timeout_of_a_connection_leaves_another_in_its_ike_sa_up(pair: GatewayPair) -> None:
    hasty, patient, responders = sharing_an_ike_sa("restart", 30, "restart", 90)
    pair.bring_up(hasty, patient, responders=responders)
    assert pair.sas() == [("ESTABLISHED", 2)]
    before = pair.unique_ids()
    pair.world.cut(*ENDS)
    pair.clock.pass_(31)
    pair.left.wait(hasty.id, "down")
    assert (pair.left.state(patient.id), pair.unique_ids()) == ("up", before)
    pair.world.heal(*ENDS)
    pair.left.wait(hasty.id, "up")
    assert (pair.left.state(patient.id), pair.unique_ids()) == ("up", before)
    pair.world.cut(*ENDS)
    pair.clock.pass_(91)
    for initiator in (hasty, patient):
        pair.left.wait(initiator.id, "down")
    eventually(lambda: not pair.unique_ids() & before)
    pair.world.heal(*ENDS)
    for initiator in (hasty, patient):
        pair.wait_for_retry(initiator.id)


def test_restart_by_peer_restarts_the_other_connections_to_its_peer(pair: GatewayPair) -> None:
    first, second, responders = sharing_an_ike_sa("restart-by-peer", 30, "clear", 900)
    pair.bring_up(first, second, responders=responders)
    before = pair.unique_ids()
    pair.world.cut(*ENDS)
    pair.clock.pass_(31)
    for initiator in (first, second):
        pair.left.wait(initiator.id, "down")
    eventually(lambda: not pair.unique_ids() & before)
    pair.world.heal(*ENDS)
    for initiator in (first, second):
        pair.wait_for_retry(initiator.id)
