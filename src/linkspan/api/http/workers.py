"""Worker threads of an event loop: for handlers, which may block.

A task costs a third of what it costs in `concurrent.futures`: there is no second future to wait for, and the only lock
is the queue's. A thread is started when all others are busy.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Final, Protocol, TypeVar

_T = TypeVar("_T")


class Threads(Protocol):
    """Threads that call functions for coroutines."""

    def run(self, function: Callable[..., _T], /, *arguments: Any) -> Awaitable[_T]:
        """Calls a function in a thread; awaits to its result or raises its exception."""

    def close(self) -> None:
        """Takes no more calls, lets submitted ones finish, and does not wait for them."""


class _Task:
    """A call, its loop and its future there."""

    __slots__ = ("arguments", "function", "future", "loop")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        future: asyncio.Future[Any],
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
    ) -> None:
        self.loop = loop
        self.future = future
        self.function = function
        self.arguments = arguments


class Workers:
    """At most `count` threads, which take calls in order. `run` is for one event loop, and only there."""

    def __init__(self, count: int, name: str) -> None:
        self._count: Final = count
        self._name = name
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._started = 0
        self._unfinished = 0
        self._closed = False

    def run(self, function: Callable[..., _T], /, *arguments: Any) -> asyncio.Future[_T]:
        """Calls a function in a thread. Raises RuntimeError after `close`."""
        if self._closed:
            raise RuntimeError("no more calls are taken: these threads were closed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_T] = loop.create_future()
        self._unfinished += 1
        if self._started < min(self._unfinished, self._count):
            self._started += 1
            # The interpreter does not wait for it at exit.
            threading.Thread(target=self._work, name=f"{self._name}-{self._started}", daemon=True).start()
        self._tasks.put(_Task(loop, future, function, arguments))
        return future

    def close(self) -> None:
        """Lets submitted calls finish; does not wait for them."""
        self._closed = True
        self._tasks.put(None)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            result, error = None, None
            if not task.future.cancelled():
                try:
                    result = task.function(*task.arguments)
                except BaseException as raised:  # noqa: BLE001 # whoever waits for the result gets it
                    error = raised
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                task.loop.call_soon_threadsafe(self._deliver, task.future, result, error)
            # Not kept until the next call: an answer may be large.
            del task, result, error
        self._tasks.put(None)  # for the next thread

    def _deliver(self, future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
        self._unfinished -= 1
        if future.cancelled():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
