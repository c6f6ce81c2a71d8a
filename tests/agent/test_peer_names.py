"""A gateway whose peer has a name, over fake drivers: the tunnel follows the record, not a silent name server."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from linkspan.core.state.desired import Gateway, Gone
from linkspan.core.tunnel import peer_names
from linkspan.core.tunnel.peer_names import Resolution
from linkspan.testing.fake_drivers import FakeDrivers, FakeResolver
from linkspan.testing.fake_world import FakeWorld
from tests.agent.test_gateway_worker import LEFT, RIGHT, TO_LEFT, TO_RIGHT, GatewayUnderTest, replace
from tests.drivers.machine import connection, eventually, gateway

NAME = "vpn.example.org"
NAMED = replace(TO_RIGHT, peer_address=NAME)
THIRD = gateway(3)
ELSEWHERE = replace(
    TO_LEFT, id=connection(3, 1).id, gateway_id=THIRD.id, local_address="203.0.113.3", local_id=TO_RIGHT.peer_id
)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> FakeWorld:
    monkeypatch.setattr(peer_names, "INTERVAL", 0.1)
    monkeypatch.setattr(peer_names, "SOON", 0.05)
    return FakeWorld()


@pytest.fixture
def start(world: FakeWorld) -> Iterator[Callable[..., GatewayUnderTest]]:
    gateways: list[GatewayUnderTest] = []

    def start(desired: Gateway = LEFT) -> GatewayUnderTest:
        gateways.append(GatewayUnderTest(FakeDrivers(world), desired))
        return gateways[-1]

    yield start
    for started in gateways:
        if started.worker.is_alive():
            started.stop()


def sas(gateway: GatewayUnderTest) -> list[tuple[int, str]]:
    return [(sa.unique_id, sa.remote_address) for sa in gateway.drivers.charon(gateway.gateway).sas()]


def test_an_unknown_name_is_reported_and_resolved_once_it_exists(
    world: FakeWorld, start: Callable[..., GatewayUnderTest]
) -> None:
    left, right = start(), start(RIGHT)
    left.set_desired(NAMED)
    right.set_desired(TO_LEFT)
    assert f"the peer's name {NAME} cannot be resolved in the gateway" in reason(left, "cannot")
    world.names[NAME] = (TO_RIGHT.peer_address,)
    left.wait(NAMED.id, "up")


def reason(gateway: GatewayUnderTest, words: str) -> str:
    def reported() -> bool:
        gateway.state(NAMED.id)
        return NAMED.id in gateway.reports and words in gateway.reports[NAMED.id].reason

    eventually(reported)
    return gateway.reports[NAMED.id].reason


def test_the_tunnel_moves_when_the_record_loses_the_address_in_use(
    world: FakeWorld, start: Callable[..., GatewayUnderTest]
) -> None:
    left, right, third = start(), start(RIGHT), start(THIRD)
    right.set_desired(TO_LEFT)
    third.set_desired(ELSEWHERE)
    world.names[NAME] = (TO_RIGHT.peer_address,)
    left.set_desired(NAMED)
    left.wait(NAMED.id, "up")
    before = sas(left)
    world.names[NAME] = (ELSEWHERE.local_address, TO_RIGHT.peer_address)
    wait_for_queries(world, left)
    assert sas(left) == before, "the record still has the address in use"
    del world.names[NAME]
    wait_for_queries(world, left)
    assert sas(left) == before, "a tunnel that is up needs no name server"
    world.names[NAME] = (ELSEWHERE.local_address,)
    eventually(lambda: [address for _, address in sas(left)] == [ELSEWHERE.local_address])
    left.wait(NAMED.id, "up")
    assert sas(start(RIGHT)) == []


def wait_for_queries(world: FakeWorld, gateway: GatewayUnderTest) -> None:
    queries: list[str] = []
    resolver = gateway.drivers.resolver
    original = resolver.resolve

    def resolve(gateway_id: str, name: str, deliver: Callable[[Resolution], None]) -> None:
        queries.append(name)
        original(gateway_id, name, deliver)

    resolver.resolve = resolve  # type: ignore[method-assign]
    eventually(lambda: len(queries) >= 3)
    resolver.resolve = original  # type: ignore[method-assign]


@pytest.mark.parametrize("answer", [(TO_RIGHT.peer_address,), ()])
def test_a_restarted_agent_adopts_charon_without_a_name_server(
    world: FakeWorld, start: Callable[..., GatewayUnderTest], answer: tuple[str, ...]
) -> None:
    left, right = start(), start(RIGHT)
    right.set_desired(TO_LEFT)
    world.names[NAME] = (TO_RIGHT.peer_address,)
    left.set_desired(NAMED)
    left.wait(NAMED.id, "up")
    before = sas(left)
    left.stop()
    world.names[NAME] = answer
    again = start()
    again.set_desired(NAMED)
    again.wait(NAMED.id, "up")
    wait_for_queries(world, again)
    assert again.state(NAMED.id) == "up"
    assert sas(again) == before


def test_an_edit_from_address_to_name_of_the_same_peer_keeps_the_sas(
    world: FakeWorld, start: Callable[..., GatewayUnderTest], monkeypatch: pytest.MonkeyPatch
) -> None:
    left, right = start(), start(RIGHT)
    right.set_desired(TO_LEFT)
    left.set_desired(TO_RIGHT)
    left.wait(TO_RIGHT.id, "up")
    before = sas(left)
    pending: list[Callable[[Resolution], None]] = []
    monkeypatch.setattr(FakeResolver, "resolve", lambda self, gateway, name, deliver: pending.append(deliver))
    left.set_desired(replace(NAMED, revision=2))
    eventually(lambda: bool(pending))
    assert (sas(left), left.reports[NAMED.id].revision) == (before, 1), "the edit waits until the name is resolved"
    pending[0](Resolution(NAME, (TO_RIGHT.peer_address,)))
    eventually(lambda: left.state(NAMED.id) == "up" and left.reports[NAMED.id].revision == 2)
    assert sas(left) == before


def test_an_edit_to_an_unknown_name_ends_the_tunnel_to_the_former_peer(
    world: FakeWorld, start: Callable[..., GatewayUnderTest]
) -> None:
    left, right = start(), start(RIGHT)
    right.set_desired(TO_LEFT)
    left.set_desired(TO_RIGHT)
    left.wait(TO_RIGHT.id, "up")
    left.set_desired(replace(NAMED, revision=2))
    assert "cannot be resolved" in reason(left, "cannot")
    assert sas(left) == []


SAME = replace(TO_RIGHT, id=connection(4, 1).id)
"""Another connection to the same peer with the same networks, by the peer's address."""


