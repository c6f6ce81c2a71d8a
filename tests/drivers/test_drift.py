"""What other programs change in a gateway's network is noticed, named and undone; what they add stays."""

from __future__ import annotations

import re
import subprocess
import time

import msgspec
import pytest

from linkspan.core.ipsec.mtu import PairMtu
from linkspan.core.ipsec.selectors import SelectorPair
from linkspan.core.state.desired import Gateway
from linkspan.core.tunnel.precedence import Precedence
from linkspan.drivers.linux import interface_names, netns
from linkspan.drivers.local import LocalDrivers
from tests.drivers.machine import Machine, eventually, gateway, inside_network, run

pytestmark = [pytest.mark.wire, pytest.mark.root]

PLAIN = gateway(1, inside=2, next_hops=("203.0.113.254", "2001:db8:ff::fe"))
GATEWAY = msgspec.structs.replace(
    PLAIN,
    outside=msgspec.structs.replace(PLAIN.outside, mac_address="fa:16:3e:00:00:ff"),
    inside=tuple(
        msgspec.structs.replace(inside, mac_address=f"fa:16:3e:00:00:0{number}")
        for number, inside in enumerate(PLAIN.inside)
    ),
)
INSIDE = interface_names.inside_interface(inside_network(1, 0))
PAIRS = frozenset({SelectorPair("10.1.0.0/24", "10.2.0.0/24"), SelectorPair("2001:db8:1::/64", "2001:db8:2::/64")})
BLOCK = Precedence(frozenset({SelectorPair("10.1.0.0/24", "10.2.0.0/25")}), PAIRS)
MTUS = frozenset({PairMtu(SelectorPair("10.1.0.0/24", "10.2.0.0/24"), 1280, 0)})


class Network:
    """The network of a gateway with everything applied, and the changes that were noticed since the last `restore`."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.drivers: LocalDrivers = machine.drivers()
        self.gateway: Gateway = GATEWAY
        self.name = self.drivers.namespaces.name(GATEWAY.id)
        self.noticed = 0
        self.drivers.namespaces.apply(GATEWAY)
        self.drivers.network_watch.watch(GATEWAY.id, self._notice)
        self.drivers.leak_guard.apply(GATEWAY, PAIRS)
        self.drivers.traffic_block.apply(GATEWAY, BLOCK)
        self.drivers.mtu_routing.apply(GATEWAY, MTUS)
        # The kernel reports the carrier of a new link up to a second later.
        eventually(lambda: run(self.name, "ip", "link").count("state UP") == 3)
        time.sleep(0.2)
        assert self.restore() == ()

    def _notice(self) -> None:
        self.noticed += 1

    def restore(self) -> tuple[str, ...]:
        """Restore everything in the agent's order; return what was missing."""
        drivers = self.drivers
        missing = (
            *drivers.namespaces.reattach(GATEWAY.id),
            *drivers.leak_guard.restore(GATEWAY, PAIRS),
            *drivers.namespaces.apply(GATEWAY),
            *drivers.traffic_block.restore(GATEWAY, BLOCK),
            *drivers.mtu_routing.restore(GATEWAY, MTUS),
        )
        self.noticed = 0
        return missing

    def state(self) -> list[str]:
        """Links, addresses, routes, rules and packet filter rules, as the programs of iproute2 and nft show them."""
        commands = (
            "ip -br link",
            "ip -br address",
            "ip route show table all proto 76",
            "ip -6 route show table all proto 76",
            "ip rule",
            "ip -6 rule",
            "nft -n -s list ruleset",
        )
        lines = "".join(run(self.name, *command.split()) for command in commands).splitlines()
        # A link that was made anew has another peer, and addresses may be in another order.
        return sorted(" ".join(sorted(re.sub(r"@if\d+", "", line).split())) for line in lines)

    def port(self, interface: str) -> str:
        return interface_names.bridge_port(self.machine.instance, "node-a", GATEWAY.id, interface)

    def bridge(self, network: str) -> str:
        return interface_names.bridge(self.machine.instance, network)


