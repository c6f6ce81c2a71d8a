"""Ends of certificates of one gateway while their tunnels are up: ours, and those that peers have shown.

charon does not look at them again. It does not say which certificate authenticated an IKE SA either, so each that has
the peer's identity counts: a check too many costs nothing. Used only on the thread of the gateway's worker.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from linkspan.agent import x509
from linkspan.core.ipsec import identities
from linkspan.core.tunnel.tunnel import Tunnel, Tunnels

LATER = (2.0, 120.0)
"""Seconds after the end of a certificate when it is checked: it is valid through its last second, and the peer's clock,
which decides about ours, may be behind."""


class Expiry:
    """`now` gives seconds since the epoch."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._times: dict[str, set[float]] = {}

    def look(self, tunnels: Tunnels, certificates: Iterable[bytes]) -> None:
        """Take the ends of these certificates of peers, in DER, for the tunnels that they may have authenticated."""
        parsed = [each for der in certificates if (each := x509.peer_certificate(der))]
        now = self._now()
        for id, tunnel in tunnels.items():
            if _is_watched(tunnel):
                name = identities.stored(tunnel.connection.peer_id).text.lower()
                ends = {each.not_after for each in parsed if name in each.names}
                if tunnel.connection.certificates:
                    ends.add(tunnel.connection.certificates.local.not_after)
                times = {end + later for end in ends for later in LATER}
                self._times[id] = {time for time in self._times.get(id, set()) | times if time > now}

    def due(self, tunnels: Tunnels) -> frozenset[str]:
        """The uuids of tunnels of which a certificate has ended since the last call."""
        now = self._now()
        kept = {id: times for id, times in self._times.items() if id in tunnels and _is_watched(tunnels[id])}
        self._times = {id: {time for time in times if time > now} for id, times in kept.items()}
        return frozenset(id for id, times in kept.items() if times != self._times[id])

    def seconds_to_next(self) -> float | None:
        """Seconds until `due` has something to say, None if no certificate is known."""
        times = [time for each in self._times.values() for time in each]
        return max(0.0, min(times) - self._now()) if times else None


def _is_watched(tunnel: Tunnel) -> bool:
    return bool(tunnel.config and tunnel.config.certificates and (tunnel.up or tunnel.previous))
