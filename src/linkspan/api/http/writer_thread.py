"""One thread for writes, where the database has one writer.

Results are delivered in batches while more tasks wait: waking the event loop for each result makes it contend for the
GIL with the writer (docs/performance.md).
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from typing import Any, Final

MOST: Final = 8
"""How many results wait for each other."""
PATIENCE: Final = 0.01
"""Seconds for which a result waits for further tasks."""

QueuedCall = tuple[Future[Any], Callable[[], Any]]


class WriterThread(Executor):
    """An executor with one thread, which does not keep the interpreter from ending: who needs a result waits for it."""

    def __init__(self, name: str, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._tasks: SimpleQueue[QueuedCall | None] = SimpleQueue()
        self._closed = False
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Have something done in its turn. Raises RuntimeError after `shutdown`."""
        if self._closed:
            raise RuntimeError("no more tasks are taken: this executor was shut down")
        future: Future[Any] = Future()
        self._tasks.put((future, functools.partial(fn, *args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Lets submitted tasks finish; does not wait for them."""
        self._closed = True
        self._tasks.put(None)

    def _work(self) -> None:
        while self._some(self._tasks.get()):
            pass

    def _some(self, task: QueuedCall | None) -> bool:
        """Do this one and some that follow, then hand out what came of them; whether that was not the end."""
        hand_out: list[Callable[[], None]] = []
        end = time.monotonic() + self._patience
        while task is not None:
            hand_out += _done(*task)
            if len(hand_out) >= MOST or time.monotonic() >= end or self._tasks.empty():
                break
            task = self._tasks.get()
        for each in hand_out:
            each()
        return task is not None


def _done(future: Future[Any], work: Callable[[], Any]) -> list[Callable[[], None]]:
    """Does it, if it was not cancelled; how to tell the result."""
    if not future.set_running_or_notify_cancel():
        return []
    try:
        return [functools.partial(future.set_result, work())]
    except BaseException as error:  # noqa: BLE001 # whoever waits gets it
        return [functools.partial(future.set_exception, error)]
