"""Generated histories of two gateways whose connections to each other supersede one another, over the model of charon.

Both ends have an agent. At each time the pairs that are up stay up, until a user deletes or disables what carries them;
in the end each pair is carried by the newest connection that has it at both ends, and by no other.
"""

from __future__ import annotations

import random
from typing import Any

import msgspec

from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.ipsec import succession
from linkspan.core.ipsec.selectors import SelectorPair, named_pairs
from linkspan.core.secret import Secret
from linkspan.core.state.desired import Connection, Dpd
from linkspan.core.state.observed import ConnectionReport, GatewayReport
from linkspan.core.tunnel import fallback
from linkspan.core.tunnel.tunnel import children
from linkspan.testing.fake_world import FakeDaemon
from tests.agent.slow_charon import SLOWEST, Network
from tests.agent.two_ends import BASE, VARIANTS, Site
from tests.drivers.machine import connection

STEPS = 5
OVERTAKEN = SLOWEST
"""Seconds for which a pair may be up at one end only: a deletion may overtake the response that it follows."""
NETWORKS = (1, 2, 3)
CHANGES: tuple[dict[str, Any], ...] = (
    *VARIANTS,
    {"mtu": 1300},
    {"initiator": "response-only"},
    {"dpd": Dpd("restart", 11, 40), "ipsec": VARIANTS[3]["ipsec"]},
    {"psk": Secret("another"), "psk_ref": "another"},
    {"ike": msgspec.structs.replace(connection(1, 2).ike, ike_version="v1")},
)
_set = msgspec.structs.replace


class SuccessionSite(Site):
    """One end. What its agent says a connection has been superseded of must end. `states`: as reported, by uuid."""

    def __init__(self, number: int, network: Network) -> None:
        super().__init__(number, network)
        # The agent looks for charon's TUN device now and then.
        self.world.daemons[self.address, self.gateway.id] = FakeDaemon(self.gateway, "user-space")
        self.states: dict[str, str] = {}

    def reported(self, report: GatewayReport | ConnectionReport) -> None:
        self.states[report.id] = report.state

    def _allowed(self, owner: str) -> frozenset[str]:
        tunnel = self.worker._tunnels.by_id.get(owner) if self.worker else None
        if owner not in self.desired or tunnel is None:
            return frozenset()
        names = children(tunnel)
        return names | {fallback.fallback_name(name) for name in names}

    @property
    def newest(self) -> Connection:
        """The connection that was created last."""
        return max(self.desired.values(), key=succession.age)

    def owners(self, pair: SelectorPair) -> set[str]:
        """The connections with an installed child for a pair."""
        return {
            ipsec_config.owner_of(child.name)
            for end in self.ends()
            for number, child in end.children.items()
            if child.state == "INSTALLED" and pair in _pairs(end.configs[number])
        }


