"""The thread of an API process that advances the lease clock, so that it runs while this process can write."""

from __future__ import annotations

import threading
from types import TracebackType

import structlog

from linkspan.core.state import lease_clock
from linkspan.store.store import Conflict, Store, Unavailable

_log = structlog.get_logger("store.lease_ticker")


class LeaseTicker:
    """Advances the clock at once and then at its interval, for the length of a `with` block."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease-clock", daemon=True)

    def __enter__(self) -> None:
        self._advance()
        self._thread.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        stands = False
        while not self._stop.wait(lease_clock.interval(self._store.lease)):
            fault = self._advance()
            if fault and not stands:
                _log.warning("no lease ends until the database can be written again", error=fault)
            stands = bool(fault)

    def _advance(self) -> str:
        """Advances the clock. Returns the reason if that fails; the next attempt finds out whether it lasts."""
        try:
            self._store.advance_clock()
        except (Conflict, Unavailable) as error:
            return str(error)
        return ""
