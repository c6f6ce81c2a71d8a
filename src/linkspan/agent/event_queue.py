"""Events of connections that wait for the API, which are kept until it has confirmed them.

They are also in a file of the node, so that an agent that is killed loses none: each line is one change of what this
object holds, and the file is written anew when most of it is history. A line is in the machine's memory when it is
written, and on its disk some seconds later: the end of the machine loses those seconds.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec
import structlog

from linkspan.core import printable
from linkspan.core.state.observed import LONGEST_REASON, ConnectionReport
from linkspan.core.state.timeline import NodeEvent, NodeEventKind
from linkspan.core.tunnel import history
from linkspan.core.tunnel.history import Known, News

BATCH: Final = 200
"""Most events in one report."""
OF_ONE: Final = 100
"""Events of one connection that wait; beyond it the oldest ones are lost, and an event says how many."""
MOST: Final = 10_000
"""The same of all connections."""
SPARE_LINES: Final = 2000
"""Lines of history in the file before it is written anew."""

_log = structlog.get_logger("agent.events")


class _Held(msgspec.Struct, frozen=True, tag="told"):
    """A line: what was told of a connection; None: it is gone."""

    id: str
    known: Known | None


class _Waiting(msgspec.Struct, frozen=True, tag="event"):
    """A line: an event that waits. `count`: the events that it stands for, of one that says how many were lost."""

    event: NodeEvent
    count: int = 0


class _Done(msgspec.Struct, frozen=True, tag="done"):
    """A line: events that wait no more."""

    ids: tuple[str, ...]


_Line = _Held | _Waiting | _Done
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(_Line).decode


class EventQueue:
    """Known by the gateways' threads, emptied by the thread that delivers reports. `file`: None: only in memory.
    `clock`: seconds since 1970."""

    def __init__(self, file: Path | None = None, clock: Callable[[], float] = time.time) -> None:
        self._lock = threading.Lock()
        self._clock = clock
        self._told: dict[str, Known] = {}
        # In the order in which they happened; and of each connection the ids of its own.
        self._waiting: dict[str, _Waiting] = {}
        self._of: dict[str, dict[str, None]] = {}
        self._file = file
        self._lines = 0
        self._is_broken = False
        if file is not None:
            for line in _lines(file):
                self._apply(line)
            self._write_anew()

    # -- from the gateways ---------------------------------------------------------------------------------------

    def follow(self, report: ConnectionReport) -> None:
        """Tell what a report makes happen, if anything."""
        with self._lock:
            before = self._told.get(report.id, Known())
            after, news = history.follow(before, report)
            self._hear(report.id, before, None if report.state == "gone" else after, news)

    def is_up(self, connection_id: str) -> bool:
        """True if the last thing that was told of a connection is that it is up."""
        with self._lock:
            return self._told.get(connection_id, Known()).is_up

    def succeeded(self, connection_id: str, text: str) -> None:
        """Tell by what a connection is superseded, unless it was told; an empty text: by nothing."""
        with self._lock:
            before = self._told.get(connection_id, Known())
            after, news = history.succeeded(before, text)
            self._hear(connection_id, before, after, news)

    def happened(self, connection_id: str, kind: NodeEventKind, code: str = "", reason: str = "") -> None:
        """Tell an event."""
        with self._lock:
            self._add(connection_id, News(kind, code, reason))

    def _hear(self, id: str, before: Known, after: Known | None, news: News | None) -> None:
        if news:
            self._add(id, news)
        if after != before:
            self._change(_Held(id, after))

    def _add(self, id: str, news: News) -> None:
        reason = printable.bounded(news.reason, LONGEST_REASON)
        event = NodeEvent(uuid.uuid4().hex, id, self._clock(), news.kind, news.code, reason)
        self._change(_Waiting(event))
        if len(self._of[id]) > OF_ONE:
            self._lose(id)
        elif len(self._waiting) > MOST:
            self._lose(max(self._of, key=lambda other: len(self._of[other])))

    def _lose(self, id: str) -> None:
        """Give up the two oldest events of a connection for one that says how many there were."""
        oldest = [self._waiting[event_id] for event_id in list(self._of[id])[:2]]
        count = sum(waiting.count or 1 for waiting in oldest)
        text = f"{count} events are lost: the API was away for too long, or there were too many in a short time"
        event = NodeEvent(uuid.uuid4().hex, id, oldest[-1].event.at, "lost", "", text)
        self._change(_Done(tuple(waiting.event.id for waiting in oldest)))
        self._change(_Waiting(event, count))

    # -- to the API ----------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        """The number of events that wait."""
        return len(self._waiting)

    def oldest(self) -> tuple[NodeEvent, ...]:
        """The events of the next report."""
        with self._lock:
            return tuple(waiting.event for waiting in islice(self._waiting.values(), BATCH))

    def confirmed(self, events: Iterable[NodeEvent]) -> None:
        """Forget events, which the API has recorded."""
        with self._lock:
            if ids := tuple(event.id for event in events if event.id in self._waiting):
                self._change(_Done(ids))

    # -- changes, and their file ---------------------------------------------------------------------------------

    def _change(self, line: _Line) -> None:
        self._apply(line)
        if self._file is None or self._is_broken:
            return
        self._lines += 1
        if self._lines > 2 * (len(self._told) + len(self._waiting)) + SPARE_LINES:
            self._write_anew()
            return
        with self._noting_faults(), self._file.open("ab", buffering=0) as file:
            file.write(_encode(line) + b"\n")

    def _apply(self, line: _Line) -> None:
        match line:
            case _Held(id, told):
                if told is None:
                    self._told.pop(id, None)
                else:
                    self._told[id] = told
            case _Waiting(event, count):
                self._waiting[event.id] = line
                own = self._of.get(event.connection_id, {})
                self._of[event.connection_id] = {event.id: None, **own} if count else own | {event.id: None}
            case _Done(ids):
                for id in ids:
                    self._remove(id)

    def _remove(self, id: str) -> None:
        waiting = self._waiting.pop(id, None)
        if waiting is not None:
            own = self._of[waiting.event.connection_id]
            del own[id]
            if not own:
                del self._of[waiting.event.connection_id]

    def _write_anew(self) -> None:
        assert self._file is not None
        lines: list[_Line] = [_Held(id, told) for id, told in self._told.items()]
        lines += self._waiting.values()
        with self._noting_faults():
            new = self._file.with_suffix(".new")
            new.write_bytes(b"".join(_encode(line) + b"\n" for line in lines))
            new.replace(self._file)
        self._lines = len(lines)

    @contextmanager
    def _noting_faults(self) -> Iterator[None]:
        """A disk that is full costs what a restart of the agent would have kept, and nothing else."""
        try:
            yield
        except OSError as error:
            self._is_broken = True
            _log.warning("events are only in memory until the agent is started again", error=str(error))


def _lines(file: Path) -> Iterator[_Line]:
    """The lines of a file, as far as they can be read: the last one may be cut off."""
    try:
        text = file.read_bytes()
    except FileNotFoundError:
        return
    for line in text.splitlines():
        with suppress(msgspec.DecodeError):
            yield _decode(line)
