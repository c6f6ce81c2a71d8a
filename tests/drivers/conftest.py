"""The environments of the contract tests: fakes in memory, and the drivers of this machine."""

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
from linkspan.drivers.ports import Charon, Drivers, LoadedConnection
from linkspan.testing.fake_drivers import FakeDrivers, loaded_connection
from linkspan.testing.fake_world import FakeWorld
from tests.drivers.machine import EventLog, Machine, connection, gateway, isolated_machine
from tests.harness.world import freeze


class Environment(Protocol):
    """The environment of a contract test: drivers, and the failures that the test injects."""

    def drivers(self, node: str = "node-a") -> Drivers: ...

    def kill(self, charon: Charon, gateway: Gateway) -> None: ...

    def freeze(self, charon: Charon, gateway: Gateway) -> None: ...

    def name(self, gateway: Gateway, text: str, *addresses: str) -> None: ...


class FakeEnvironment:
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


class RealEnvironment:
    def __init__(self, machine: Machine) -> None:
        self._machine = machine

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
def machine(tmp_path: Path) -> Iterator[Machine]:
    """An isolated part of this machine."""
    with isolated_machine(tmp_path) as isolated:
        yield isolated


@pytest.fixture(params=["fake", pytest.param("real", marks=[pytest.mark.root, pytest.mark.wire])])
def environment(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Environment]:
    """The fake environment and the real one."""
    if request.param == "fake":
        yield FakeEnvironment()
        return
    with isolated_machine(tmp_path) as isolated:
        yield RealEnvironment(isolated)


class RunningGateway:
    """A gateway with a running charon that has one connection to a peer loaded."""

    def __init__(self, drivers: Drivers, number: int, peer: int, **changes: object) -> None:
        self.gateway = gateway(number)
        self.connection: Connection = connection(number, peer, **changes)
        self.config = ipsec_config.build(self.connection)
        self.events = EventLog()
        drivers.namespaces.apply(self.gateway)
        drivers.leak_guard.apply(self.gateway, ())
        self.charon = drivers.charon(self.gateway)
        assert self.charon.start()
        self.charon.listen(self.events)
        self.load()

    def load(self) -> None:
        self.charon.load(self.config, ipsec_config.shared_key(self.connection, self.config))

    def initiate(self) -> None:
        self.charon.initiate(self.config.name, self.config.children[0].name)

    @property
    def expected_loaded(self) -> dict[str, LoadedConnection]:
        """The result of `Charon.loaded` once the connection is loaded."""
        return {self.config.name: loaded_connection(self.config)}

    def terminate(self) -> None:
        """Delete every IKE SA of the connection."""
        for sa in self.charon.sas(self.config.name):
            self.charon.terminate_sa(sa.unique_id)

    def idle(self) -> bool:
        """True if charon has no IKE SA."""
        return self.charon.sas() == ()

    def children(self) -> int:
        """Return the number of installed children; -1 if there is not exactly one IKE SA."""
        sas = self.charon.sas()
        return len(sas[0].installed) if len(sas) == 1 else -1

    def up(self) -> bool:
        """True if there is exactly one IKE SA, with its child installed."""
        return [sa.installed for sa in self.charon.sas()] == [{self.config.children[0].name}]