def test_the_name_of_another_connections_peer_is_reported_by_both(
    world: FakeWorld, start: Callable[..., GatewayUnderTest]
) -> None:
    left, right = start(), start(RIGHT)
    right.set_desired(TO_LEFT)
    left.set_desired(SAME, NAMED)
    left.wait(SAME.id, "up")
    before = sas(left)
    world.names[NAME] = (TO_RIGHT.peer_address,)
    assert f"the same peer and networks as connection {SAME.id}" in reason(left, "same peer")
    eventually(lambda: left.state(SAME.id) == "up" and NAMED.id in left.reports[SAME.id].reason)
    assert (left.state(NAMED.id), sas(left)) == ("down", before)
    left.set_desired(NAMED, gone=(Gone("connection", SAME.id, 2, LEFT.id),))
    left.wait(NAMED.id, "up")
    assert left.reports[NAMED.id].reason == ""


def test_a_restarted_agent_goes_on_with_the_connection_by_name(
    world: FakeWorld, start: Callable[..., GatewayUnderTest]
) -> None:
    left, right = start(), start(RIGHT)
    right.set_desired(TO_LEFT)
    world.names[NAME] = (TO_RIGHT.peer_address,)
    left.set_desired(NAMED)
    left.wait(NAMED.id, "up")
    before = sas(left)
    left.set_desired(NAMED, SAME)
    eventually(lambda: "same peer" in left.reports[SAME.id].reason if left.state(SAME.id) else False)
    assert (left.state(NAMED.id), sas(left)) == ("up", before)
    left.stop()
    again = start()
    again.set_desired(NAMED, SAME)
    again.wait(NAMED.id, "up")
    again.wait(SAME.id, "down")
    assert sas(again) == before
