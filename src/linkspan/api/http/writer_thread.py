"""One thread for writes, where the database has one writer.

Results are delivered in batches while more tasks wait: waking the event loop for each result makes it contend for the
GIL with the writer (docs/performance.md).
"""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from typing import Any, Final, TypeVar

_T = TypeVar("_T")
MOST: Final = 8
"""Results that are delivered together at most."""
PATIENCE: Final = 0.01
"""Seconds for which a result waits for further tasks."""

QueuedCall = tuple[Future[Any], Callable[[], Any]]


class WriterThread(Executor):
    """An executor with one daemon thread: the interpreter does not wait for it at exit."""

    def __init__(self, name: str, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._tasks: SimpleQueue[QueuedCall | None] = SimpleQueue()
        self._closed = False
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Queues a call. Raises RuntimeError after `shutdown`."""
        if self._closed:
            raise RuntimeError("no more tasks are taken: this executor was shut down")
        future: Future[Any] = Future()
        self._tasks.put((future, functools.partial(fn, *args, **kwargs)))
        return future

    def run(self, function: Callable[..., _T], /, *arguments: Any) -> asyncio.Future[_T]:
        """As `submit`, for coroutines."""
        return asyncio.wrap_future(self.submit(function, *arguments))

    def close(self) -> None:
        """As `shutdown`."""
        self.shutdown()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Lets submitted tasks finish; does not wait for them."""
        self._closed = True
        self._tasks.put(None)

    def _work(self) -> None:
        while self._run_batch(self._tasks.get()):
            pass

    def _run_batch(self, task: QueuedCall | None) -> bool:
        """Runs a task and some that follow, then delivers their results. Returns False after `shutdown`."""
        deliveries: list[Callable[[], None]] = []
        end = time.monotonic() + self._patience
        while task is not None:
            deliveries += _run(*task)
            if len(deliveries) >= MOST or time.monotonic() >= end or self._tasks.empty():
                break
            task = self._tasks.get()
        for deliver in deliveries:
            deliver()
        return task is not None


def _run(future: Future[Any], call: Callable[[], Any]) -> list[Callable[[], None]]:
    """Runs a task. Returns the function that delivers its result; nothing if the task was cancelled."""
    if not future.set_running_or_notify_cancel():
        return []
    try:
        return [functools.partial(future.set_result, call())]
    except BaseException as error:  # noqa: BLE001 # whoever waits for the result gets it
        return [functools.partial(future.set_exception, error)]
