"""A gateway's worker and the bypass of attached networks: before a connection is loaded, until it is gone."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from linkspan.core.ipsec.config import IkeConfig, SharedKey
from linkspan.core.ipsec.selectors import SelectorPair
from linkspan.core.state.desired import Gone
from linkspan.testing.fake_drivers import FakeCharon, FakeDrivers
from linkspan.testing.fake_world import FakeWorld
from tests.agent.test_gateway_worker import LEFT, TO_RIGHT, GatewayUnderTest
from tests.drivers.machine import eventually

WIDE = msgspec.structs.replace(TO_RIGHT, peer_cidrs=("0.0.0.0/0",))
BESIDE = frozenset({SelectorPair("10.1.0.0/24", "10.1.0.0/24")})


@pytest.fixture
def world() -> FakeWorld:
    return FakeWorld()


@pytest.fixture
def left(world: FakeWorld) -> Iterator[GatewayUnderTest]:
    gateway = GatewayUnderTest(FakeDrivers(world, backend="kernel"), LEFT)
    yield gateway
    gateway.stop()


@pytest.fixture
def at_load(left: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch) -> list[frozenset[SelectorPair]]:
    """The exempt pairs at each load of a connection."""
    exempt: list[frozenset[SelectorPair]] = []
    load = FakeCharon.load

    def load_and_record(self: FakeCharon, config: IkeConfig, key: SharedKey | None) -> None:
        exempt.append(left.drivers.policy_bypass.current(LEFT.id))
        load(self, config, key)

    monkeypatch.setattr(FakeCharon, "load", load_and_record)
    return exempt


def test_it_is_applied_before_a_wide_connection_is_loaded_and_goes_with_it(
    left: GatewayUnderTest, at_load: list[frozenset[SelectorPair]]
) -> None:
    left.set_desired(TO_RIGHT)
    left.wait(TO_RIGHT.id, "down")
    left.set_desired(msgspec.structs.replace(WIDE, revision=2))
    eventually(lambda: left.state(WIDE.id) == "down" and left.reports[WIDE.id].revision == 2)
    assert at_load == [frozenset(), BESIDE]
    left.set_desired(gone=(Gone("connection", WIDE.id, 3, LEFT.id),))
    left.wait(WIDE.id, "gone")
    assert left.drivers.policy_bypass.current(LEFT.id) == frozenset()


def test_it_is_applied_again_after_charon_was_killed(
    world: FakeWorld, left: GatewayUnderTest, at_load: list[frozenset[SelectorPair]]
) -> None:
    left.set_desired(WIDE)
    left.wait(WIDE.id, "down")
    world.kill(LEFT.id)
    eventually(lambda: len(at_load) == 2)
    assert at_load == [BESIDE, BESIDE]


def test_an_interface_that_is_added_later_is_exempt(left: GatewayUnderTest) -> None:
    left.gateway = msgspec.structs.replace(LEFT, inside=())
    left.set_desired(WIDE)
    left.wait(WIDE.id, "down")
    assert left.drivers.policy_bypass.current(LEFT.id) == frozenset()
    left.gateway = msgspec.structs.replace(LEFT, revision=2)
    left.set_desired(WIDE)
    eventually(lambda: left.drivers.policy_bypass.current(LEFT.id) == BESIDE)
