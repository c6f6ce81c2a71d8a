"""A gateway's worker whose peers die, over fakes and a clock that the test moves."""

from __future__ import annotations

import time
from collections.abc import Iterator

import msgspec
import pytest

from linkspan.core.state.desired import Connection, Dpd, Gone
from linkspan.core.state.observed import Backend
from linkspan.core.tunnel.lifecycle import ATTEMPT
from linkspan.testing.fake_drivers import FakeDrivers
from linkspan.testing.fake_world import FakeWorld
from tests.agent.test_gateway_worker import LEFT, RIGHT, Site, loaded_or_none
from tests.drivers.machine import connection, eventually
from tests.harness.databases import Clock

replace = msgspec.structs.replace
ENDS = ("203.0.113.1", "203.0.113.2")
PACKET = (LEFT.id, "10.1.0.7", "10.2.0.7")
BACK = replace(connection(2, 1), initiator="response-only", dpd=Dpd("disabled", 10, 30))
OTHER = "0000aaaa-e29b-41d4-a716-446655440000"


def there(action: str, timeout: int = 30, **changes: object) -> Connection:
    return connection(1, 2, dpd=Dpd(action, 10, timeout), **changes)  # type: ignore[arg-type]


class Pair:
    """Two gateways; the left one has this test's connections, the right one answers them."""

    def __init__(self, backend: Backend) -> None:
        self.world = FakeWorld()
        self.clock = Clock()
        self.left = Site(FakeDrivers(self.world, backend=backend), LEFT, self.clock)
        self.right = Site(FakeDrivers(self.world, backend=backend), RIGHT)

    def up(self, *connections: Connection, back: tuple[Connection, ...] = (BACK,)) -> None:
        self.right.want(*back)
        for one in back:
            self.right.wait(one.id, "down")
        self.left.want(*connections)
        for one in connections:
            self.left.wait(one.id, "up")

    def held(self, mine: Connection) -> None:
        """Up, then dead, then waiting for traffic."""
        self.up(mine)
        self.world.cut(*ENDS)
        self.clock.pass_(31)
        eventually(lambda: len(self.traps()) == 1)

    def sas(self) -> list[tuple[str, int]]:
        return [(sa.state, len(sa.children)) for sa in self.left.drivers.charon(LEFT).sas()]

    def numbers(self) -> set[int]:
        return {sa.unique_id for sa in self.left.drivers.charon(LEFT).sas()}

    def traps(self) -> frozenset[tuple[str, str]]:
        return self.left.drivers.charon(LEFT).traps()

    def comes_up(self, id: str) -> None:
        """Within the time that waiting to try again takes at most."""
        for _ in range(60):
            if self.left.state(id) == "up":
                return
            self.clock.pass_(1)
            time.sleep(0.05)
        assert self.left.state(id) == "up"


@pytest.fixture
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    pair = Pair(getattr(request, "param", "user-space"))
    yield pair
    pair.left.leave()
    pair.right.leave()


kernel = pytest.mark.parametrize("pair", ["kernel"], indirect=True)


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("action", ["restart", "clear", "restart-by-peer", "hold", "disabled"])
def test_every_action(pair: Pair, action: str, version: str) -> None:
    policy = replace(BACK.ike, ike_version=version)
    mine = there(action, ike=policy)
    pair.up(mine, back=(replace(BACK, ike=policy),))
    before = pair.numbers()
    pair.world.cut(*ENDS)
    pair.clock.pass_(29)
    time.sleep(0.1)
    assert (pair.left.state(mine.id), pair.numbers()) == ("up", before)
    pair.clock.pass_(2)
    if action == "disabled":
        pair.clock.pass_(1000)
        time.sleep(0.1)
        assert (pair.left.state(mine.id), pair.numbers()) == ("up", before)
        return
    reason = pair.left.wait(mine.id, "down").reason
    if action == "clear":
        # The others begin anew, and the fake's silent peer is a newer cause at once.
        assert "no sign of life for 30 s" in reason
        pair.clock.pass_(1000)
        pair.world.heal(*ENDS)
        time.sleep(0.1)
        assert pair.sas() == []
        return
    eventually(lambda: pair.sas() == [("CONNECTING", 0)])
    pair.world.heal(*ENDS)
    pair.left.wait(mine.id, "up")


