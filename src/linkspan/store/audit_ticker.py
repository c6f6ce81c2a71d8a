"""The thread of an API process that chains the audit trail, and removes what is older than its retention."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Final

import structlog

from linkspan.store import audit
from linkspan.store.store import Conflict, Store, Unavailable
from linkspan.store.ticker import Ticker

INTERVAL: Final = 1.0
"""Seconds for which an entry may be without its place in the chain."""
PURGE: Final = 3600.0
"""Seconds between two removals."""

_log = structlog.get_logger("store.audit_ticker")


class AuditTicker(Ticker):
    """Chains entries at its interval. `retention`: seconds; 0: entries stay."""

    def __init__(self, store: Store, retention: float = 0.0, interval: float = INTERVAL) -> None:
        super().__init__("audit", interval)
        self._store = store
        self._retention = retention
        self._purged_at: float | None = None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        super().__exit__(kind, error, at)
        # What was written last, too.
        self.tick()

    def tick(self) -> None:
        """Chains what was committed meanwhile; from time to time removes what is old."""
        try:
            while self._store.seal_audit() == audit.BATCH:
                pass
            now = time.monotonic()
            if self._retention and (self._purged_at is None or now - self._purged_at >= PURGE):
                self._store.purge_audit(self._retention)
                self._purged_at = now
        except (Conflict, Unavailable) as error:
            _log.debug("the audit trail is chained later, or by the next process", error=str(error))
