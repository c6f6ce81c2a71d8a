"""The way to a database that may be away: while it is, one thread tries to reach it, and others are refused at once.

Otherwise each thread would wait for the same deadline, and nothing would be left to answer that it is away.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from linkspan.store.database.errors import Disconnected

PAUSE: Final = 0.2
"""Seconds between two attempts to reach a database that is away."""


class Gate:
    """Thread-safe. Open until an attempt to connect fails, and again after one that succeeds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reason: str | None = None
        self._next = 0.0

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Runs an attempt to connect. Raises Disconnected, also without an attempt while another one is made."""
        self._enter()
        try:
            yield
        except BaseException as error:
            with self._lock:
                self._next = time.monotonic() + PAUSE
                if isinstance(error, Disconnected):
                    self._reason = str(error)
            raise
        with self._lock:
            self._reason = None

    def _enter(self) -> None:
        with self._lock:
            if self._reason is None:
                return
            if time.monotonic() < self._next:
                raise Disconnected(self._reason)
            # This thread tries; the others wait for its result.
            self._next = float("inf")
