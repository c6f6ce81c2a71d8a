"""Renewals of leases, gathered: reports without news extend the leases of many nodes in one statement.

Each node sends one every third of its lease. A transaction for each would be most of what a database does for
thousands of nodes. Concurrency: worker threads call `renew`; one thread of its own writes.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Final

from linkspan.store.nodes import registry
from linkspan.store.store import Conflict, Store

GATHER: Final = 0.1
"""Seconds for which renewals are gathered."""
MOST: Final = 200
"""Renewals in one statement."""
ATTEMPTS: Final = 5

_Renewal = tuple[str, Future[bool]]


class Renewals:
    """Extends leases by the nodes' ids. Its thread starts with the first renewal, and does not outlive the
    process."""

    def __init__(self, store: Store, gather: float = GATHER) -> None:
        self._store = store
        self._gather = gather
        self._lock = threading.Lock()
        self._queue: SimpleQueue[_Renewal] = SimpleQueue()
        self._started = False

    def renew(self, node_id: str) -> Future[bool]:
        """Extends the lease of a node, soon. False: there is none, or its lease has ended, so that it takes more
        than an extension. The store's exceptions are the future's."""
        renewed: Future[bool] = Future()
        self._queue.put((node_id, renewed))
        with self._lock:
            if not self._started:
                self._started = True
                threading.Thread(target=self._work, name="api-renewals", daemon=True).start()
        return renewed

    def _work(self) -> None:
        while True:
            batch = [self._queue.get()]
            time.sleep(self._gather)
            try:
                while len(batch) < MOST:
                    batch.append(self._queue.get_nowait())
            except Empty:
                pass
            self._settle([renewal for renewal in batch if renewal[1].set_running_or_notify_cancel()])

    def _settle(self, batch: list[_Renewal]) -> None:
        try:
            renewed = self._renewed({node_id for node_id, _ in batch})
        except Exception as error:  # noqa: BLE001 # each request answers it in its own way
            for _, future in batch:
                future.set_exception(error)
        else:
            for node_id, future in batch:
                future.set_result(node_id in renewed)

    def _renewed(self, nodes: set[str]) -> set[str]:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with self._store.write(repeatable=True) as tx:
                    return registry.renew(tx, sorted(nodes))
            except Conflict:
                if attempt == ATTEMPTS:
                    raise
        raise AssertionError