class SuccessionHistory:
    """One history, the same for the same seed. `faults`: what broke a rule."""

    site_class = SuccessionSite
    steps = STEPS

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.network = Network(self.chance)
        self.left, self.right = self.site_class(1, self.network), self.site_class(2, self.network)
        self.sites = (self.left, self.right)
        self.faults: list[str] = []
        self.lasting: frozenset[SelectorPair] = frozenset()
        self._count = 0
        self._gap_since: dict[SelectorPair, float] = {}
        self.network.time.after_each = self._look

    def run(self) -> list[str]:
        """Play it to its end. Returns the faults."""
        for site in self.sites:
            site.start_agent()
        self._create({}, NETWORKS)
        self._settle()
        for _ in range(self.steps):
            self._step()
            self._settle()
        return self.faults + [fault for site in self.sites for fault in site.faults]

    def _step(self) -> None:
        acts = [self._replace, self._replace, self._replace, self._withdraw, self._crash_agent]
        self.chance.choice(acts)()

    # -- acts ----------------------------------------------------------------------------------------------------

    def _replace(self) -> None:
        """A successor at both ends, one after the other, and then the older connections are deleted or not."""
        change = self.chance.choice(CHANGES)
        whole = "psk" in change or self.chance.random() < 0.5
        networks = NETWORKS if whole else tuple(sorted(self.chance.sample(NETWORKS, self.chance.choice((1, 2)))))
        newest = self.left.newest
        self._create({"psk": newest.psk, "psk_ref": newest.psk_ref} | change, networks)
        if self.chance.random() < 0.6:
            self.network.time.run(20.0)
            self._delete_superseded()

    def _create(self, changes: dict[str, Any], networks: tuple[int, ...]) -> None:
        self._count += 1
        order = list(self.sites)
        self.chance.shuffle(order)
        for site in order:
            site.put(self._new(site, changes, networks))
            self.network.time.run(self.chance.choice((0.0, 0.02, 0.3, 5.0)))

    def _new(self, site: SuccessionSite, changes: dict[str, Any], networks: tuple[int, ...]) -> Connection:
        """A connection of one end that is newer than all others."""
        near, far = (1, 2) if site is self.left else (2, 1)
        mine = {name: value for name, value in changes.items() if site is self.left or name != "initiator"}
        return connection(
            near,
            far,
            id=f"{near:04x}{self._count:04x}-e29b-41d4-a716-{self.chance.randrange(16**12):012x}",
            name=f"number {self._count}",
            service_id=site.gateway.id,
            created_at=float(self._count),
            local_cidrs=tuple(f"10.{near}.{net}.0/24" for net in networks),
            peer_cidrs=tuple(f"10.{far}.{net}.0/24" for net in networks),
            **{**BASE, **mine},
        )

    def _delete_superseded(self) -> None:
        for site in self.sites:
            idle = succession.wholly_superseded(site.desired.values())
            up = set().union(*(site.owners(pair) for pair in self._all_pairs(site)))
            for id in [id for id in idle if id not in up]:
                site.delete(id)
            self.network.time.run(self.chance.random())

    def _withdraw(self) -> None:
        """The newest connection is deleted or disabled at both ends: what it has superseded resumes."""
        if len(self.left.desired) < 2:
            return
        self.lasting = frozenset()
        by_deleting = self.chance.random() < 0.5
        for site in self.sites:
            enabled = [entry for entry in site.desired.values() if entry.enabled]
            newest = max(enabled, key=succession.age)
            if len(enabled) < 2:
                return
            if by_deleting:
                site.delete(newest.id)
            else:
                site.put(_set(newest, enabled=False, revision=newest.revision + 1))

    def _crash_agent(self) -> None:
        site = self.chance.choice(self.sites)
        site.crash_agent()
        self.network.time.run(self.chance.uniform(0.0, 3.0))
        site.start_agent()

    # -- rules ---------------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Let everything come up, and compare what each end carries with what it should."""
        self.network.time.run(60.0)
        for site in self.sites:
            for pair, owner in self._in_charge(site).items():
                if site.owners(pair) != {owner}:
                    found = sorted(site.desired[id].name if id in site.desired else id for id in site.owners(pair))
                    self.fault(f"{site.number}: {pair} is carried by {found} and not {site.desired[owner].name}")
        self.lasting = frozenset(self._in_charge(self.left))

    def _in_charge(self, site: Site) -> dict[SelectorPair, str]:
        order = sorted((entry for entry in site.desired.values() if entry.enabled), key=succession.age)
        return {pair: entry.id for entry in order for pair in named_pairs(entry)}

    def _all_pairs(self, site: Site) -> set[SelectorPair]:
        return {pair for entry in site.desired.values() for pair in named_pairs(entry)}

    def _look(self) -> None:
        for site in self.sites:
            site.look(-100.0)
        now = self.network.time.now
        gap = self.lasting - self.carried() if self.lasting else frozenset[SelectorPair]()
        self._gap_since = {pair: self._gap_since.get(pair, now) for pair in gap}
        lost = {pair for pair, since in self._gap_since.items() if now > since + OVERTAKEN}
        if lost:
            self.fault(f"not carried any more: {sorted(lost)}")
            self.lasting -= lost

    def carried(self) -> frozenset[SelectorPair]:
        """The left end's pairs with a child that both ends have."""
        far = {child.spi_in for end in self.right.ends() for child in end.children.values()}
        return frozenset(
            pair
            for end in self.left.ends()
            for number, child in end.children.items()
            if child.state != "DELETING" and child.spi_out in far
            for pair in _pairs(end.configs[number])
        )

    def fault(self, text: str) -> None:
        self.faults.append(f"{self.network.time.now:.2f}: {text}")


def _pairs(config: ipsec_config.ChildConfig) -> set[SelectorPair]:
    return {SelectorPair(left, right) for left in config.local_ts for right in config.remote_ts}