@pytest.fixture
def network(machine: Machine) -> Network:
    return Network(machine)


INSIDE_THE_NAMESPACE = {
    "nft flush ruleset": "table of the leak guard",
    "nft delete table inet linkspan": "table of the leak guard",
    "nft flush chain inet linkspan outbound": "rules in chain outbound of the leak guard",
    "nft insert rule inet linkspan outbound accept": "rules in chain outbound of the leak guard",
    "nft flush set inet linkspan pairs4_24_24": "set pairs4_24_24 of the leak guard",
    "nft add table inet linkspan { flags dormant; }": "table (dormant) of the leak guard",
    "nft delete table inet linkspan-block": "table of the traffic block",
    "nft delete table inet linkspan-mtu": "table of the MSS clamp",
    "nft flush chain inet linkspan-mtu forward": "rules in chain forward of the MSS clamp",
    f"ip link delete {INSIDE}": f"interface {INSIDE}",
    "ip link delete out0": "interface out0",
    "ip link set out0 down": "interface out0 up",
    "ip link set out0 address 02:00:00:00:00:01": "MAC address fa:16:3e:00:00:ff of out0",
    f"ip address del 10.1.0.1/24 dev {INSIDE}": f"address 10.1.0.1/24 on {INSIDE}",
    "ip address flush dev out0 scope global": "address 203.0.113.1/24 on out0",
    "ip route del default": "default route via 203.0.113.254",
    "ip route replace default via 203.0.113.9 dev out0 onlink metric 100": "default route via 203.0.113.254",
    "ip -6 route del default": "default route via 2001:db8:ff::fe",
    "ip rule del pref 90 to 10.1.0.0/24": "rule 90 from 0.0.0.0/0 to 10.1.0.0/24",
    "ip -6 rule flush": "rule 90 from ::/0 to 2001:db8:1::/64",
    "sysctl -w net.ipv4.ip_forward=0": "sysctl net.ipv4.ip_forward",
    "sysctl -w net.ipv6.conf.all.forwarding=0": "sysctl net.ipv6.conf.all.forwarding",
    f"sysctl -w net.ipv4.conf.{INSIDE}.rp_filter=1": f"sysctl net.ipv4.conf.{INSIDE}.rp_filter",
}


@pytest.mark.parametrize("command", INSIDE_THE_NAMESPACE)
def test_a_change_is_noticed_named_and_undone(network: Network, command: str) -> None:
    before = network.state()
    run(network.name, *command.split())
    eventually(lambda: network.noticed > 0, 2.0)
    assert INSIDE_THE_NAMESPACE[command] in network.restore()
    eventually(lambda: network.state() == before)
    assert network.restore() == ()


@pytest.mark.parametrize(("chain", "rule"), [("pairs_out", "@pairs4_24_24"), ("forward", "oifname")])
def test_a_changed_rule_of_the_guard_is_undone(network: Network, chain: str, rule: str) -> None:
    """As many rules as before, and another one among them."""
    before = network.state()
    listed = run(network.name, "nft", "-a", "list", "chain", "inet", "linkspan", chain)
    handle = next(line.split()[-1] for line in listed.splitlines() if rule in line)
    run(network.name, *f"nft replace rule inet linkspan {chain} handle {handle} accept".split())
    assert network.state() != before
    assert network.restore() == ("rules of the leak guard",)
    assert network.state() == before


def test_a_guard_that_nft_refuses_to_change_is_made_anew(network: Network) -> None:
    before = network.state()
    script = (
        "delete table inet linkspan; add table inet linkspan; "
        "add chain inet linkspan outbound { type filter hook output priority 7; policy accept; }"
    )
    run(network.name, "nft", script)
    assert network.restore()
    assert network.state() == before


