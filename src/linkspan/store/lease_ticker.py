"""The thread of an API process that advances the lease clock, so that it runs while this process can write."""

from __future__ import annotations

import structlog

from linkspan.core.state import lease_clock
from linkspan.store.store import Conflict, Store, Unavailable
from linkspan.store.ticker import Ticker

_log = structlog.get_logger("store.lease_ticker")


class LeaseTicker(Ticker):
    """Advances the clock at once and then at its interval."""

    def __init__(self, store: Store) -> None:
        super().__init__("lease-clock", lease_clock.interval(store.lease))
        self._store = store
        self._stands = False

    def __enter__(self) -> None:
        self._advance()
        super().__enter__()

    def tick(self) -> None:
        """Advances the clock, and says once that it stands."""
        fault = self._advance()
        if fault and not self._stands:
            _log.warning("no lease ends until the database can be written again", error=fault)
        self._stands = bool(fault)

    def _advance(self) -> str:
        """Advances the clock. Returns the reason if that fails; the next attempt finds out whether it lasts."""
        try:
            self._store.advance_clock()
        except (Conflict, Unavailable) as error:
            return str(error)
        return ""
