"""What a gateway lets in, out and through: packets with any source, from outside, from inside and from a tunnel.

Each test has a control with the guard's rules taken out, where the same packets pass.
"""

from __future__ import annotations

import ipaddress
import secrets
import struct
from collections.abc import Iterator

import pytest

from linkspan.core.ipsec.selectors import pairs
from linkspan.drivers.linux import interface_names
from tests.drivers.conftest import RunningGateway
from tests.drivers.machine import OUTSIDE, Machine, attach, eventually, gateway, host, inside_network, ping, run
from tests.harness.probes import ICMP, ICMPV6, TCP, Arrivals, Wire, datagram, is_plain, mac, packets

pytestmark = [pytest.mark.root, pytest.mark.wire]

STATION = b"\x02links"
"""The link-layer address of whoever asks."""
OUT = interface_names.OUTSIDE
IN = interface_names.inside_interface(inside_network(1))
BOTH = {"local_cidrs": ("10.1.0.0/24", "2001:db8:1::/64"), "peer_cidrs": ("10.2.0.0/24", "2001:db8:2::/64")}
SWAPPED = {"local_cidrs": BOTH["peer_cidrs"], "peer_cidrs": BOTH["local_cidrs"]}
REMOTE = ("10.2.0.10", "2001:db8:2::10")
"""A host behind the peer."""
FOREIGN = ("192.0.2.7", "2001:db8:77::7")
NEAR = ("10.1.0.10", "2001:db8:1::10")
BESIDE = ("10.1.1.10", "2001:db8:1:1::10")
ABSENT = ("10.1.0.99", "2001:db8:1::99")
OWN_INSIDE = ("10.1.0.1", "2001:db8:1::1")
OWN_OUTSIDE = ("203.0.113.1", "2001:db8:ff::1")
ROUTER = ("203.0.113.254", "2001:db8:ff::fe")
"""The next hop on the external network, and whoever else is there."""


class Ways:
    """Gateway 1 with a host on each of its two inside networks, and a router on the external network.

    `out` sees what the gateway sends outside.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine, self.drivers = machine, machine.drivers(deadline=10.0)
        self.gateway = gateway(1, inside=2, next_hops=ROUTER)
        self.drivers.namespaces.apply(self.gateway)
        self.name = self.drivers.namespaces.name(self.gateway.id)
        hosts = [host(machine, f"host{index}", inside_network(1, index), 1, index) for index in (0, 1)]
        self.router = attach(machine, "router", OUTSIDE, (f"{ROUTER[0]}/24", f"{ROUTER[1]}/64"), ())
        self.near, self.beside = (Wire(name, "eth0") for name in hosts)
        self.outsider = Wire(self.router, "eth0")
        port = interface_names.bridge_port(machine.instance, "node-a", self.gateway.id, OUT)
        self.out = Wire(machine.home, port, incoming=True)
        self.out_mac, self.in_mac = mac(self.name, OUT), mac(self.name, IN)
        self.arrivals = Arrivals(self.name)
        self.opened = [self.near, self.beside, self.outsider, self.out]

    def close(self) -> None:
        for wire in self.opened:
            wire.__exit__()

    def drops(self, way: str) -> int:
        """The number of packets that the guard has dropped in a direction, in or out."""
        return packets(run(self.name, "nft", "list", "counter", "inet", "linkspan", f"dropped_{way}"))

    def wait_arrivals(self, number: int) -> None:
        """Wait until so many probes have arrived in all."""
        eventually(lambda: self.arrivals.count() == number)

    def unguard(self) -> None:
        """Remove the guard, for the control."""
        run(self.name, "nft", "flush", "ruleset")


@pytest.fixture
def ways(machine: Machine) -> Iterator[Ways]:
    ways = Ways(machine)
    yield ways
    ways.close()


def inward(ways: Ways, text: bytes) -> int:
    """Send packets from outside to hosts and to the gateway's inside addresses. Returns their number."""
    sources = (ROUTER, FOREIGN, REMOTE, ("10.1.0.20", "2001:db8:1::20"), BESIDE, OWN_INSIDE)
    packets = [datagram(source[v], NEAR[v], text) for source in sources for v in (0, 1)]
    packets += [datagram(source[v], OWN_INSIDE[v], text) for source in (ROUTER, REMOTE) for v in (0, 1)]
    for packet in packets:
        ways.outsider.send(ways.out_mac, packet)
    return len(packets)


