"""Wake-ups: hint streams wait for their node's revision or a question, DELETEs for a node's confirmation.

Concurrency: worker threads call `publish`, `changed` and `register`; all waiters live in the event loop. A lock guards
the two tables, and `call_soon_threadsafe` is the only way across. A wake-up is a hint that may be lost or doubled: the
waiter reads the database. Only waiters in this process are woken.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final, TypeVar

from linkspan.core.state.live_facts import Question


class Waiter:
    """A wait for news of any of some keys."""

    __slots__ = ("event", "keys")

    def __init__(self, *keys: str) -> None:
        self.keys = keys
        self.event = asyncio.Event()

    async def wait(self, seconds: float) -> bool:
        """True if there was news within that time; the next wait is for newer ones."""
        try:
            await asyncio.wait_for(self.event.wait(), seconds)
        except TimeoutError:
            return False
        self.event.clear()
        return True


ASKED: Final = 256
"""Questions that a hint stream remembers, so that none is asked twice."""
MOST_STREAMS: Final = 4
"""Hint streams of one node. An agent has one; those of connections that are lost and not closed yet stay a while."""


class Subscription(Waiter):
    """A hint stream. `revision`: the newest revision of its node that was published. `questions`: to its node, not yet
    sent. `superseded`: newer ones of the same node have taken its place, or the node was revoked, so that it ends."""

    __slots__ = ("_asked", "questions", "revision", "superseded")

    def __init__(self, node_id: str) -> None:
        super().__init__(node_id)
        self.revision = 0
        self.superseded = False
        self.questions: deque[Question] = deque()
        self._asked: deque[str] = deque(maxlen=ASKED)

    def ask(self, question: Question) -> bool:
        """Adds a question to send, unless it was asked before; whether it was added."""
        if question.id in self._asked:
            return False
        self._asked.append(question.id)
        self.questions.append(question)
        return True


_Waiting = TypeVar("_Waiting", bound=Waiter)


class Notifier:
    """Wakes waiters and hint streams; one per process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # In the order in which they began.
        self._streams: dict[str, dict[Subscription, None]] = {}
        self._waiters: dict[str, dict[Waiter, None]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self.closed = False

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Sets the event loop of the waiters. Called for every request."""
        self._loop = loop

    def publish(self, revisions: Mapping[str, int]) -> None:
        """Wakes the hint streams of nodes with new revisions, by node id. The store calls it after a commit; from any
        thread."""
        with self._lock:
            woken = []
            for node_id, revision in revisions.items():
                for stream in self._streams.get(node_id, ()):
                    # Two commits may be published in the wrong order.
                    stream.revision = max(stream.revision, revision)
                    woken.append(stream)
        self._wake(woken)

    def ask(self, questions: Iterable[tuple[str, Question]]) -> None:
        """Sends questions to nodes, by node id, over their hint streams here. From any thread."""
        with self._lock:
            woken = [
                stream
                for node_id, question in questions
                for stream in self._streams.get(node_id, ())
                if stream.ask(question)
            ]
        self._wake(woken)

    def nodes(self) -> frozenset[str]:
        """The ids of the nodes that have hint streams here."""
        with self._lock:
            return frozenset(self._streams)

    def changed(self, keys: Iterable[str]) -> None:
        """Wakes the waiters of these ids, which have changed. From any thread."""
        with self._lock:
            woken = [waiter for key in keys for waiter in self._waiters.get(key, ())]
        self._wake(woken)

    def _wake(self, waiters: Iterable[Waiter]) -> None:
        if self._loop is None:
            return
        for waiter in waiters:
            try:
                self._loop.call_soon_threadsafe(waiter.event.set)
            except RuntimeError:  # the loop is closed: nobody waits any more
                return

    def register(self, *keys: str) -> Waiter:
        """Registers a waiter for keys. Call it before the commit whose confirmation it waits for. From any thread."""
        waiter = Waiter(*keys)
        with self._lock:
            for key in keys:
                self._waiters.setdefault(key, {})[waiter] = None
        return waiter

    def forget(self, waiter: Waiter) -> None:
        """Removes a waiter, if it is registered."""
        _discard(self._lock, self._waiters, waiter)

    def subscribe(self, node_id: str) -> Subscription:
        """Registers a hint stream. A node has at most `MOST_STREAMS`: the oldest ones end."""
        stream = Subscription(node_id)
        with self._lock:
            streams = self._streams.setdefault(node_id, {})
            streams[stream] = None
            superseded = list(streams)[:-MOST_STREAMS]
            for old in superseded:
                old.superseded = True
                del streams[old]
        self._wake(superseded)
        return stream

    def unsubscribe(self, stream: Subscription) -> None:
        """Removes a hint stream, if it is registered."""
        _discard(self._lock, self._streams, stream)

    def end_streams(self, node_id: str) -> None:
        """Ends the hint streams of a node. From any thread."""
        with self._lock:
            streams = list(self._streams.pop(node_id, ()))
            for stream in streams:
                stream.superseded = True
        self._wake(streams)

    def close(self) -> None:
        """Ends every stream and every wait, when the server stops. May be called in a signal handler."""
        self.closed = True
        # Without the lock: the thread that holds it may be the one that the signal interrupted.
        streams = [stream for group in list(self._streams.values()) for stream in list(group)]
        waiters = [waiter for group in list(self._waiters.values()) for waiter in list(group)]
        self._wake([*streams, *waiters])


def _discard(lock: threading.Lock, table: dict[str, dict[_Waiting, None]], waiter: _Waiting) -> None:
    with lock:
        for key in waiter.keys:
            group = table.get(key)
            if group is not None:
                group.pop(waiter, None)
                if not group:
                    del table[key]
