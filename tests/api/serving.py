"""The API on a port, in a thread, for clients with their own HTTP implementation."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from sqlalchemy import Engine

from linkspan.api.app import create_app
from linkspan.api.http.authenticator import Authenticator
from linkspan.api.http.notifications import Notifier
from linkspan.api.http.server import server
from linkspan.store.store import Store
from tests.api.world import Api, ByName
from tests.harness.databases import open_store


class Served:
    """A running server. `stop` stops it and returns how many seconds that took."""

    def __init__(self, url: str, api: Api, stop: Callable[[], float]) -> None:
        self.url = url
        self.api = api
        self.stop = stop


@contextmanager
def served(
    database: Engine, auth: Callable[[Store], Authenticator] = lambda _store: ByName(), **settings: Any
) -> Iterator[Served]:
    """Runs a server on a free port."""
    notifier = Notifier()
    store = open_store(database, notifier.publish)
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    running = server(create_app(store, auth(store), notifier, **settings), notifier)
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
            yield Served(url, Api(client, store, notifier), stop)
    finally:
        stop()


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Waits for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true"
        time.sleep(0.01)
