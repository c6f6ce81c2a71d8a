"""Generated histories of two gateways whose connections to each other are replaced as Heat and Terraform do it.

The connections of both ends are replaced at about the same time: at each end a client creates the successor, and
deletes its predecessor once the successor is up. What was reported up stays up, and afterwards both successors have one
tunnel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from linkspan.core.secret import Secret
from linkspan.core.state.observed import ConnectionReport, GatewayReport
from tests.agent.successions import CHANGES, NETWORKS, SuccessionHistory, SuccessionSite

REPLACEMENTS = 4
POLL = 1.0
"""Longest time between two looks of a client at a connection's status, seconds."""
DELAYS = (0.0, 0.05, 0.3, 1.0, 3.0, 8.0)
"""Seconds between the replacements of the two ends, at most."""
DEADLINE = 120.0


class ReplacedSite(SuccessionSite):
    """One end. The newest connection is not reported down once it was reported up."""

    def reported(self, report: GatewayReport | ConnectionReport) -> None:
        before = self.states.get(report.id)
        super().reported(report)
        if before == "up" and report.state == "down" and report.id == self.newest.id:
            name = self.newest.name
            self.faults.append(f"{self.network.time.now:.2f}: {self.number}: {name} went down: {report.reason}")


class ReplacementHistory(SuccessionHistory):
    """One history, the same for the same seed."""

    site_class = ReplacedSite
    steps = REPLACEMENTS

    def _step(self) -> None:
        """Replace both ends, each by a client that does not wait for the other one."""
        change = self.chance.choice(CHANGES)
        self._count += 1
        values: dict[str, Any] = {"psk": self.left.newest.psk, "psk_ref": self.left.newest.psk_ref} | change
        if "psk" in change:
            values |= {"psk": Secret(f"key {self._count}"), "psk_ref": f"key {self._count}"}
        order = list(self.sites)
        self.chance.shuffle(order)
        first, second = (self._replacement(site, values) for site in order)
        first()
        self.network.time.later(second, self.chance.choice(DELAYS) * self.chance.random())
        self.network.time.run(DEADLINE, self._are_replaced)
        if not self._are_replaced():
            self.fault(f"a successor has not come up: {[site.states for site in self.sites]}")

    def _are_replaced(self) -> bool:
        return all([item.name for item in site.desired.values()] == [f"number {self._count}"] for site in self.sites)

    def _replacement(self, site: SuccessionSite, values: dict[str, Any]) -> Callable[[], None]:
        older, newer = site.newest, self._new(site, values, NETWORKS)

        def look() -> None:
            if site.states.get(newer.id) == "up":
                site.delete(older.id)
            else:
                self.network.time.later(look, POLL * self.chance.random())

        def create() -> None:
            site.put(newer)
            look()

        return create

    def _settle(self) -> None:
        super()._settle()
        for site in self.sites:
            listed = [child.name for end in site.ends() for child in end.children.values()]
            if len(listed) > len(set(listed)):
                self.fault(f"{site.number}: twice: {sorted(listed)}")
