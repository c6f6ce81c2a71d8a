"""Rules that route by table main what no tunnel may take. tests/drivers/test_exempt_traffic tests their effect."""

from __future__ import annotations

import socket

import msgspec
import pytest

from linkspan.core.ipsec.mtu import PairMtu
from linkspan.core.ipsec.selectors import SelectorPair
from linkspan.drivers.gateway import main_routing
from linkspan.drivers.linux.netlink import MAIN, PolicyRule
from tests.drivers.conftest import RunningGateway
from tests.drivers.machine import Machine, gateway, run

ALL4, ALL6 = "0.0.0.0/0", "::/0"
UDP, TCP = socket.IPPROTO_UDP, socket.IPPROTO_TCP


def listed(name: str) -> list[str]:
    """Return the rules that look up table main, without those of the kernel."""
    output = run(name, "ip", "rule") + run(name, "ip", "-6", "rule")
    lines = [" ".join(line.split()) for line in output.splitlines() if "lookup main" in line]
    return [line for line in lines if not line.startswith("32766:")]


def test_the_rules_of_a_gateway_with_both_ip_versions() -> None:
    assert main_routing.rules(gateway(1, inside=2)) == {
        *(PolicyRule(90, ALL4, network, MAIN) for network in ("10.1.0.0/24", "10.1.1.0/24")),
        *(PolicyRule(90, ALL6, network, MAIN) for network in ("2001:db8:1::/64", "2001:db8:1:1::/64")),
        PolicyRule(219, "203.0.113.1/32", ALL4, MAIN, True),
        PolicyRule(219, "2001:db8:ff::1/128", ALL6, MAIN, True),
        *(PolicyRule(219, every, every, MAIN, True, protocol, 53) for every in (ALL4, ALL6) for protocol in (UDP, TCP)),
    }


def test_a_gateway_without_ipv6_outside_has_no_rules_for_its_own_ipv6_packets() -> None:
    four = gateway(1)
    four = msgspec.structs.replace(four, outside=msgspec.structs.replace(four.outside, addresses=("203.0.113.1/24",)))
    assert {rule.destination for rule in main_routing.rules(four) if rule.sent_here} == {ALL4}


@pytest.mark.root
def test_rules_are_applied_once_changed_and_removed_by_differences(machine: Machine) -> None:
    namespaces = machine.drivers().namespaces
    wanted = gateway(1, inside=2)
    namespaces.apply(wanted)
    name = namespaces.name(wanted.id)
    expected = [
        "90: from all to 10.1.0.0/24 lookup main proto 76",
        "90: from all to 10.1.1.0/24 lookup main proto 76",
        "219: from 203.0.113.1 iif lo lookup main proto 76",
        "219: from all iif lo ipproto tcp dport 53 lookup main proto 76",
        "219: from all iif lo ipproto udp dport 53 lookup main proto 76",
        "90: from all to 2001:db8:1::/64 lookup main proto 76",
        "90: from all to 2001:db8:1:1::/64 lookup main proto 76",
        "219: from 2001:db8:ff::1 iif lo lookup main proto 76",
        "219: from all iif lo ipproto tcp dport 53 lookup main proto 76",
        "219: from all iif lo ipproto udp dport 53 lookup main proto 76",
    ]
    assert sorted(listed(name)) == sorted(expected)
    # A restarted agent finds its rules, and adds what is missing.
    run(name, "ip", "rule", "del", "from", "203.0.113.1", "iif", "lo")
    machine.drivers().namespaces.apply(wanted)
    assert sorted(listed(name)) == sorted(expected)
    moved = gateway(1, inside=1)
    moved = msgspec.structs.replace(
        moved, outside=msgspec.structs.replace(moved.outside, addresses=("203.0.113.7/24",))
    )
    namespaces.apply(moved)
    assert sorted(listed(name)) == sorted(
        [
            "90: from all to 10.1.0.0/24 lookup main proto 76",
            "90: from all to 2001:db8:1::/64 lookup main proto 76",
            "219: from 203.0.113.7 iif lo lookup main proto 76",
            *expected[3:5],
        ]
    )


@pytest.mark.wire
@pytest.mark.root
def test_rules_of_the_mtus_stay_between(machine: Machine) -> None:
    """Neither driver removes the other's rules: a rule with an MTU comes after the attached networks, and before what
    the gateway itself sends."""
    drivers = machine.drivers()
    wanted = RunningGateway(drivers, 1, 2).gateway
    name = drivers.namespaces.name(wanted.id)
    before = listed(name)
    mtus = {
        PairMtu(SelectorPair("10.1.0.0/24", ALL4), 1300, 1300),
        PairMtu(SelectorPair("203.0.113.1/32", "203.0.113.2/32"), 1300, 1300),
    }
    drivers.mtu_routing.apply(wanted, mtus)
    assert drivers.mtu_routing.current(wanted.id) == mtus
    rules = [line.split(":")[0] for line in run(name, "ip", "rule").splitlines()]
    assert rules == ["0", "90", "187", "195", "219", "219", "219", "220", "32766", "32767"]
    drivers.namespaces.apply(wanted)
    assert drivers.mtu_routing.current(wanted.id) == mtus
    drivers.mtu_routing.apply(wanted, ())
    assert listed(name) == before
