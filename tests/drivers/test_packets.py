"""Packets through the real drivers: nothing leaves in plaintext, and a tunnel carries traffic both ways.

Every leak test has a negative control: without the guard the same packets leak.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Literal

import msgspec
import pytest

from linkspan.core.ipsec.selectors import SelectorPair, pairs
from linkspan.core.state.desired import Dpd, IkePolicy
from linkspan.core.tunnel.charon_events import PeerSeen, ProbeSent
from linkspan.drivers.charon.daemon import StrongswanCharon
from linkspan.drivers.linux import interface_names
from linkspan.drivers.local import LocalDrivers
from tests.drivers.conftest import RunningGateway
from tests.drivers.machine import Machine, WireCounter, eventually, gateway, host, inside_network, ping, run

pytestmark = [pytest.mark.root, pytest.mark.wire]

TARGETS = {4: "10.2.0.1", 6: "2001:db8:2:0::1"}
LEFT_PAIRS = [SelectorPair("10.1.0.0/24", "10.2.0.0/24"), SelectorPair("2001:db8:1::/64", "2001:db8:2::/64")]
RIGHT_PAIRS = [SelectorPair(pair.remote, pair.local) for pair in LEFT_PAIRS]


class TwoGateways:
    """Two gateways that route to each other in plaintext, a host behind the left one, and a packet counter between."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.drivers: LocalDrivers = machine.drivers()
        self.left = gateway(1, next_hops=("203.0.113.2", "2001:db8:ff::2"))
        self.right = gateway(2, next_hops=("203.0.113.1", "2001:db8:ff::1"))
        for each in (self.left, self.right):
            self.drivers.namespaces.apply(each)
        self.host = host(machine, "host", inside_network(1), 1)
        self.left_name, self.right_name = (self.drivers.namespaces.name(id) for id in (self.left.id, self.right.id))
        self.wire = WireCounter(
            machine.home, interface_names.bridge_port(machine.instance, "node-a", self.left.id, interface_names.OUTSIDE)
        )

    def send(self) -> int:
        """Ping from the host and from the gateway itself, IPv4 and IPv6; return the number of answers."""
        answers = sum(ping(self.host, target) for target in TARGETS.values())
        answers += ping(self.left_name, TARGETS[4], "10.1.0.1")
        return answers + ping(self.left_name, TARGETS[6], "2001:db8:1:0::1")

    def drops(self, name: str, counter: str) -> int:
        """Return the value of one of the guard's counters."""
        listed = run(name, "nft", "list", "counter", "inet", "linkspan", counter)
        return sum(int(number) for number in re.findall(r"packets (\d+) bytes", listed))


@pytest.fixture
def two(machine: Machine) -> Iterator[TwoGateways]:
    gateways = TwoGateways(machine)
    yield gateways
    gateways.wire.close()


def test_a_new_gateway_is_sealed_until_it_is_guarded(two: TwoGateways) -> None:
    unguard(two.right_name)
    assert two.send() == 0
    assert ping(two.left_name, "203.0.113.2") == 0
    assert two.wire.read().plaintext == 0
    two.drivers.leak_guard.apply(two.left, ())
    assert ping(two.left_name, "203.0.113.2") == 3


def test_closed_interfaces_let_no_packet_pass(machine: Machine) -> None:
    """All of them before the first guard; afterwards those whose router or network is disabled."""
    drivers, replace = machine.drivers(), msgspec.structs.replace
    wanted = gateway(1, inside=2)
    first, second = wanted.inside
    drivers.namespaces.apply(wanted)
    own, beside = host(machine, "host", first.network_id, 1), "10.1.1.1"
    assert ping(own, beside) == 0, "sealed"
    for state, answers in (
        (replace(wanted, enabled=False), 0),
        (wanted, 3),
        (replace(wanted, inside=(replace(first, enabled=False), second)), 0),
        (replace(wanted, outside=replace(wanted.outside, enabled=False)), 3),
        (replace(wanted, enabled=False), 0),
    ):
        drivers.leak_guard.apply(state, LEFT_PAIRS)
        assert ping(own, beside) == answers, state
    # Also between two gateways, with the own packets of one that is closed.
    other = gateway(2)
    drivers.namespaces.apply(other)
    drivers.leak_guard.apply(other, ())
    name = drivers.namespaces.name(wanted.id)
    for outside, answers in ((True, 3), (False, 0)):
        drivers.leak_guard.apply(replace(wanted, outside=replace(wanted.outside, enabled=outside)), ())
        assert ping(name, "203.0.113.2") == answers
        assert ping(drivers.namespaces.name(other.id), "203.0.113.1") == answers


