"""Transport mode and AH, which need kernel ESP; tests/kernel runs these tests in user-mode Linux."""

from __future__ import annotations

import socket
import subprocess
from typing import Any, Final, Literal

import msgspec
import pytest

from linkspan.core.ipsec import mtu
from linkspan.core.ipsec.selectors import pairs
from linkspan.core.state.desired import IkePolicy, IpsecPolicy
from linkspan.drivers.linux import esp_backend, interface_names, netns
from tests.drivers.conftest import RunningGateway
from tests.drivers.machine import Machine, WireCounter, eventually, gateway, ping, run

pytestmark = [pytest.mark.root, pytest.mark.wire]

_IP_MTU: Final = 14
_IPV6_MTU: Final = 24


@pytest.fixture(autouse=True)
def _kernel_esp() -> None:
    if esp_backend.detect() != "kernel":
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
def test_every_protocol_and_mode_carries_traffic_and_leaks_nothing(
    machine: Machine, protocol: Literal["esp", "ah"], mode: Literal["transport", "tunnel"], version: Literal["v1", "v2"]
) -> None:
    drivers = machine.drivers()
    policy = IpsecPolicy(protocol, mode, "aes-128", "sha256", "group14", "seconds", 3600)
    left_values, right_values = ends(policy, version)
    left, right = RunningGateway(drivers, 1, 2, **left_values), RunningGateway(drivers, 2, 1, **right_values)
    for running in (left, right):
        drivers.leak_guard.apply(running.gateway, pairs(running.connection))
    wire = WireCounter(
        machine.home, interface_names.bridge_port(machine.instance, "node-a", left.gateway.id, interface_names.OUTSIDE)
    )
    name = drivers.namespaces.name(left.gateway.id)
    source, target = ("10.1.0.1", "10.2.0.1") if mode == "tunnel" else ("203.0.113.1", "203.0.113.2")
    assert ping(name, target, source) == 0
    left.initiate()
    eventually(lambda: left.up() and right.up())
    wire.read()
    wire.esp = wire.plaintext = 0
    assert ping(name, target, source, 5) == 5
    assert (wire.read().plaintext, wire.esp) == (0, 10)
    wire.close()


@pytest.mark.parametrize(
    ("protocol", "mode", "encryption", "auth", "outer"),
    [
        ("esp", "tunnel", "3des", "sha384", 4),
        ("esp", "tunnel", "aes-256", "sha512", 6),
        ("esp", "tunnel", "aes-128-ctr", "aes-cmac", 4),
        ("esp", "tunnel", "aes-128-gcm-12", "sha256", 6),
        ("esp", "tunnel", "aes-192-ccm-8", "sha256", 4),
        ("esp", "transport", "aes-128", "sha256", 4),
        ("esp", "transport", "aes-256-gcm-16", "sha256", 6),
        ("ah", "tunnel", "aes-128", "sha1", 6),
        ("ah", "transport", "aes-128", "sha256", 4),
    ],
)
def test_a_sockets_mtu_is_the_computed_one(
    machine: Machine, protocol: Any, mode: Any, encryption: str, auth: str, outer: int
) -> None:
    """The MTU of a socket through the tunnel, for MTUs with and without a route. The peer is on-link, not behind the
    next hop."""
    drivers = machine.drivers()
    policy = IpsecPolicy(protocol, mode, encryption, auth, "group31", "seconds", 3600)
    hosts = {n: f"203.0.113.{n}" if outer == 4 else f"2001:db8:ff::{n}" for n in (1, 2)}
    networks = {n: f"10.{n}.0.0/24" if mode == "tunnel" else f"{hosts[n]}/{32 if outer == 4 else 128}" for n in (1, 2)}
    left, right = (
        RunningGateway(
            drivers,
            a,
            b,
            ipsec=policy,
            local_address=hosts[a],
            peer_address=hosts[b],
            peer_id=hosts[b],
            local_cidrs=(networks[a],),
            peer_cidrs=(networks[b],),
        )
        for a, b in ((1, 2), (2, 1))
    )
    routed = gateway(1, next_hops=("203.0.113.254", "2001:db8:ff::fe"))
    drivers.namespaces.apply(routed)
    name = drivers.namespaces.name(routed.id)
    source, target = ("10.1.0.1", "10.2.0.1") if mode == "tunnel" else (hosts[1], hosts[2])
    left.initiate()
    eventually(lambda: left.up() and right.up())
    for requested in (1500, 1337, 1300):
        changed = msgspec.structs.replace(left.connection, mtu=requested)
        drivers.mtu_routing.apply(routed, mtu.pair_mtus(changed, "kernel", drivers.mtu_routing.outside_mtu(routed.id)))
        assert socket_mtu(name, source, target) == mtu.effective_mtu(changed, "kernel", 1500) <= requested
        assert ping(name, target, source, 2) == 2


def socket_mtu(namespace: str, source: str, target: str) -> int:
    """Return the MTU of a connected socket (ip(7), ipv6(7))."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    level, option = (socket.IPPROTO_IPV6, _IPV6_MTU) if ":" in target else (socket.IPPROTO_IP, _IP_MTU)

    def ask() -> int:
        with socket.socket(family, socket.SOCK_DGRAM) as connected:
            connected.bind((source, 0))
            connected.connect((target, 9))
            return connected.getsockopt(level, option)

    return netns.run_inside(namespace, ask)


def test_a_started_charon_flushes_the_kernels_sas_and_policies(machine: Machine) -> None:
    drivers = machine.drivers()
    left, right = RunningGateway(drivers, 1, 2), RunningGateway(drivers, 2, 1)
    left.initiate()
    eventually(lambda: left.up() and right.up())
    name = drivers.namespaces.name(left.gateway.id)
    subprocess.run(["kill", "-9", str(left.charon.pid)], check=True)  # type: ignore[attr-defined]
    assert "src" in run(name, "ip", "xfrm", "state")
    assert left.charon.start()
    assert run(name, "ip", "xfrm", "state") == ""
    assert "10.1.0.0" not in run(name, "ip", "xfrm", "policy")
