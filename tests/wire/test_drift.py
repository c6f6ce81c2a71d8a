"""Another program removes parts of a gateway's network, or stops its charon: the agent restores it within seconds and
says what was missing, and nothing leaves in plaintext."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from linkspan.drivers.charon.vici import CharonAbsent
from linkspan.drivers.linux import esp_backend, interface_names, kernel_events, netns
from linkspan.drivers.linux.kernel_events import GROUPS
from linkspan.lab.fabric import ping
from tests.harness.world import World, freeze, frozen, until

pytestmark = [pytest.mark.wire, pytest.mark.root]

RESTORED = 10.0


def reason(world: World, side: str = "left") -> str:
    return str(world.connection(world.lab["sites"][side]["connection_id"])["status_reason"] or "")


def service_reason(world: World, side: str = "left") -> str:
    id = world.lab["sites"][side]["service_id"]
    return str(world.user.request("GET", f"/v2.0/vpn/vpnservices/{id}")["vpnservice"]["status_reason"] or "")


def answered(world: World) -> bool:
    return ping(world.host("left"), "10.2.0.10", 3, 0.02, timeout=1).received == 3


def inside(world: World, side: str = "left") -> str:
    """The name of the inside interface of a site's gateway."""
    listed = world.inside(world.gateway(side), "ip", "-o", "link").split()
    return next(word.partition("@")[0] for word in listed if word.startswith(interface_names.INSIDE))


def damage(world: World, command: str) -> None:
    world.inside(world.gateway("left"), *command.split())


LOSSES = {
    "ip link delete {inside}": "interface in",
    "ip address flush dev {inside}": "address 10.1.0.1/24 on in",
    "ip link delete out0": "interface out0",
    "ip link set out0 down": "interface out0 up",
    "ip address flush dev out0": "address 198.51.100.",
    "ip route flush table 220": "route to 10.2.0.0/24 of charon",
    "ip rule delete pref 220": "rule 220 from 0.0.0.0/0",
    "sysctl -w net.ipv4.ip_forward=0": "sysctl net.ipv4.ip_forward",
    "nft flush ruleset": "table of the leak guard",
}


@pytest.mark.parametrize("command", LOSSES)
def test_what_is_removed_is_restored_and_named(world: World, command: str) -> None:
    until(world.one_tunnel, 40.0)
    until(lambda: answered(world), 20.0)
    before = reason(world)
    damage(world, command.format(inside=inside(world)))
    until(lambda: LOSSES[command] in reason(world).replace(before or "-", ""), RESTORED, lambda: reason(world))
    assert LOSSES[command] in service_reason(world)
    took = until(lambda: answered(world), RESTORED)
    print(f"{command}: pings pass {took:.2f} s after the reason names it")
    world.wait_status(world.lab["sites"]["left"]["connection_id"], "ACTIVE")


def end_tunnel(world: World) -> None:
    """End the tunnel at both sites without a word, and what the kernel has of it."""
    for side in ("left", "right"):
        os.kill(world.charon_pid(side), signal.SIGKILL)
    if esp_backend.detect() == "kernel":
        damage(world, "ip xfrm policy flush")


def is_back(world: World) -> bool:
    try:
        return world.one_tunnel()
    except CharonAbsent:
        return False


def test_nothing_leaves_in_plaintext_when_the_rules_are_gone_and_the_tunnel_ends(world: World) -> None:
    until(world.one_tunnel, 40.0)
    with world.next_hop():
        damage(world, "nft flush ruleset")
        until(lambda: "@pairs4_24_24" in world.inside(world.gateway("left"), "nft", "list", "ruleset"), RESTORED)
        with world.wire() as wire:
            end_tunnel(world)
            ping(world.host("left"), "10.2.0.10", 20, 0.01, timeout=1)
        assert wire.tally.plaintext == 0
    until(lambda: is_back(world), 40.0)


