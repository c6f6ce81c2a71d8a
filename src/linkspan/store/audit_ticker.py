"""The thread of an API process that chains the audit trail, and removes what is older than its retention."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Final

import structlog

from linkspan.store import audit
from linkspan.store.store import Conflict, Store, Unavailable

INTERVAL: Final = 1.0
"""Seconds for which an entry may be without its place in the chain."""
PURGE: Final = 3600.0
"""Seconds between two removals."""

_log = structlog.get_logger("store.audit_ticker")


class AuditTicker:
    """Chains entries at its interval, for the length of a `with` block. `retention`: seconds; 0: entries stay."""

    def __init__(self, store: Store, retention: float = 0.0, interval: float = INTERVAL) -> None:
        self._store = store
        self._retention = retention
        self._interval = interval
        self._purged_at: float | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            try:
                self.tick()
            except (Conflict, Unavailable) as error:
                _log.debug("the audit trail is chained later", error=str(error))
        # What was written last, too.
        try:
            self.tick()
        except (Conflict, Unavailable) as error:
            _log.debug("the audit trail is chained by the next process", error=str(error))

    def tick(self) -> None:
        """Chains what was committed meanwhile; from time to time removes what is old."""
        while self._store.seal_audit() == audit.BATCH:
            pass
        now = time.monotonic()
        if self._retention and (self._purged_at is None or now - self._purged_at >= PURGE):
            self._store.purge_audit(self._retention)
            self._purged_at = now
