"""Wide traffic selectors beside other tunnels and attached networks, with charon and packets, on either ESP backend.

Each exemption has a control without it, and the leak test one without the guard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.ipsec.config import IkeConfig
from linkspan.core.ipsec.selectors import pairs
from linkspan.core.state.desired import Connection
from linkspan.drivers.charon.daemon import StrongswanCharon
from linkspan.drivers.linux import interface_names
from tests.drivers.machine import Machine, WireCounter, connection, eventually, gateway, host, inside_network, ping, run

pytestmark = [pytest.mark.root, pytest.mark.wire]

BRANCH, HUB, OTHER = 1, 2, 3
PEERS = {
    4: ("0.0.0.0/0", "203.0.0.0/8", "203.0.113.0/24", "203.0.113.0/29"),
    6: ("::/0", "2001:db8::/32", "2001:db8:ff::/64", "2001:db8:ff::/125"),
}
"""Remote prefixes that hold the outside addresses of both peers."""
ATTACHED = {4: ("0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/14"), 6: ("::/0", "2001:db8::/32", "2001:db8::/46")}
"""Remote prefixes that hold the attached networks of gateway 1 and the hub's."""
HALVES = {4: ("0.0.0.0/1", "128.0.0.0/1"), 6: ("::/1", "8000::/1")}
ON_HUB = ("203.0.113.5/32", "2001:db8:ff::5/128", "fd00::5/128")
"""Addresses on the hub's loopback: user-space ESP needs one in each local selector."""


def outside(version: int, number: int) -> str:
    return f"203.0.113.{number}" if version == 4 else f"2001:db8:ff::{number}"


def inside(version: int, number: int, index: int = 0, last: int = 1) -> str:
    return f"10.{number}.{index}.{last}" if version == 4 else f"2001:db8:{number}:{index}::{last}"


def network(version: int, number: int) -> str:
    return f"10.{number}.0.0/24" if version == 4 else f"2001:db8:{number}::/64"


class Site:
    """A gateway with its charon and connections, in the order in which an agent sets them up."""

    def __init__(self, machine: Machine, number: int, connections: list[Connection], exempt: bool) -> None:
        self.drivers = machine.drivers()
        next_hops = (outside(4, HUB), outside(6, HUB)) if number == BRANCH else ()
        self.gateway = gateway(number, inside=2, next_hops=next_hops)
        self.drivers.namespaces.apply(self.gateway)
        self.name = self.drivers.namespaces.name(self.gateway.id)
        self.configs: list[IkeConfig] = [ipsec_config.build(wanted) for wanted in connections]
        self.charon: StrongswanCharon = self.drivers.charon(self.gateway)
        assert self.charon.start()
        protected = frozenset[object]().union(*map(pairs, connections))
        self.drivers.leak_guard.apply(self.gateway, protected)  # type: ignore[arg-type]
        if exempt:
            self.drivers.policy_bypass.apply(self.gateway, protected)  # type: ignore[arg-type]
        else:
            for family in ("-4", "-6"):
                run(self.name, "ip", family, "rule", "flush", "protocol", "76")
        for wanted, config in zip(connections, self.configs, strict=True):
            self.charon.load(config, ipsec_config.shared_key(wanted, config))

    def initiate(self, index: int) -> None:
        config = self.configs[index]
        self.charon.initiate(config.name, config.children[0].name)

    def installed(self) -> int:
        return sum(len(sa.installed) for sa in self.charon.sas())


class Branch(Site):
    """Gateway 1 with a host on each of two attached networks, a hub behind `wide` prefixes, and another peer.

    `exempt`: without it the gateway has no exemption. `narrowed`: all that the hub takes of `wide`. `wire` counts the
    packets on the gateway's outside link.
    """

    def __init__(
        self, machine: Machine, version: int, wide: tuple[str, ...], exempt: bool = True, narrowed: str = ""
    ) -> None:
        self.version = version
        ours, other = (network(version, BRANCH),), (network(version, OTHER),)
        self.hub = Site(machine, HUB, [self._connection(HUB, BRANCH, (narrowed,) if narrowed else wide, ours)], True)
        for address in ON_HUB:
            run(self.hub.name, "ip", "address", "add", address, "dev", "lo", *(["nodad"] if ":" in address else []))
        self.other = Site(machine, OTHER, [self._connection(OTHER, BRANCH, other, ours)], True)
        connections = [self._connection(BRANCH, HUB, ours, wide), self._connection(BRANCH, OTHER, ours, other)]
        super().__init__(machine, BRANCH, connections, exempt)
        self.hosts = [host(machine, f"host{index}", inside_network(BRANCH, index), BRANCH, index) for index in (0, 1)]
        port = interface_names.bridge_port(machine.instance, "node-a", self.gateway.id, interface_names.OUTSIDE)
        self.wire = WireCounter(machine.home, port)

    def _connection(self, number: int, peer: int, local: tuple[str, ...], remote: tuple[str, ...]) -> Connection:
        peer_address = outside(self.version, peer)
        ends = {"local_address": outside(self.version, number), "peer_address": peer_address, "peer_id": peer_address}
        return connection(number, peer, local_cidrs=local, peer_cidrs=remote, **ends)

    def wait_up(self, count: int, seconds: float = 10.0) -> None:
        eventually(lambda: self.installed() == count, seconds)

    def between_attached(self) -> list[int]:
        """The answers to pings on the attached networks, after the gateway has forgotten its neighbours."""
        for family in ("-4", "-6"):
            run(self.name, "ip", family, "neigh", "flush", "all")
        first, second = self.hosts
        to_first, to_second = inside(self.version, BRANCH, 0, 10), inside(self.version, BRANCH, 1, 10)
        return [
            ping(first, to_second),
            ping(second, to_first),
            ping(first, inside(self.version, BRANCH, 0)),
            ping(first, inside(self.version, BRANCH, 1)),
            ping(self.name, to_first),
            ping(self.name, to_second, inside(self.version, BRANCH, 0)),
        ]


