"""A gateway whose peer goes by a name, over fakes: it moves with the record, and no silence ends anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from linkspan.core.tunnel import peer_names
from linkspan.core.tunnel.peer_names import Resolution
from linkspan.testing.fake_drivers import FakeDrivers, FakeResolver
from linkspan.testing.fake_world import FakeWorld
from tests.agent.test_gateway_worker import BACK, LEFT, RIGHT, THERE, Site, replace
from tests.drivers.machine import connection, eventually, gateway

NAME = "vpn.example.org"
NAMED = replace(THERE, peer_address=NAME)
THIRD = gateway(3)
ELSEWHERE = replace(
    BACK, id=connection(3, 1).id, gateway_id=THIRD.id, local_address="203.0.113.3", local_id=THERE.peer_id
)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> FakeWorld:
    monkeypatch.setattr(peer_names, "INTERVAL", 0.1)
    monkeypatch.setattr(peer_names, "SOON", 0.05)
    return FakeWorld()


@pytest.fixture
def site(world: FakeWorld) -> Iterator[Callable[..., Site]]:
    made: list[Site] = []

    def make(of: object = LEFT) -> Site:
        made.append(Site(FakeDrivers(world), of))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        if one.worker.is_alive():
            one.leave()


def sas(one: Site) -> list[tuple[int, str]]:
    return [(sa.unique_id, sa.remote_address) for sa in one.drivers.charon(one.gateway).sas()]


def test_a_name_that_nobody_knows_is_told_and_found_later(world: FakeWorld, site: Callable[..., Site]) -> None:
    left, right = site(), site(RIGHT)
    left.want(NAMED)
    right.want(BACK)
    assert f"the peer's name {NAME} cannot be resolved in the gateway" in reason(left, "cannot")
    world.names[NAME] = (THERE.peer_address,)
    left.wait(NAMED.id, "up")


def reason(one: Site, words: str) -> str:
    def told() -> bool:
        one.state(NAMED.id)
        return NAMED.id in one.said and words in one.said[NAMED.id].reason

    eventually(told)
    return one.said[NAMED.id].reason


def test_the_tunnel_moves_with_the_record_and_only_then(world: FakeWorld, site: Callable[..., Site]) -> None:
    left, right, third = site(), site(RIGHT), site(THIRD)
    right.want(BACK)
    third.want(ELSEWHERE)
    world.names[NAME] = (THERE.peer_address,)
    left.want(NAMED)
    left.wait(NAMED.id, "up")
    before = sas(left)
    world.names[NAME] = (ELSEWHERE.local_address, THERE.peer_address)
    asked_again(world, left)
    assert sas(left) == before, "the record still has the address in use"
    del world.names[NAME]
    asked_again(world, left)
    assert sas(left) == before, "what runs needs no name server"
    world.names[NAME] = (ELSEWHERE.local_address,)
    eventually(lambda: [address for _, address in sas(left)] == [ELSEWHERE.local_address])
    left.wait(NAMED.id, "up")
    assert sas(site(RIGHT)) == []


def asked_again(world: FakeWorld, one: Site) -> None:
    asked: list[str] = []
    resolver = one.drivers.resolver
    real = resolver.resolve

    def resolve(gateway_id: str, name: str, deliver: Callable[[Resolution], None]) -> None:
        asked.append(name)
        real(gateway_id, name, deliver)

    resolver.resolve = resolve  # type: ignore[method-assign]
    eventually(lambda: len(asked) >= 3)
    resolver.resolve = real  # type: ignore[method-assign]


@pytest.mark.parametrize("answer", [(THERE.peer_address,), ()])
def test_a_new_agent_adopts_also_without_a_name_server(
    world: FakeWorld, site: Callable[..., Site], answer: tuple[str, ...]
) -> None:
    left, right = site(), site(RIGHT)
    right.want(BACK)
    world.names[NAME] = (THERE.peer_address,)
    left.want(NAMED)
    left.wait(NAMED.id, "up")
    before = sas(left)
    left.leave()
    world.names[NAME] = answer
    again = site()
    again.want(NAMED)
    again.wait(NAMED.id, "up")
    asked_again(world, again)
    assert again.state(NAMED.id) == "up"
    assert sas(again) == before


def test_an_edit_to_a_name_of_the_same_peer_ends_nothing(
    world: FakeWorld, site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    left, right = site(), site(RIGHT)
    right.want(BACK)
    left.want(THERE)
    left.wait(THERE.id, "up")
    before = sas(left)
    waiting: list[Callable[[Resolution], None]] = []
    monkeypatch.setattr(FakeResolver, "resolve", lambda self, gateway, name, deliver: waiting.append(deliver))
    left.want(replace(NAMED, revision=2))
    eventually(lambda: bool(waiting))
    assert (sas(left), left.said[NAMED.id].revision) == (before, 1), "it waits until the name is known"
    waiting[0](Resolution(NAME, (THERE.peer_address,)))
    eventually(lambda: left.state(NAMED.id) == "up" and left.said[NAMED.id].revision == 2)
    assert sas(left) == before


def test_an_edit_to_a_name_that_nobody_knows_ends_the_tunnel_to_the_former_peer(
    world: FakeWorld, site: Callable[..., Site]
) -> None:
    left, right = site(), site(RIGHT)
    right.want(BACK)
    left.want(THERE)
    left.wait(THERE.id, "up")
    left.want(replace(NAMED, revision=2))
    assert "cannot be resolved" in reason(left, "cannot")
    assert sas(left) == []
