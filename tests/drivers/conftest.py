"""The two worlds that the contract tests run in: fakes in memory, and the drivers of this machine."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.state.desired import Connection, Gateway
from linkspan.drivers.charon.daemon import StrongswanCharon
from linkspan.drivers.linux import interface_names
from linkspan.drivers.ports import Charon, Drivers
from linkspan.testing.fake_drivers import FakeDrivers
from linkspan.testing.fake_world import FakeWorld
from tests.drivers.machine import Facts, Machine, connection, gateway, machine
from tests.harness.world import freeze


class Bench(Protocol):
    """A world that a contract test works in, with the accidents that can happen in it."""

    def drivers(self, node: str = "node-a") -> Drivers: ...

    def kill(self, charon: Charon, gateway: Gateway) -> None: ...

    def freeze(self, charon: Charon, gateway: Gateway) -> None: ...

    def name(self, gateway: Gateway, text: str, *addresses: str) -> None: ...


class FakeBench:
    def __init__(self) -> None:
        self._world = FakeWorld()

    def drivers(self, node: str = "node-a") -> Drivers:
        return FakeDrivers(self._world, node)

    def kill(self, charon: Charon, gateway: Gateway) -> None:
        self._world.kill(gateway.id)

    def freeze(self, charon: Charon, gateway: Gateway) -> None:
        self._world.freeze(gateway.id)

    def name(self, gateway: Gateway, text: str, *addresses: str) -> None:
        self._world.names[text] = addresses


class RealBench:
    def __init__(self, here: Machine) -> None:
        self._machine = here

    def drivers(self, node: str = "node-a") -> Drivers:
        return self._machine.drivers(node)

    def kill(self, charon: Charon, gateway: Gateway) -> None:
        assert isinstance(charon, StrongswanCharon)
        os.kill(charon.pid, signal.SIGKILL)

    def freeze(self, charon: Charon, gateway: Gateway) -> None:
        assert isinstance(charon, StrongswanCharon)
        freeze(charon.pid)

    def name(self, gateway: Gateway, text: str, *addresses: str) -> None:
        files = Path("/etc/netns") / interface_names.namespace(self._machine.instance, "node-a", gateway.id)
        files.mkdir(parents=True, exist_ok=True)
        self._machine.files.append(files)
        (files / "hosts").write_text("".join(f"{address} {text}\n" for address in addresses))


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    """A piece of this machine."""
    with machine(tmp_path) as one:
        yield one


@pytest.fixture(params=["fake", pytest.param("real", marks=[pytest.mark.root, pytest.mark.wire])])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """Both worlds, one after the other."""
    if request.param == "fake":
        yield FakeBench()
        return
    with machine(tmp_path) as one:
        yield RealBench(one)


class Site:
    """A gateway with a running charon that has one connection to its peer loaded."""

    def __init__(self, drivers: Drivers, number: int, peer: int, **changes: object) -> None:
        self.gateway = gateway(number)
        self.connection: Connection = connection(number, peer, **changes)
        self.config = ipsec_config.build(self.connection)
        self.facts = Facts()
        drivers.namespaces.apply(self.gateway)
        drivers.guard.apply(self.gateway, ())
        self.charon = drivers.charon(self.gateway)
        assert self.charon.start()
        self.charon.listen(self.facts)
        self.load()

    def load(self) -> None:
        self.charon.load(self.config, ipsec_config.shared_key(self.connection, self.config))

    def initiate(self) -> None:
        self.charon.initiate(self.config.name, self.config.children[0].name)

    @property
    def held(self) -> dict[str, frozenset[str]]:
        """What its charon holds, once it is loaded."""
        return {self.config.name: frozenset(child.name for child in self.config.children)}

    def end(self) -> None:
        """End every IKE SA of the connection."""
        for sa in self.charon.sas(self.config.name):
            self.charon.terminate_sa(sa.unique_id)

    def idle(self) -> bool:
        """Whether no IKE SA is there."""
        return self.charon.sas() == ()

    def children(self) -> int:
        """How many children carry traffic; -1 if there is not exactly one IKE SA."""
        found = self.charon.sas()
        return len(found[0].installed) if len(found) == 1 else -1

    def up(self) -> bool:
        """Whether exactly one IKE SA with its child is there."""
        return [sa.installed for sa in self.charon.sas()] == [{self.config.children[0].name}]
