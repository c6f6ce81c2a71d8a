"""The HTTP server around the application: uvicorn, which ends hint streams when it stops.

Without that the server would wait for streams that never end by themselves. A certificate that is replaced on disk is
served to new connections from then on (`certificate`). Nodes have a listener of their own, which asks for their
certificates: clients of the public one are not asked, and its certificate may be anybody's.
"""

from __future__ import annotations

import functools
import gc
import resource
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Final

import msgspec
import uvicorn

from linkspan.api.http.certificate import Certificate
from linkspan.api.http.connections import RESERVE, ConnectionTable
from linkspan.api.http.notifications import Notifier
from linkspan.api.http.route import AsgiApplication, AsgiScope, Receive, Send
from linkspan.api.http.slow_clients import TimedHttpProtocol
from linkspan.api.http.tls_listener import TlsListener
from linkspan.core.schema.operations import MAX_CONNECTIONS
from linkspan.core.state.observed import AGENT_PATH

STOPPING: Final = 5.0
"""Seconds that requests in flight get to end."""
FILES: Final = 65_536
"""The most open files that are asked for: every client that is slow or silent holds one, and most shells give 1,024."""
RELOAD: Final = 10
"""Tenths of a second between two looks at the files of the certificate."""
AGENTS: Final = f"{AGENT_PATH}/"
"""What all paths of agents begin with: nothing else is served to nodes."""
GARBAGE: Final = 20_000
"""Objects that are made before the garbage collector looks at them: a long answer has that many."""


class NodeListener(msgspec.Struct, frozen=True):
    """A socket on which nodes connect, and what returns the context that asks for their certificates."""

    socket: socket.socket
    context: Callable[[], ssl.SSLContext]


class Server(uvicorn.Server):
    """A uvicorn server that wakes all waiters of the notifier before it stops."""

    def __init__(
        self,
        config: uvicorn.Config,
        notifier: Notifier,
        table: ConnectionTable,
        certificate: Certificate | None,
        nodes: NodeListener | None,
    ) -> None:
        super().__init__(config)
        self._notifier = notifier
        self._open = table
        self._certificate = certificate
        self._nodes = nodes

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listens; with certificates by listeners of our own."""
        listeners = []
        if self._certificate is not None:
            context = self._certificate.context
            listeners = [
                TlsListener(listener, lambda: context, self._protocol, self._open) for listener in sockets or ()
            ]
        await super().startup([] if listeners else sockets)
        if self._nodes is not None:
            listeners.append(TlsListener(self._nodes.socket, self._nodes.context, self._node_protocol, self._open))
        self.servers += listeners  # type: ignore[arg-type]  # uvicorn only closes them and waits for that

    def _protocol(self) -> TimedHttpProtocol:
        return TimedHttpProtocol(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state, table=self._open
        )

    def _node_protocol(self) -> TimedHttpProtocol:
        protocol = self._protocol()
        protocol.app = for_agents(protocol.app)
        return protocol

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second."""
        if self._certificate is not None and counter % RELOAD == 0:
            self._certificate.refresh()
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM and SIGINT."""
        self._notifier.close()
        super().handle_exit(sig, frame)

    def stop(self) -> None:
        """The same, from another thread."""
        self.should_exit = True
        self._notifier.close()


def for_agents(app: AsgiApplication) -> AsgiApplication:
    """An application without all paths but those of agents."""

    async def restricted(scope: AsgiScope, receive: Receive, send: Send) -> None:
        is_allowed = scope["path"].startswith(AGENTS)
        await app(scope if is_allowed else {**scope, "path": AGENTS}, receive, send)

    return restricted


def server(
    app: AsgiApplication,
    notifier: Notifier,
    *,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    nodes: NodeListener | None = None,
    per_address: int = MAX_CONNECTIONS,
) -> Server:
    """A server for an application; give its `run` the sockets to listen on. `per_address`: connections from one
    address, 0: any number."""
    certificate = Certificate(tls_cert, tls_key) if tls_cert is not None and tls_key is not None else None
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    table = ConnectionTable(max(files - RESERVE, files // 2), per_address)
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=functools.partial(TimedHttpProtocol, table=table),  # type: ignore[arg-type]
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=int(STOPPING),
    )
    return Server(config, notifier, table, certificate, nodes)


def serve(
    app: AsgiApplication,
    notifier: Notifier,
    listener: socket.socket,
    *,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    nodes: NodeListener | None = None,
    per_address: int = MAX_CONNECTIONS,
) -> None:
    """Serves on a listening socket until SIGTERM or SIGINT."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, FILES), most))
    # What is there now stays: the collector need not look at it again. Rows are no cycles, so it may also come later
    # than after every 700 of them.
    gc.freeze()
    gc.set_threshold(GARBAGE, *gc.get_threshold()[1:])
    made = server(app, notifier, tls_cert=tls_cert, tls_key=tls_key, nodes=nodes, per_address=per_address)
    made.run(sockets=[listener])
