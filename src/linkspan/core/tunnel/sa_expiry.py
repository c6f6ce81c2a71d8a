"""When an IKE SA is over that nobody renewed. Pure.

By IKEv1 whoever renews an IKE SA begins another one, which an end that is response-only must not. So charon is told of
no renewal there (`core.ipsec.config.without_rekey`), and without one it keeps an IKE SA for ever: its end is ours to
find.
"""

from __future__ import annotations

from collections.abc import Iterable

from linkspan.core.ipsec.config import IkeConfig
from linkspan.core.tunnel.sas import IkeSa

EXPIRED = "the IKE SA reached its lifetime and the peer had not renewed it"


def expired(configs: Iterable[IkeConfig], sas: Iterable[IkeSa], now: float) -> tuple[frozenset[int], float | None]:
    """Numbers of the IKE SAs that are over, and when the next one will be, None if none will.

    `age` of an IKE SA is in whole seconds, rounded down; so none ends early. What charon renews it ends by itself.
    """
    lifetimes = {config.name: config.rekey_time + config.over_time for config in configs if config.version == 1}
    left = {sa.unique_id: lifetimes[sa.name] - sa.age for sa in sas if sa.established and sa.name in lifetimes}
    over = frozenset(number for number, seconds in left.items() if seconds <= 0)
    return over, min((now + seconds for seconds in left.values() if seconds > 0), default=None)
