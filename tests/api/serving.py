"""The API on a port, in a thread, for clients with their own HTTP implementation."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
from sqlalchemy import Engine

from linkspan.api.app import create_app
from linkspan.api.http.authenticator import Authenticator
from linkspan.api.http.notifications import Notifier
from linkspan.api.http.server import NodeListener, server
from linkspan.store.store import Store
from tests.api.world import Api, ByName
from tests.harness.databases import open_store


class Served:
    """A running server. `node_url`: that of its listener for nodes. `stop` stops it and returns how many seconds that
    took."""

    def __init__(self, url: str, node_url: str, api: Api, stop: Callable[[], float]) -> None:
        self.url = url
        self.node_url = node_url
        self.api = api
        self.stop = stop


@contextmanager
def served(
    database: Engine,
    auth: Callable[[Store], Authenticator] = lambda _store: ByName(),
    *,
    with_nodes: bool = False,
    **settings: Any,
) -> Iterator[Served]:
    """Runs a server on a free port, `with_nodes` one with a listener for nodes on another."""
    notifier = Notifier()
    store = open_store(database, notifier.publish, **settings.pop("store", {}))
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    app = create_app(store, auth(store), notifier, **settings)
    stack = ExitStack()
    nodes = None
    if with_nodes:
        tls = stack.enter_context(app.node_tls)
        nodes = NodeListener(stack.enter_context(socket.create_server(("127.0.0.1", 0))), tls.context)
    node_url = f"https://127.0.0.1:{nodes.socket.getsockname()[1]}" if nodes else ""
    stack.enter_context(app.questions)
    running = server(app, notifier, nodes=nodes)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
    thread.start()

    def stop() -> float:
        started = time.monotonic()
        running.stop()
        thread.join(10.0)
        assert not thread.is_alive()
        return time.monotonic() - started

    try:
        with httpx.Client(base_url=url) as client:
            yield Served(url, node_url, Api(client, store, notifier), stop)
    finally:
        stop()
        stack.close()


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Waits for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true"
        time.sleep(0.01)
