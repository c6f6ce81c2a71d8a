"""The thread of an API process that ends rotations of pre-shared keys. Of several processes one finds each key."""

from __future__ import annotations

from typing import Final

import structlog

from linkspan.store.nodes import previous_keys
from linkspan.store.store import Conflict, Store, Unavailable
from linkspan.store.ticker import Ticker

INTERVAL: Final = 1.0
"""Seconds between two looks for keys whose time is over."""

_log = structlog.get_logger("store.key_ticker")


class KeyTicker(Ticker):
    """Removes previous keys at its interval."""

    def __init__(self, store: Store, interval: float = INTERVAL) -> None:
        super().__init__("previous-keys", interval)
        self._store = store

    def tick(self) -> None:
        """Removes the keys whose time is over."""
        try:
            with self._store.read() as tx:
                is_any_over = previous_keys.any_over(tx)
            if is_any_over:
                self._remove()
        except (Conflict, Unavailable) as error:
            _log.debug("previous pre-shared keys are removed later, or by another process", error=str(error))

    def _remove(self) -> None:
        with self._store.write(repeatable=True) as tx:
            count = previous_keys.remove_over(tx)
        if count:
            _log.info("previous pre-shared keys are removed", connections=count)
