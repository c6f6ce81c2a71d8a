"""A proxy before a PostgreSQL server that loses connections at their COMMIT, in one of four ways."""

from __future__ import annotations

import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

Fault = Literal["unsent", "unanswered", "silent", "late"]
"""`unsent`: the COMMIT never arrives; `unanswered`: its answer is lost; `silent`: the answer never comes, and the
connection stays; `late`: the COMMIT arrives after the connection is lost, as at a server that was stopped."""
LATE = 0.3
"""Seconds after which a late COMMIT arrives."""


class Proxy:
    """Listens on a unix socket in a folder. `fault`: what happens to the next COMMIT that brings a marker."""

    def __init__(self, server: Path, folder: Path) -> None:
        self.fault: Fault | None = None
        self.met = 0
        """COMMITs that met a fault."""
        self.late = 0
        """Late COMMITs that the server has had time to run."""
        self._server = str(server / ".s.PGSQL.5432")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / ".s.PGSQL.5432"))
        self._listener.listen(64)
        self._sockets = [self._listener]
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def close(self) -> None:
        """End all connections, and accept no more."""
        self._sockets[0].shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        for opened in self._sockets[1:]:
            with suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for opened in self._sockets:
            opened.close()

    def _start(self, function: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                self._sockets += (client, server)
                server.connect(self._server)
                state = _State()
                self._start(self._up, client, server, state)
                self._start(self._down, client, server, state)

    def _up(self, client: socket.socket, server: socket.socket, state: _State) -> None:
        with suppress(OSError):
            while data := client.recv(1 << 16):
                if self.fault is not None and b"INTO commit_marker" in data and b"COMMIT" in data:
                    fault, self.fault = self.fault, None
                    self.met += 1
                    state.fault = fault
                    if fault in ("unsent", "late"):
                        client.shutdown(socket.SHUT_RDWR)
                        if fault == "late":
                            time.sleep(LATE)
                            server.sendall(data)
                            time.sleep(LATE)
                            self.late += 1
                        break
                server.sendall(data)
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)

    def _down(self, client: socket.socket, server: socket.socket, state: _State) -> None:
        with suppress(OSError):
            while data := server.recv(1 << 16):
                if state.fault == "unanswered":
                    break
                if state.fault != "silent":
                    client.sendall(data)
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)


class _State:
    """What one connection has met."""

    fault: Fault | None = None


@contextmanager
def proxy(server: Path) -> Iterator[tuple[Proxy, Path]]:
    """Run a proxy to the server whose socket is in a folder; yield it and the folder of its own socket."""
    with tempfile.TemporaryDirectory(prefix="linkspan-proxy-", dir="/tmp") as folder:
        running = Proxy(server, Path(folder))
        try:
            yield running, Path(folder)
        finally:
            running.close()
