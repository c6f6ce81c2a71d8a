"""Expiry of IKEv1 SAs that no end replaced.

IKEv1 replaces an IKE SA by a new Main Mode exchange, which a response-only end must not initiate. So charon is loaded
without rekeying there (`core.ipsec.config.without_rekey`). Without it charon keeps an IKE SA for ever, and the agent
deletes it at its lifetime.
"""

from __future__ import annotations

from collections.abc import Iterable

from linkspan.core.ipsec.config import IkeConfig
from linkspan.core.tunnel.sas import IkeSa

EXPIRED = "the IKE SA reached its lifetime and the peer did not replace it"


def expired(configs: Iterable[IkeConfig], sas: Iterable[IkeSa], now: float) -> tuple[frozenset[int], float | None]:
    """Unique ids of the IKE SAs that have expired, and the time of the next expiry, None without one.

    charon reports `age` in whole seconds, rounded down, so no IKE SA is deleted early. SAs that charon rekeys are its
    own to delete.
    """
    lifetimes = {config.name: config.rekey_time + config.over_time for config in configs if config.version == 1}
    left = {sa.unique_id: lifetimes[sa.name] - sa.age for sa in sas if sa.established and sa.name in lifetimes}
    over = frozenset(unique_id for unique_id, seconds in left.items() if seconds <= 0)
    return over, min((now + seconds for seconds in left.values() if seconds > 0), default=None)