@pytest.fixture
def branch(machine: Machine) -> Iterator[Callable[..., Branch]]:
    """Creates the branch: `branch(version, wide, exempt)`."""
    branches: list[Branch] = []

    def make(*arguments: object) -> Branch:
        branches.append(Branch(machine, *arguments))  # type: ignore[arg-type]
        return branches[-1]

    yield make
    for made in branches:
        made.wire.close()


@pytest.mark.parametrize(
    ("version", "wide"), [(version, (cidr,)) for version, cidrs in PEERS.items() for cidr in cidrs]
)
def test_a_tunnel_to_another_peer_comes_up_and_carries_beside(
    branch: Callable[..., Branch], version: int, wide: tuple[str, ...]
) -> None:
    """Also one that comes up after the wide one, and one that the peer initiates."""
    site = branch(version, wide)
    site.initiate(0)
    site.wait_up(1)
    site.initiate(1)
    site.wait_up(2)
    source = site.hosts[0]
    for _ in range(2):
        assert ping(source, inside(version, OTHER)) == 3
        assert ping(source, outside(version, 5)) == 3, "the wide tunnel does not carry"
        # Once more, initiated by the peer.
        for sa in site.other.charon.sas():
            site.other.charon.terminate_sa(sa.unique_id)
        site.wait_up(1)
        site.other.initiate(0)
        site.wait_up(2)
    assert ping(site.name, outside(version, OTHER), outside(version, BRANCH)) == 3
    assert site.wire.read().plaintext == 0
    assert site.wire.esp >= 24


@pytest.mark.parametrize("version", [4, 6])
def test_without_exemptions_the_other_peer_is_swallowed(branch: Callable[..., Branch], version: int) -> None:
    """The control: what the exemptions are for happens without them."""
    site = branch(version, PEERS[version][:1], False)
    site.initiate(0)
    site.wait_up(1)
    site.initiate(1)
    assert ping(site.hosts[0], inside(version, OTHER)) == 0
    assert site.between_attached() != [3] * 6


@pytest.mark.parametrize(
    ("version", "wide"),
    [(version, (cidr,)) for version, cidrs in ATTACHED.items() for cidr in cidrs] + list(HALVES.items()),
)
def test_attached_networks_stay_reachable(branch: Callable[..., Branch], version: int, wide: tuple[str, ...]) -> None:
    site = branch(version, wide)
    before = site.between_attached()
    site.initiate(0)
    site.wait_up(1)
    assert before == site.between_attached() == [3] * 6
    assert ping(site.hosts[0], inside(version, HUB)) == 3
    assert site.wire.read().plaintext == 0
    assert site.wire.esp >= 6


@pytest.mark.parametrize(("version", "attached"), [(4, "10.1.1.0/24"), (6, "2001:db8:1:1::/64")])
def test_a_peer_that_narrows_the_selectors_to_an_attached_network_does_not_get_it(
    branch: Callable[..., Branch], version: int, attached: str
) -> None:
    site = branch(version, ATTACHED[version][:1], True, attached)
    address = f"{inside(version, BRANCH, 1, 99)}/{32 if version == 4 else 128}"
    run(site.hub.name, "ip", "address", "add", address, "dev", "lo", *(["nodad"] if version == 6 else []))
    site.hub.initiate(0)
    site.wait_up(1)
    assert site.between_attached() == [3] * 6
    for sa in site.charon.sas():
        site.charon.terminate_sa(sa.unique_id)
    site.wait_up(0)
    assert site.between_attached() == [3] * 6


@pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "control"])
@pytest.mark.parametrize("version", [4, 6])
def test_no_exemption_lets_a_packet_out_in_plaintext(
    branch: Callable[..., Branch], version: int, guarded: bool
) -> None:
    """Packets of hosts to peers' outside addresses, to an attached network whose interface is down, and into the
    tunnel, while it is down, while charon is gone, and while it is up."""
    site = branch(version, PEERS[version][:1])
    if not guarded:
        run(site.name, "nft", "flush", "ruleset")
    run(site.name, "ip", "link", "set", interface_names.inside_interface(inside_network(BRANCH, 1)), "down")
    targets = [outside(version, HUB), outside(version, OTHER), inside(version, BRANCH, 1, 10), inside(version, HUB)]
    answers = [ping(site.hosts[0], target) for target in targets]
    down = site.wire.read().plaintext
    site.initiate(0)
    site.wait_up(1)
    for target in targets[:3]:
        ping(site.hosts[0], target)
    up = site.wire.read().plaintext
    site.charon.stop()
    for target in targets:
        ping(site.hosts[0], target)
    stopped = site.wire.read().plaintext
    print(f"packets in plaintext: tunnel down {down}, up {up}, charon stopped {stopped}")
    if guarded:
        assert (answers, down, up, stopped) == ([0] * 4, 0, 0, 0)
    else:
        assert min(down, up, stopped) >= 3, "the control did not leak"