@pytest.mark.parametrize("guarded", [LEFT_PAIRS, []], ids=["pairs", "no pairs"])
def test_only_the_gateways_own_packets_leave_in_plaintext(two: TwoGateways, guarded: list[SelectorPair]) -> None:
    unguard(two.right_name)
    two.drivers.leak_guard.apply(two.left, guarded)
    assert two.send() == 0
    assert two.wire.read().plaintext == 0
    assert two.drops(two.left_name, "dropped_out") >= 12
    assert ping(two.left_name, "203.0.113.2") == 3
    # Negative control: without the guard the same packets leak.
    unguard(two.left_name)
    assert two.send() == 12
    leaked = two.wire.read().plaintext
    print(f"with the guard 0 packets in plaintext, without it {leaked}")
    assert leaked >= 24


def test_packets_of_guarded_pairs_do_not_enter_in_plaintext(two: TwoGateways) -> None:
    unguard(two.left_name)
    two.drivers.leak_guard.apply(two.right, RIGHT_PAIRS)
    answers = two.drops(two.right_name, "dropped_out")
    assert two.send() == 0
    assert two.wire.read().plaintext >= 12
    assert two.drops(two.right_name, "dropped_in") >= 12
    # The packets did not arrive, so there is no reply that would be dropped. In the negative control they arrive.
    assert two.drops(two.right_name, "dropped_out") == answers
    unguard(two.right_name)
    assert two.send() == 12


def unguard(name: str) -> None:
    """Remove the guard, for the negative control."""
    run(name, "nft", "flush", "ruleset")


FLOOD = """
import socket, time
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
end, sent = time.monotonic() + 3, 0
while time.monotonic() < end:
    sender.sendto(b"x", ("10.2.0.1", 9))
    sent += 1
print(sent)
"""


def test_changing_the_guard_leaves_no_gap_for_pairs_that_stay(two: TwoGateways) -> None:
    two.drivers.leak_guard.apply(two.right, ())
    others = [
        [SelectorPair(f"10.1.{number}.0/24", "10.2.0.0/24") for number in range(1, 20)],
        [SelectorPair("10.1.0.0/25", "10.3.0.0/16"), SelectorPair("10.1.7.0/24", "10.2.0.0/24")],
        [SelectorPair("2001:db8:7::/48", "2001:db8:8::/48")],
        [],
    ]
    two.wire.read()
    command = ["ip", "netns", "exec", two.host, sys.executable, "-c", FLOOD]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        time.sleep(0.5)  # the flood starts while the gateway is sealed
        changes = 0
        while child.poll() is None:
            two.drivers.leak_guard.apply(two.left, [*LEFT_PAIRS, *others[changes % len(others)]])
            changes += 1
        sent = int(child.communicate()[0])
    two.wire.read()
    print(f"{changes} changes under {sent} packets, {two.wire.plaintext} in plaintext")
    assert two.wire.plaintext == 0
    assert (changes > 3, sent > 1000) == (True, True)


def test_the_guard_accepts_the_gateways_own_ike_and_esp_for_any_pairs(machine: Machine) -> None:
    drivers = machine.drivers()
    everything = [SelectorPair("0.0.0.0/0", "0.0.0.0/0"), SelectorPair("::/0", "::/0")]
    left, right = RunningGateway(drivers, 1, 2), RunningGateway(drivers, 2, 1)
    for running in (left, right):
        drivers.leak_guard.apply(running.gateway, everything)
    left.initiate()
    eventually(lambda: left.up() and right.up())
    assert ping(drivers.namespaces.name(left.gateway.id), "10.2.0.1", "10.1.0.1") == 3
    assert ping(drivers.namespaces.name(left.gateway.id), "203.0.113.2") == 0


def test_a_tunnel_carries_traffic_both_ways_and_only_as_esp(two: TwoGateways) -> None:
    left = RunningGateway(two.drivers, 1, 2)
    right = RunningGateway(two.drivers, 2, 1)
    for running in (left, right):
        two.drivers.leak_guard.apply(running.gateway, pairs(running.connection))
    left.initiate()
    eventually(lambda: left.up() and right.up())
    two.wire.read()
    two.wire.plaintext = two.wire.esp = 0
    assert ping(two.left_name, "10.2.0.1", "10.1.0.1", 10) == 10
    assert ping(two.right_name, "10.1.0.1", "10.2.0.1", 10) == 10
    assert ping(two.host, "10.2.0.1", count=10) == 10
    two.wire.read()
    assert (two.wire.plaintext, two.wire.esp) == (0, 60)
    child = left.charon.sas()[0].children[0]
    assert (child.packets_in, child.packets_out) == (30, 30)
    assert child.idle_in >= 0


