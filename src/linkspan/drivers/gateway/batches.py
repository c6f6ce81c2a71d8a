"""Work that several threads ask for at once, done for all of them together.

The kernel removes links one after the other, and waits for every processor after each; for all of one request it waits
once. So the first thread does what the others have asked for while it waited for its turn.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from typing import Generic, TypeVar

T = TypeVar("T")


class _Request(Generic[T]):
    """What one thread asks for. `failed`: it was done together with others, and that failed."""

    __slots__ = ("done", "failed", "items")

    def __init__(self, items: Collection[T]) -> None:
        self.items = items
        self.done = False
        self.failed = False


class Batches(Generic[T]):
    """Thread-safe. `work` gets all items that are asked for; one call at a time."""

    def __init__(self, work: Callable[[Collection[T]], None]) -> None:
        self._work = work
        self._turn = threading.Lock()
        self._lock = threading.Lock()
        self._waiting: list[_Request[T]] = []

    def run(self, items: Collection[T]) -> None:
        """Returns when the items are done. Raises what `work` raises for them alone."""
        request = _Request(items)
        with self._lock:
            self._waiting.append(request)
        with self._turn:
            if not request.done:
                self._run_waiting()
            if request.failed:
                self._work(items)

    def _run_waiting(self) -> None:
        with self._lock:
            batch, self._waiting = self._waiting, []
        for request in batch:
            request.done = True
        try:
            self._work([item for request in batch for item in request.items])
        except Exception:
            if len(batch) == 1:
                raise
            # Whose fault it is shows when each is done alone.
            for request in batch:
                request.failed = True