@pytest.mark.parametrize("damage", ["nomaster", "down", "bridge", "bridge down"])
def test_a_bridge_port_is_attached_again(network: Network, damage: str) -> None:
    port, bridge = network.port(INSIDE), network.bridge(inside_network(1, 0))
    commands = {
        "nomaster": ("link", "set", port, "nomaster"),
        "down": ("link", "set", port, "down"),
        "bridge": ("link", "delete", bridge),
        "bridge down": ("link", "set", bridge, "down"),
    }
    run(network.machine.home, "ip", *commands[damage])
    eventually(lambda: network.noticed > 0, 2.0)
    (missing,) = network.restore()
    assert INSIDE in missing
    eventually(lambda: f"master {bridge} state forwarding" in run(network.machine.home, "bridge", "link"), 2.0)
    assert network.restore() == ()


@pytest.mark.parametrize("replaced", [False, True])
def test_a_namespace_gets_its_name_back_with_everything_in_it(network: Network, replaced: bool) -> None:
    before, inode = network.state(), netns.path(network.name).stat().st_ino
    subprocess.run(["ip", "netns", "delete", network.name], check=True)
    if replaced:
        subprocess.run(["ip", "netns", "add", network.name], check=True)
    eventually(lambda: network.noticed > 0, 2.0)
    assert network.restore() == ("the name of the namespace",)
    assert netns.path(network.name).stat().st_ino == inode
    assert network.state() == before


def test_a_namespace_without_a_name_is_removed_with_its_ports(network: Network) -> None:
    subprocess.run(["ip", "netns", "delete", network.name], check=True)
    network.drivers.network_watch.forget(GATEWAY.id)
    network.drivers.namespaces.remove(GATEWAY.id)
    assert not netns.exists(network.name)
    eventually(lambda: "lsp-" not in run(network.machine.home, "ip", "link"), 2.0)


def test_what_others_add_stays_and_is_no_drift(network: Network) -> None:
    own = (
        ("ip", "address", "add", "192.0.2.9/32", "dev", INSIDE),
        ("ip", "link", "add", "spare0", "type", "bridge"),
        ("ip", "link", "add", "tap7", "type", "veth", "peer", "name", "tap8"),
        ("ip", "address", "add", "192.0.2.10/32", "dev", "tap7"),
        ("ip", "route", "add", "192.0.2.128/25", "dev", INSIDE),
        ("ip", "route", "add", "default", "via", "203.0.113.8", "metric", "5000"),
        ("ip", "rule", "add", "pref", "50", "to", "192.0.2.0/24", "lookup", "main"),
        ("nft", "add", "table", "inet", "theirs"),
    )
    for command in own:
        assert run(network.name, *command) == ""
    with_theirs = network.state()
    assert network.restore() == ()
    run(network.name, "nft", "delete", "table", "inet", "linkspan")
    run(network.name, "ip", "address", "del", "10.1.0.1/24", "dev", INSIDE)
    assert network.restore()
    assert network.state() == with_theirs
    listed = "".join(run(network.name, *command.split()) for command in ("ip -o address", "ip route", "ip rule"))
    for words in ("192.0.2.9/32", "tap7", "192.0.2.128/25", "203.0.113.8", "50:\tfrom all to 192.0.2.0/24"):
        assert words in listed


def test_changes_of_ones_own_are_not_delivered(network: Network) -> None:
    more = msgspec.structs.replace(
        GATEWAY,
        outside=msgspec.structs.replace(GATEWAY.outside, addresses=(*GATEWAY.outside.addresses, "203.0.113.7/24")),
    )
    network.drivers.leak_guard.apply(GATEWAY, ())
    network.drivers.leak_guard.apply(GATEWAY, PAIRS)
    network.drivers.traffic_block.apply(GATEWAY, Precedence())
    network.drivers.namespaces.apply(more)
    time.sleep(0.3)
    assert network.noticed == 0
    run(network.name, "nft", "flush", "ruleset")
    eventually(lambda: network.noticed > 0, 2.0)
