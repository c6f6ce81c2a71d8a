"""The way to a database that may be away: while it is, one thread tries to reach it, and others are refused at once.

Otherwise each thread would wait for the same deadline, and nothing would be left to answer that it is away.
"""

from __future__ import annotations

import threading
import time
from typing import Final

from linkspan.store.database.errors import Disconnected

PAUSE: Final = 0.2
"""Seconds between two attempts to reach a database that is away."""


class Gate:
    """A `with` block around each attempt to connect. Thread-safe. Open until one fails, and again after one that
    succeeds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reason: str | None = None
        self._next = 0.0

    def __enter__(self) -> None:
        """Begins an attempt to connect. Raises Disconnected instead while another one is made."""
        if self._is_closed():
            self._take_turn()

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if error is not None:
            self._fail(error)
        elif self._is_closed():
            with self._lock:
                self._reason = None

    def _is_closed(self) -> bool:
        return self._reason is not None

    def _take_turn(self) -> None:
        with self._lock:
            if self._reason is None:
                return
            if time.monotonic() < self._next:
                raise Disconnected(self._reason)
            # This thread tries; the others wait for its result.
            self._next = float("inf")

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            self._next = time.monotonic() + PAUSE
            if isinstance(error, Disconnected):
                self._reason = str(error)