@pytest.mark.parametrize("guarded", [True, False])
def test_nothing_leaves_in_plaintext_after_charon_is_killed(two: TwoGateways, guarded: bool) -> None:
    left, right = RunningGateway(two.drivers, 1, 2), RunningGateway(two.drivers, 2, 1)
    for running in (left, right):
        two.drivers.namespaces.apply(two.left if running is left else two.right)
        two.drivers.leak_guard.apply(running.gateway, pairs(running.connection))
    for name in () if guarded else (two.left_name, two.right_name):
        unguard(name)
    left.initiate()
    eventually(lambda: left.up() and right.up())
    assert isinstance(left.charon, StrongswanCharon)
    os.kill(left.charon.pid, signal.SIGKILL)
    # Its TUN device takes packets until the process is gone.
    eventually(lambda: "ipsec0" not in run(two.left_name, "ip", "-br", "link"))
    two.wire.read()
    two.wire.plaintext = two.wire.esp = 0
    # Kernel SAs outlive charon and carry on. User-space SAs end with it, and the packets would leave in plaintext.
    answers = ping(two.host, "10.2.0.1", count=5)
    two.wire.read()
    if two.drivers.backend == "kernel":
        assert (answers, two.wire.plaintext, two.wire.esp) == (5, 0, 10)
    elif guarded:
        assert (answers, two.wire.plaintext) == (0, 0)
    else:
        assert two.wire.plaintext >= 5, "the negative control has to leak"
    assert left.charon.start()
    left.load()
    left.initiate()
    eventually(left.up)
    assert ping(two.host, "10.2.0.1", count=5) == 5


def test_changing_the_namespace_does_not_disturb_a_tunnel(two: TwoGateways) -> None:
    left, right = RunningGateway(two.drivers, 1, 2), RunningGateway(two.drivers, 2, 1)
    left.initiate()
    eventually(lambda: left.up() and right.up())
    more = gateway(1, inside=3, next_hops=("203.0.113.254",))
    for _ in range(3):
        two.drivers.namespaces.apply(more)
        assert ping(two.left_name, "10.2.0.1", "10.1.0.1", 5) == 5
        two.drivers.namespaces.apply(two.left)
        assert ping(two.left_name, "10.2.0.1", "10.1.0.1", 5) == 5


def test_a_tunnel_over_ipv6_carries_traffic(machine: Machine) -> None:
    drivers = machine.drivers()
    ends = [
        {"local_address": f"2001:db8:ff::{a}", "peer_address": f"2001:db8:ff::{b}", "peer_id": f"2001:db8:ff::{b}"}
        | {"local_cidrs": (f"2001:db8:{a}::/64",), "peer_cidrs": (f"2001:db8:{b}::/64",)}
        for a, b in ((1, 2), (2, 1))
    ]
    left, right = RunningGateway(drivers, 1, 2, **ends[0]), RunningGateway(drivers, 2, 1, **ends[1])
    for running in (left, right):
        drivers.leak_guard.apply(running.gateway, pairs(running.connection))
    left.initiate()
    eventually(lambda: left.up() and right.up())
    assert ping(drivers.namespaces.name(left.gateway.id), "2001:db8:2::1", "2001:db8:1::1", 5) == 5


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_probes_and_responses_are_delivered_as_events(machine: Machine, version: Literal["v1", "v2"]) -> None:
    drivers = machine.drivers()
    policy = IkePolicy(version, "main", "aes-128", "sha256", "group14", 3600)
    left = RunningGateway(drivers, 1, 2, ike=policy, dpd=Dpd("restart", 1, 60))
    right = RunningGateway(drivers, 2, 1, ike=policy, dpd=Dpd("disabled", 1, 60))
    left.initiate()
    eventually(lambda: left.up() and right.up())
    left.events.all.clear()
    number = left.charon.sas()[0].unique_id
    left.events.wait(lambda event: event == ProbeSent(left.config.name, number), 6)
    left.events.wait(lambda event: event == PeerSeen(left.config.name, number), 6)