def outward(ways: Ways, text: bytes) -> int:
    """Send packets from inside to the external network and to hosts behind the peer. Returns their number."""
    sources = (NEAR, FOREIGN, OWN_OUTSIDE, OWN_INSIDE, REMOTE, BESIDE)
    packets = [datagram(source[v], ROUTER[v], text) for source in sources for v in (0, 1)]
    # Also such as look like IKE or like ESP in UDP of the gateway itself.
    packets += [datagram(OWN_OUTSIDE[v], ROUTER[v], text, port=port) for port in (500, 4500) for v in (0, 1)]
    for packet in packets:
        ways.near.send(ways.in_mac, packet)
    return len(packets)


def sideways(ways: Ways, text: bytes) -> int:
    """Send packets from one inside network to the other with sources of elsewhere. Returns their number."""
    sources = (FOREIGN, REMOTE, ("10.1.1.20", "2001:db8:1:1::20"), OWN_OUTSIDE, OWN_INSIDE, ROUTER)
    packets = [datagram(source[v], BESIDE[v], text) for source in sources for v in (0, 1)]
    for packet in packets:
        ways.near.send(ways.in_mac, packet)
    return len(packets)


WAYS = {"inward": (inward, ("near", "beside")), "outward": (outward, ("out",)), "sideways": (sideways, ("beside",))}


def test_nothing_passes_before_the_first_connection_but_between_inside_networks(ways: Ways) -> None:
    """While the gateway is being built, guarded without connections, and as the control without the guard."""
    for state in ("sealed", "guarded", "renamed", "control"):
        if state == "guarded":
            ways.drivers.leak_guard.apply(ways.gateway, ())
            assert ping(f"{interface_names.namespace_prefix(ways.machine.instance)}host0", BESIDE[0]) == 3
            assert ping(f"{interface_names.namespace_prefix(ways.machine.instance)}host0", BESIDE[1]) == 3
        elif state == "renamed":
            # As a charon could that has been broken into.
            for command in (f"ip link set {OUT} down", f"ip link set {OUT} name other0", "ip link set other0 up"):
                run(ways.name, *command.split())
        elif state == "control":
            for command in ("ip link set other0 down", f"ip link set other0 name {OUT}", f"ip link set {OUT} up"):
                run(ways.name, *command.split())
            ways.drivers.namespaces.apply(ways.gateway)
            ways.unguard()
        for way, (send, places) in WAYS.items():
            text, before = secrets.token_bytes(16), 0 if state == "control" else ways.arrivals.count()
            number = send(ways, text)
            wires = [getattr(ways, place) for place in places]
            if state == "control":
                eventually(lambda wires=wires, text=text: any(wire.has(text) for wire in wires))  # type: ignore[misc]
                continue
            ways.wait_arrivals(before + number)
            assert not [place for place, wire in zip(places, wires, strict=True) if wire.has(text)], (state, way)
        assert state == "control" or not list(filter(is_plain, ways.out.frames()))


class Tunnelled:
    """A tunnel to gateway 2, with a host behind it; the answers of gateway 1 do not get into the tunnel any more."""

    def __init__(self, ways: Ways) -> None:
        machine, drivers = ways.machine, ways.drivers
        self.left, self.right = RunningGateway(drivers, 1, 2, **BOTH), RunningGateway(drivers, 2, 1, **SWAPPED)
        drivers.namespaces.apply(ways.gateway)
        for running, wanted in ((self.left, ways.gateway), (self.right, self.right.gateway)):
            drivers.leak_guard.apply(wanted, pairs(running.connection))
        self.far = Wire(host(machine, "far", inside_network(2), 2), "eth0")
        right = drivers.namespaces.name(self.right.gateway.id)
        ways.opened.append(self.far)
        self.mac = mac(right, interface_names.inside_interface(inside_network(2)))
        self.left.initiate()
        eventually(lambda: self.left.up() and self.right.up())

    def send(self, packet: bytes) -> None:
        self.far.send(self.mac, packet)


def fragment(packet: bytes) -> bytes:
    """Return a datagram as the first fragment of a longer one."""
    if packet[0] >> 4 == 4:
        header = packet[:6] + struct.pack("!H", 0x2000) + packet[8:10] + b"\0\0" + packet[12:20]
        total = sum(struct.unpack("!10H", header))
        total = (total & 0xFFFF) + (total >> 16)
        return header[:10] + struct.pack("!H", ~total & 0xFFFF) + header[12:] + packet[20:]
    body = struct.pack("!BBHI", packet[6], 0, 1, 7) + packet[40:]
    return packet[:4] + struct.pack("!HB", len(body), 44) + packet[7:40] + body


