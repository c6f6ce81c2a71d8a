"""The thread of an API process that puts the timeline into order, tells what is new in it, and removes what is old.

Each write of a configuration is an event, so it also drops earlier configurations of connections that have too many.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

import structlog

from linkspan.store import timeline
from linkspan.store.rows import connection_revisions
from linkspan.store.store import Conflict, Store, Unavailable
from linkspan.store.ticker import Ticker
from linkspan.store.timeline import Selection

INTERVAL: Final = 0.5
"""Seconds for which an event may be without its place."""
PURGE: Final = 3600.0
"""Seconds between two removals."""
ANYTHING: Final = "timeline:*"
"""The key of waiters for any event."""

_log = structlog.get_logger("store.timeline_ticker")


def key_of(id: str) -> str:
    """The key of waiters for events of a connection, or of a project."""
    return f"timeline:{id}"


class TimelineTicker(Ticker):
    """Orders events at its interval. `changed`: takes the keys of what has new events, from whichever process.
    `most`: events of a connection; `retention`: seconds; 0: events stay until there are too many."""

    def __init__(
        self,
        store: Store,
        changed: Callable[[Iterable[str]], None],
        most: int,
        retention: float = 0.0,
        interval: float = INTERVAL,
    ) -> None:
        super().__init__("timeline", interval)
        self._store = store
        self._changed = changed
        self._most = most
        self._retention = retention
        self._purged_at: float | None = None
        self._told: int | None = None

    def tick(self) -> None:
        """Orders what was committed meanwhile, and tells of it; from time to time removes what is old."""
        try:
            self._order()
            self._tell()
            now = time.monotonic()
            if self._retention and (self._purged_at is None or now - self._purged_at >= PURGE):
                self._purge()
                self._purged_at = now
        except (Conflict, Unavailable) as error:
            _log.debug("the timeline is put into order later, or by the next process", error=str(error))

    def _order(self) -> None:
        placed = timeline.BATCH
        while placed >= timeline.BATCH:
            with self._store.read() as tx:
                if timeline.is_ordered(tx):
                    return
            with self._store.write() as tx:
                placed, grown = timeline.order(tx, self._most)
                connection_revisions.drop_oldest(tx, grown)

    def _tell(self) -> None:
        with self._store.read() as tx:
            newest = timeline.newest(tx)
            if self._told is None:
                self._told = newest
            if newest == self._told:
                return
            page = timeline.page(tx, Selection(after=self._told, ascending=True), timeline.BATCH)
        keys = {ANYTHING}
        for event in page.events:
            keys |= {key_of(event.connection_id), key_of(event.project_id)}
            self._told = max(self._told, int(event.id))
        if page.next is None:
            self._told = newest
        self._changed(keys)

    def _purge(self) -> None:
        removed = timeline.REMOVED
        while removed == timeline.REMOVED:
            with self._store.write() as tx:
                removed = timeline.purge(tx, tx.wall - self._retention)
