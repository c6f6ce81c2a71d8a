"""The open connections of a server: how many there may be, from one address and in all.

A new connection beyond a limit takes the place of one that waits for its client: the oldest that never had a request,
else the oldest between two requests or in the middle of one. So silent clients shut nobody out, neither others nor
those behind the same address. If all of them have requests in progress, the new connection is closed. All of it runs on
the event loop.
"""

from __future__ import annotations

from typing import Final, Protocol

from linkspan.api.http.client_address import client_key
from linkspan.core.schema.operations import MAX_CONNECTIONS

RESERVE: Final = 96
"""Descriptors that are kept for everything but clients: files, the database, a few in the middle of being closed."""
SHARE: Final = 4
"""One address gets one in so many of all connections at most."""


class ClientConnection(Protocol):
    """A connection as this module sees it."""

    @property
    def waits_for_client(self) -> bool:
        """True if no whole request is there that needs an answer."""

    @property
    def had_request(self) -> bool:
        """True if a request was answered."""

    def drop(self) -> None:
        """Closes the connection at once."""


class ConnectionTable:
    """The connections of one server."""

    def __init__(self, total: int, per_address: int = MAX_CONNECTIONS) -> None:
        """`total`: how many there may be; `per_address`: from one address, 0: as many as there may be."""
        self._total = total
        self._per_address = min(per_address, max(total // SHARE, 1)) if per_address else total
        self._groups: dict[str, dict[ClientConnection, None]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, connection: ClientConnection, address: str) -> bool:
        """Adds a connection from an address. Returns False if it has to be closed."""
        key = client_key(address)
        group = self._groups.get(key, {})
        if len(group) >= self._per_address:
            if not self._make_room(key):
                return False
        elif self._count >= self._total and not self._make_room_anywhere():
            return False
        self._groups.setdefault(key, {})[connection] = None
        self._count += 1
        return True

    def remove(self, connection: ClientConnection, address: str) -> None:
        """Removes a connection, if it is there."""
        key = client_key(address)
        group = self._groups.get(key, {})
        if connection in group:
            del group[connection]
            self._count -= 1
            if not group:
                del self._groups[key]

    def _make_room(self, key: str) -> bool:
        waiting = [connection for connection in self._groups.get(key, ()) if connection.waits_for_client]
        if not waiting:
            return False
        victim = next((connection for connection in waiting if not connection.had_request), waiting[0])
        self.remove(victim, key)
        victim.drop()
        return True

    def _make_room_anywhere(self) -> bool:
        """Drops a connection of the address that has the most, else of another one."""
        keys = sorted(self._groups, key=lambda key: len(self._groups[key]), reverse=True)
        return any(self._make_room(key) for key in keys)