def errors(text: bytes) -> list[bytes]:
    """Packets from behind the peer that gateway 1 answers with an ICMP error that quotes them, or with a reset."""
    packets = []
    for v in (0, 1):
        packets += [
            datagram(REMOTE[v], NEAR[v], text, hops=2),  # gateway 2 takes one
            datagram(REMOTE[v], ABSENT[v], text),
            datagram(REMOTE[v], NEAR[v], text + bytes(1300)),  # more than the inside network's MTU
            datagram(REMOTE[v], OWN_INSIDE[v], text),
            datagram(REMOTE[v], OWN_INSIDE[v], text, protocol=99),
            datagram(REMOTE[v], OWN_INSIDE[v], b"", protocol=TCP),
            fragment(datagram(REMOTE[v], OWN_INSIDE[v], text + bytes(-(8 + len(text)) % 8))),
        ]
    return packets


@pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "control"])
def test_no_error_that_quotes_an_inner_packet_leaves_in_plaintext(ways: Ways, guarded: bool) -> None:
    ways.drivers.leak_guard.apply(ways.gateway, ())
    tunnel = Tunnelled(ways)
    for setting in (
        *("net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0", "net.ipv4.ipfrag_time=1"),
        *("net.ipv6.ip6frag_time=1", f"net.ipv4.neigh.{IN}.retrans_time_ms=50"),
        f"net.ipv6.neigh.{IN}.retrans_time_ms=50",
    ):
        run(ways.name, "sysctl", "-q", "-w", setting)
    run(ways.name, "ip", "link", "set", IN, "mtu", "1280")
    # From here on the tunnel carries towards gateway 1 only.
    for family in ("-4", "-6"):
        run(ways.name, "ip", family, "route", "flush", "table", "220")
    for left, right in zip(BOTH["local_cidrs"], BOTH["peer_cidrs"], strict=True):
        run(ways.name, "ip", "xfrm", "policy", "delete", "src", left, "dst", right, "dir", "out")
    if not guarded:
        ways.unguard()
    ways.out.forget()
    before, probes = ways.drops("out") if guarded else 0, errors(text := secrets.token_bytes(16))
    for packet in probes:
        tunnel.send(packet)
    if guarded:
        eventually(lambda: ways.drops("out") >= before + len(probes), 15.0)
        assert not list(filter(is_plain, ways.out.frames()))
    else:
        eventually(lambda: len(list(filter(is_plain, ways.out.frames()))) >= len(probes), 15.0)
    assert ways.out.has(text) == (not guarded)


def resolve(wire: Wire, asker: str, target: str) -> None:
    """Ask by ARP or neighbour discovery for the link-layer address of a target."""
    left, right = ipaddress.ip_address(asker).packed, ipaddress.ip_address(target).packed
    if ":" not in target:
        wire.send(
            bytes(b"\xff" * 6), struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + STATION + left + bytes(6) + right, 0x0806
        )
        return
    body = struct.pack("!BBHI", 135, 0, 0, 0) + right + b"\x01\x01" + STATION
    group = b"\xff\x02" + bytes(9) + b"\x01\xff" + right[-3:]
    packet = datagram(asker, str(ipaddress.IPv6Address(group)), body, 255, ICMPV6)
    wire.send(b"\x33\x33" + group[-4:], packet)


def answers(wire: Wire, target: str) -> bool:
    """True if an ARP reply or a neighbour advertisement for this address has been seen."""
    packed = ipaddress.ip_address(target).packed
    return any(
        frame[12:22] == b"\x08\x06\x00\x01\x08\x00\x06\x04\x00\x02" and frame[28:32] == packed
        if len(packed) == 4
        else frame[12:14] == b"\x86\xdd" and frame[20] == ICMPV6 and frame[54] == 136 and frame[62:78] == packed
        for frame in wire.frames()
    )


@pytest.mark.parametrize("v", [0, 1], ids=["arp", "nd"])
def test_no_interface_answers_for_an_address_of_another_one(ways: Ways, v: int) -> None:
    """Questions are answered in their order, so an answer that is missing when the next one comes is not on its way."""
    ways.drivers.leak_guard.apply(ways.gateway, ())
    places = (
        (ways.outsider, ROUTER[v], (OWN_INSIDE[v], NEAR[v]), OWN_OUTSIDE[v]),
        (ways.near, NEAR[v], (OWN_OUTSIDE[v], BESIDE[v], "10.1.1.1" if v == 0 else "2001:db8:1:1::1"), OWN_INSIDE[v]),
    )
    for wire, asker, foreign, own in places:
        for target in (*foreign, own):
            resolve(wire, asker, target)
        eventually(lambda wire=wire, own=own: answers(wire, own))  # type: ignore[misc]
        assert not [target for target in foreign if answers(wire, target)]
    # The control: settings by which interfaces answer for each other.
    if v == 0:
        for interface in ("all", OUT):
            run(ways.name, "sysctl", "-q", "-w", f"net.ipv4.conf.{interface}.arp_ignore=0")
    else:
        run(ways.name, "sysctl", "-q", "-w", f"net.ipv6.conf.{OUT}.proxy_ndp=1")
        run(ways.name, "ip", "neigh", "add", "proxy", OWN_INSIDE[v], "dev", OUT)
    resolve(ways.outsider, ROUTER[v], OWN_INSIDE[v])
    eventually(lambda: answers(ways.outsider, OWN_INSIDE[v]))
    # What another program has set is named and set back.
    changed = "net.ipv4.conf.all.arp_ignore" if v == 0 else f"net.ipv6.conf.{OUT}.proxy_ndp"
    assert f"sysctl {changed}" in ways.drivers.namespaces.apply(ways.gateway)


