"""Threads of an API process that do something at an interval."""

from __future__ import annotations

import threading
from types import TracebackType


class Ticker:
    """Calls `tick` at an interval, seconds, on a thread of its own, for the length of a `with` block. A tick handles
    its own errors."""

    def __init__(self, name: str, interval: float) -> None:
        self._interval = interval
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def tick(self) -> None:
        """Does what is due each time."""
        raise NotImplementedError

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            self.tick()