@kernel
def test_hold_waits_for_traffic(pair: Pair) -> None:
    mine = there("hold")
    pair.held(mine)
    assert "waits for traffic" in pair.left.wait(mine.id, "down").reason
    assert pair.sas() == []
    assert pair.world.send(*PACKET) == "dropped"
    assert pair.sas() == [("CONNECTING", 0)]
    eventually(lambda: bool(pair.left.worker._tunnels.by_id[mine.id].attempt_until))
    pair.clock.pass_(ATTEMPT - 1)
    time.sleep(0.1)
    assert pair.sas() == [("CONNECTING", 0)], "an attempt that traffic began has its time"
    pair.clock.pass_(2)
    eventually(lambda: pair.sas() == [])
    assert len(pair.traps()) == 1
    pair.world.heal(*ENDS)
    pair.clock.pass_(1000)
    time.sleep(0.1)
    assert pair.sas() == [], "without traffic nothing begins"
    assert pair.world.send(*PACKET) == "dropped"
    pair.left.wait(mine.id, "up")
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
def test_a_trap_goes_with_an_edit(pair: Pair, change: dict[str, object]) -> None:
    mine = there("hold")
    pair.held(mine)
    pair.left.want(replace(mine, revision=2, **change))
    eventually(lambda: pair.traps() == frozenset())


@kernel
def test_a_trap_goes_with_its_connection(pair: Pair) -> None:
    mine = there("hold")
    pair.held(mine)
    pair.left.want(gone=(Gone("connection", mine.id, 9, LEFT.id),))
    pair.left.wait(mine.id, "gone")
    assert pair.traps() == frozenset()


@kernel
def test_an_agent_that_starts_anew_takes_traps_back_and_tries(pair: Pair) -> None:
    mine = there("hold")
    pair.held(mine)
    pair.left.leave()
    assert len(pair.traps()) == 1
    pair.world.heal(*ENDS)
    pair.left = Site(FakeDrivers(pair.world, backend="kernel"), LEFT)
    pair.left.want(mine)
    pair.left.wait(mine.id, "up")
    assert pair.traps() == frozenset()


@kernel
def test_hold_goes_on_after_its_charon_was_killed(pair: Pair) -> None:
    pair.held(there("hold"))
    pair.world.kill(LEFT.id)
    eventually(lambda: len(loaded_or_none(pair.left)) == 1)
    eventually(lambda: len(pair.traps()) == 1)
    assert pair.sas() == []


def two(one: str, timeout: int, other: str, later: int) -> tuple[Connection, Connection, tuple[Connection, ...]]:
    """Two connections to one peer, which share their IKE SA, and what answers them."""
    first = there(one, timeout)
    second = there(other, later, id=OTHER, peer_cidrs=("10.2.1.0/24",))
    back = (BACK, replace(BACK, id="0000bbbb-e29b-41d4-a716-446655440000", local_cidrs=("10.2.1.0/24",)))
    return first, second, back


def test_the_deadline_of_one_is_no_harm_to_another_in_its_ike_sa(pair: Pair) -> None:
    hasty, patient, back = two("restart", 30, "restart", 90)
    pair.up(hasty, patient, back=back)
    assert pair.sas() == [("ESTABLISHED", 2)]
    before = pair.numbers()
    pair.world.cut(*ENDS)
    pair.clock.pass_(31)
    pair.left.wait(hasty.id, "down")
    assert (pair.left.state(patient.id), pair.numbers()) == ("up", before)
    pair.world.heal(*ENDS)
    pair.left.wait(hasty.id, "up")
    assert (pair.left.state(patient.id), pair.numbers()) == ("up", before)
    pair.world.cut(*ENDS)
    pair.clock.pass_(91)
    for one in (hasty, patient):
        pair.left.wait(one.id, "down")
    eventually(lambda: not pair.numbers() & before)
    pair.world.heal(*ENDS)
    for one in (hasty, patient):
        pair.comes_up(one.id)


def test_restart_by_peer_takes_along_the_other_connections_to_its_peer(pair: Pair) -> None:
    first, second, back = two("restart-by-peer", 30, "clear", 900)
    pair.up(first, second, back=back)
    before = pair.numbers()
    pair.world.cut(*ENDS)
    pair.clock.pass_(31)
    for one in (first, second):
        pair.left.wait(one.id, "down")
    eventually(lambda: not pair.numbers() & before)
    pair.world.heal(*ENDS)
    for one in (first, second):
        pair.comes_up(one.id)