def test_without_the_agent_everything_leaves_in_plaintext(world: World) -> None:
    """The control: the agent is stopped, and restores nothing."""
    until(world.one_tunnel, 40.0)
    with world.next_hop(), frozen(world.agent_pid):
        damage(world, "nft flush ruleset")
        with world.wire() as wire:
            end_tunnel(world)
            ping(world.host("left"), "10.2.0.10", 20, 0.01, timeout=1)
        print(f"without the agent {wire.tally.plaintext} packets left in plaintext")
        assert wire.tally.plaintext > 10
    until(lambda: is_back(world), 40.0)


def test_the_namespaces_name_comes_back_and_the_tunnel_stays(world: World) -> None:
    until(world.one_tunnel, 40.0)
    name, before = world.gateway("left"), world.spis("left")
    subprocess.run(["ip", "netns", "delete", name], check=True)
    until(lambda: netns.exists(name), RESTORED)
    until(lambda: "the name of the namespace" in reason(world), RESTORED)
    assert world.spis("left") == before
    assert answered(world)


def test_charons_device_comes_back_with_a_start_of_charon(world: World) -> None:
    if esp_backend.detect() == "kernel":
        pytest.skip("with kernel ESP charon has no device")
    until(world.one_tunnel, 40.0)
    damage(world, "ip link delete ipsec0")
    until(lambda: "the TUN device of charon" in reason(world), RESTORED, lambda: reason(world))
    until(lambda: answered(world), 20.0)


@pytest.mark.parametrize("kind", ["policy", "state"])
def test_flushed_policies_and_states_come_back(world: World, kind: str) -> None:
    if esp_backend.detect() != "kernel":
        pytest.skip("with user-space ESP the kernel has neither")
    until(world.one_tunnel, 40.0)
    damage(world, f"ip xfrm {kind} flush")
    until(lambda: "states or policies of IPsec" in reason(world), RESTORED, lambda: reason(world))
    until(lambda: answered(world), RESTORED)


def test_what_charon_changes_itself_is_no_change_by_another_program(world: World) -> None:
    until(world.one_tunnel, 40.0)
    protocols = [kernel_events.NETLINK_ROUTE, *[kernel_events.NETLINK_XFRM] * (esp_backend.detect() == "kernel")]
    sockets = netns.run_inside(
        world.gateway("left"),
        lambda: {protocol: kernel_events.subscribe(protocol, GROUPS[protocol]) for protocol in protocols},
    )
    with world.charon("right") as charon:
        for sa in charon.sas():
            charon.terminate_sa(sa.unique_id)
    until(world.one_tunnel, 40.0)
    notices = [(protocol, notice) for protocol, kernel in sockets.items() for notice in received(kernel)]
    by_charon = [(protocol, notice) for protocol, notice in notices if notice.sender == 1]
    assert {protocol for protocol, _ in by_charon} == {*protocols}, notices
    assert not any(kernel_events.is_foreign(protocol, notice) for protocol, notice in by_charon)


def received(kernel: socket.socket) -> Iterator[kernel_events.Notice]:
    """Yield the messages that wait at a socket, and close it."""
    with kernel, contextlib.suppress(BlockingIOError):
        while True:
            yield from kernel_events.messages(kernel.recv(65536))


def test_a_charon_that_hangs_is_started_anew_and_others_go_on(world: World) -> None:
    """Stopped at the right site; the left one's own charon answers all the time."""
    until(world.one_tunnel, 40.0)
    pid = world.charon_pid("right")
    freeze(pid)
    took = until(lambda: "charon did not answer and was started anew" in reason(world, "right"), 60.0)
    print(f"a charon that hangs was started anew after {took:.1f} s")
    assert not Path(f"/proc/{pid}").exists()
    until(lambda: answered(world), 30.0)
    for site in world.lab["sites"].values():
        world.wait_status(site["connection_id"], "ACTIVE")
    assert "did not answer" not in reason(world, "left")
