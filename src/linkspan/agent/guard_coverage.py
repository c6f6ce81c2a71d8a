"""The selector pairs that one gateway's leak guard covers: added before a change, removed after the SAs are gone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set

import structlog

from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.ipsec.selectors import SelectorPair, pairs
from linkspan.core.state import admin_state
from linkspan.core.state.desired import Gateway
from linkspan.core.tunnel.tunnel import Tunnel
from linkspan.drivers.ports import LeakGuard, PolicyBypass


class GuardCoverage:
    """Used only on the thread of the gateway's worker. Tunnels are by their connections' uuids.

    `orphans`: uuids of connections that charon has and that are not desired. While there are any, all that an earlier
    run of the agent guarded stays guarded. If the router or the external network is down, the outside interface is
    closed in `uncover`: before that, charon deletes the SAs at the peers. The same pairs decide what the bypass exempts
    from IPsec policies, which exist only while a pair is covered.
    """

    def __init__(self, guard: LeakGuard, bypass: PolicyBypass) -> None:
        self.orphans: frozenset[str] = frozenset()
        self._guard = guard
        self._bypass = bypass
        self._bypassed: tuple[Gateway, frozenset[SelectorPair]] | None = None
        self._covered: dict[str, frozenset[SelectorPair]] = {}
        self._held: frozenset[str] = frozenset()
        self._adopted: frozenset[SelectorPair] = frozenset()
        self._applied: tuple[Gateway, frozenset[SelectorPair]] | None = None
        self._outside_open = False

    def charon_started(self) -> None:
        """Apply the bypass again, with the next `cover`: a start of charon removes all policies, but not the guard."""
        self._bypassed = None

    def adopt(self, gateway: Gateway, known: Set[str], loaded: Iterable[frozenset[str]]) -> None:
        """Keep what an earlier run guards until it is known to be gone. Does nothing after the first `cover`.

        `known`: uuids of the connections that are desired or gone; `loaded`: the children that charon has, by IKE
        connection. Raises DriverError.
        """
        if self._applied is not None:
            return
        self._adopted = self._guard.current(gateway.id)
        owners = frozenset(ipsec_config.owner_of(child) for children in loaded for child in children)
        self.orphans = owners - known
        self._outside_open = bool(owners)
        if self.orphans:
            log = structlog.get_logger("agent.gateway").bind(gateway=gateway.id)
            log.warning("charon has connections that are not desired; they stay", connections=sorted(self.orphans))

    def close(self, gateway: Gateway) -> None:
        """Close the inside interfaces whose networks are down. Does nothing before the first `cover`.

        Raises DriverError.
        """
        if self._applied is not None and not admin_state.is_open(gateway):
            self._apply(self._before_deletes(gateway))

    def cover(self, gateway: Gateway, old: Mapping[str, Tunnel], new: Mapping[str, Tunnel]) -> set[str]:
        """Guard the old and the new tunnels. Returns the uuids of connections that are new or edited.

        Raises DriverError.
        """
        changed = {id for id, tunnel in new.items() if id not in old or old[id].connection is not tunnel.connection}
        for id in changed:
            self._covered[id] = pairs(new[id].connection) | self._covered.get(id, frozenset())
        self._apply(self._before_deletes(gateway))
        return changed

    def uncover(
        self, gateway: Gateway, tunnels: Mapping[str, Tunnel], changed: Set[str], stray: frozenset[str]
    ) -> None:
        """Stop guarding connections that are gone, and former pairs of `changed` connections. Raises DriverError.

        What still has SAs keeps its pairs until the next call: connections of which strays are left (`stray`), and
        those whose previous version is up.
        """
        changed = changed | self._held
        self._held = stray | {id for id, tunnel in tunnels.items() if tunnel.previous and tunnel.previous.up}
        self._covered = {
            id: covered if id in self._held or id not in changed else pairs(tunnels[id].connection)
            for id, covered in self._covered.items()
            if id in tunnels or id in self._held
        }
        if not self.orphans and not stray:
            self._adopted = frozenset()
        self._apply(gateway)
        self._outside_open = not admin_state.outside_reason(gateway)

    def forget(self) -> None:
        """Apply everything again next time: the namespace may be another one."""
        self._applied = self._bypassed = None

    def restore_guard(self) -> tuple[str, ...]:
        """Restore the guard as it was applied last. Returns what was missing, in words. Raises DriverError."""
        return self._guard.restore(*self._applied) if self._applied else ()

    def restore_bypass(self) -> tuple[str, ...]:
        """Restore the bypass as it was applied last. Returns what was missing, in words. Raises DriverError."""
        return self._bypass.restore(*self._bypassed) if self._bypassed else ()

    def _before_deletes(self, gateway: Gateway) -> Gateway:
        return admin_state.draining(gateway) if self._outside_open else gateway

    def _apply(self, gateway: Gateway) -> None:
        covered = self._adopted.union(*self._covered.values())
        if self._applied != (gateway, covered):
            self._guard.apply(gateway, covered)
            self._applied = (gateway, covered)
        if self._bypassed != (gateway, covered):
            self._bypass.apply(gateway, covered)
            self._bypassed = (gateway, covered)
