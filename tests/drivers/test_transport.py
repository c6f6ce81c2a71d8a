"""What only the kernel's ESP can do; run inside user-mode Linux by tests/kernel."""

from __future__ import annotations

import subprocess
from typing import Literal

import pytest

from linkspan.core.desired import IkePolicy, IpsecPolicy
from linkspan.core.selectors import pairs
from linkspan.drivers import backend, naming
from tests.drivers.conftest import Site
from tests.drivers.machine import Machine, Wire, eventually, ping, run

pytestmark = [pytest.mark.root, pytest.mark.wire]


@pytest.fixture(autouse=True)
def _kernel_esp() -> None:
    if backend.detect() != "kernel":
        pytest.skip("this kernel has no ESP: tests/kernel runs it in user-mode Linux")


def ends(ipsec: IpsecPolicy, version: Literal["v1", "v2"]) -> list[dict[str, object]]:
    tunnel = ipsec.encapsulation_mode == "tunnel"
    networks = {n: f"10.{n}.0.0/24" if tunnel else f"203.0.113.{n}/32" for n in (1, 2)}
    ike = IkePolicy(version, "main", "aes-128", "sha256", "group14", 3600)
    return [
        {"ipsec": ipsec, "ike": ike, "local_cidrs": (networks[a],), "peer_cidrs": (networks[b],)}
        for a, b in ((1, 2), (2, 1))
    ]


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("protocol", ["esp", "ah"])
@pytest.mark.parametrize("mode", ["transport", "tunnel"])
def test_every_protocol_and_mode_carries_and_leaks_nothing(
    here: Machine, protocol: Literal["esp", "ah"], mode: Literal["transport", "tunnel"], version: Literal["v1", "v2"]
) -> None:
    drivers = here.drivers()
    policy = IpsecPolicy(protocol, mode, "aes-128", "sha256", "group14", "seconds", 3600)
    one, other = ends(policy, version)
    left, right = Site(drivers, 1, 2, **one), Site(drivers, 2, 1, **other)
    for site in (left, right):
        drivers.guard.apply(site.gateway, pairs(site.connection))
    wire = Wire(here.home, naming.port(here.instance, "node-a", left.gateway.id, naming.OUTSIDE))
    name = drivers.namespaces.name(left.gateway.id)
    source, target = ("10.1.0.1", "10.2.0.1") if mode == "tunnel" else ("203.0.113.1", "203.0.113.2")
    assert ping(name, target, source) == 0
    left.initiate()
    eventually(lambda: left.up() and right.up())
    wire.read()
    wire.esp = wire.clear = 0
    assert ping(name, target, source, 5) == 5
    assert (wire.read().clear, wire.esp) == (0, 10)
    wire.close()


def test_a_new_charon_starts_with_a_clean_kernel(here: Machine) -> None:
    drivers = here.drivers()
    left, right = Site(drivers, 1, 2), Site(drivers, 2, 1)
    left.initiate()
    eventually(lambda: left.up() and right.up())
    name = drivers.namespaces.name(left.gateway.id)
    subprocess.run(["kill", "-9", str(left.charon.pid)], check=True)  # type: ignore[attr-defined]
    assert "src" in run(name, "ip", "xfrm", "state")
    assert left.charon.start()
    assert run(name, "ip", "xfrm", "state") == ""
    assert "10.1.0.0" not in run(name, "ip", "xfrm", "policy")
