"""Connections to PostgreSQL that give up on a server that does not answer.

A server whose processes are stopped keeps its connections: the kernel acknowledges what is sent, so that neither
keepalives nor the server's own timeouts end the wait. So the client has a deadline for each answer, longer than the
server's: a server that works has refused a slow statement before. New connections try the host first that answered
last: of several hosts the stopped one would cost the deadline each time.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from typing import Any, Final, TypeVar

import psycopg
from sqlalchemy import Engine, event

ANSWER: Final = 9.0
"""Seconds to wait for an answer of the server: longer than its `statement_timeout`."""
PING: Final = 2.0
"""The same of BEGIN, which shows whether a connection still works that was idle."""

_T = TypeVar("_T")


class DeadlineConnection(psycopg.Connection[Any]):
    """A connection that is closed when an answer takes longer than `patience` seconds; None: it waits for ever."""

    patience: float | None = ANSWER

    def begin(self, command: bytes) -> None:
        """Begins a transaction with properties of its own, by a BEGIN of SQL."""
        self.patience = PING
        with self.lock:
            self.wait(self._exec_command(command))
        self.patience = ANSWER

    def wait(self, gen: Generator[Any, Any, _T], *args: Any, **more: Any) -> _T:
        """Waits for the server. Raises OperationalError at the deadline."""
        if self.patience is not None:
            gen = self._watched(gen, self.patience)
        return super().wait(gen, *args, **more)

    def _watched(self, gen: Generator[Any, Any, _T], patience: float) -> Generator[Any, Any, _T]:
        deadline = time.monotonic() + patience
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                # Nothing is ready at the end of an interval of psycopg, 0.1 s.
                if not ready and time.monotonic() >= deadline:
                    self.close()
                    raise psycopg.OperationalError(f"no answer within {patience:g} s")
                wanted = gen.send(ready)
        except StopIteration as end:
            result: _T = end.value
            return result


def install(engine: Engine) -> None:
    """Makes an engine connect so."""
    hosts = _Hosts()

    @event.listens_for(engine, "do_connect")
    def _connect(_dialect: Any, _record: Any, args: Any, parameters: dict[str, Any]) -> DeadlineConnection:
        connection = DeadlineConnection.connect(*args, **hosts.ordered(parameters))
        hosts.last = connection.info.host, str(connection.info.port)
        return connection

    @event.listens_for(engine, "checkout")
    def _busy(connection: DeadlineConnection, _record: Any, _proxy: Any) -> None:
        connection.patience = ANSWER


class _Hosts:
    """The order in which the hosts of a URL are tried."""

    def __init__(self) -> None:
        self.last: tuple[str, str] | None = None

    def ordered(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """The parameters of a connection with the host in front that answered last."""
        hosts = list(_pairs(parameters))
        if self.last not in hosts or len(hosts) < 2:
            return parameters
        hosts.sort(key=lambda pair: pair != self.last)
        return parameters | {"host": ",".join(host for host, _ in hosts), "port": ",".join(port for _, port in hosts)}


def _pairs(parameters: dict[str, Any]) -> Iterator[tuple[str, str]]:
    hosts = str(parameters.get("host", "")).split(",")
    ports = str(parameters.get("port") or "5432").split(",")
    return zip(hosts, ports * len(hosts) if len(ports) == 1 else ports, strict=False)