def test_the_gateway_asks_for_neighbours_with_the_address_of_the_interface(ways: Ways) -> None:
    ways.unguard()
    for announce in (2, 0):
        for interface in ("all", OUT):
            run(ways.name, "sysctl", "-q", "-w", f"net.ipv4.conf.{interface}.arp_announce={announce}")
        ways.out.forget()
        target = f"203.0.113.{90 + announce}"
        run(ways.name, "ping", "-c", "1", "-W", "1", "-I", OWN_INSIDE[0], target)
        packed = [ipaddress.ip_address(address).packed for address in (OWN_OUTSIDE[0], OWN_INSIDE[0], target)]
        asked = {
            frame[28:32] for frame in ways.out.frames() if frame[12:14] == b"\x08\x06" and frame[38:42] == packed[2]
        }
        assert asked == {packed[0 if announce else 1]}


ERRORS_SEEN = """
add table inet errors
add counter inet errors before
add counter inet errors after
add chain inet errors early { type filter hook prerouting priority -10; }
add chain inet errors late { type filter hook prerouting priority 10; }
add rule inet errors early icmp type destination-unreachable counter name before
add rule inet errors early icmpv6 type packet-too-big counter name before
add rule inet errors late icmp type destination-unreachable counter name after
add rule inet errors late icmpv6 type packet-too-big counter name after
"""


def test_what_ipsec_needs_passes_the_guard(ways: Ways) -> None:
    """Echo in fragments, errors about the gateway's own packets but not about others', and reports of groups."""
    ways.drivers.leak_guard.apply(ways.gateway, ())
    for target in OWN_OUTSIDE:
        assert (
            run(ways.router, "ping", "-n", "-c", "2", "-i", "0.05", "-W", "1", "-s", "3000", target).count("from") >= 2
        )
    run(ways.name, "nft", ERRORS_SEEN)
    for v, protocol, kind in ((0, ICMP, b"\x03\x04"), (1, ICMPV6, b"\x02\x00")):
        for source in (NEAR[v], OWN_OUTSIDE[v]):
            quoted = datagram(source, REMOTE[v], bytes(16))
            body = kind + b"\0\0" + struct.pack("!I", 1300) + quoted
            ways.outsider.send(ways.out_mac, datagram(ROUTER[v], OWN_OUTSIDE[v], body, protocol=protocol))

    def seen(place: str) -> int:
        return packets(run(ways.name, "nft", "list", "counter", "inet", "errors", place))

    eventually(lambda: seen("before") == 4)
    assert seen("after") == 2
    ways.out.forget()
    run(ways.name, "ip", "address", "add", "2001:db8:ff::77/64", "dev", OUT)
    eventually(lambda: any(frame[12:14] == b"\x86\xdd" and b"\x8f\x00" in frame[60:64] for frame in ways.out.frames()))


def test_a_rule_that_another_program_takes_out_is_put_back(ways: Ways) -> None:
    drivers, closed = ways.drivers, "inet linkspan forward"
    drivers.leak_guard.apply(ways.gateway, ())
    assert drivers.leak_guard.restore(ways.gateway, ()) == ()
    before = listed(ways)
    for command in (
        f"flush chain {closed}",
        f"delete chain {closed}",
        f"add chain {closed} {{ policy accept; }}",
        f"insert rule {closed} accept",
    ):
        run(ways.name, "nft", command)
        assert drivers.leak_guard.restore(ways.gateway, ()) != (), command
        assert drivers.leak_guard.restore(ways.gateway, ()) == ()
        assert listed(ways) == before, command


def listed(ways: Ways) -> list[str]:
    """The guard without the numbers of its counters; chains in any order."""
    return sorted(line for line in run(ways.name, "nft", "list", "ruleset").splitlines() if "packets" not in line)
