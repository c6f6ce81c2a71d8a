"""Clients that send many requests and do not read the answers: bounded memory for each, returned afterwards."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from linkspan.api.http import slow_clients
from linkspan.core.schema.resources import IKE_POLICY
from linkspan.store.rows import writing
from tests.api.serving import Served, served, wait_for
from tests.api.world import BLUE
from tests.harness.api_process import ApiProcess, filled_store, running_api

SHORT = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
LONG = b"GET /v2.0/vpn/ikepolicies?limit=50 HTTP/1.1\r\nHost: localhost\r\nAuthorization: alice\r\n\r\n"
BODY = b"POST /v2.0/vpn/ikepolicies HTTP/1.1\r\nHost: localhost\r\nAuthorization: alice\r\nContent-Length: 2\r\n\r\n{}"
UNKNOWN = b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n"
REFUSED = b"GET /v2.0/networks HTTP/1.1\r\nHost: localhost\r\n\r\n"
HEAD = b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n"
KINDS = {"short": SHORT, "long": LONG, "body": BODY, "unknown": UNKNOWN, "refused": REFUSED, "head": HEAD}
MANY = 20_000
CLIENTS = 10
ROOM = 25.0
"""Megabytes that so many such clients may cost."""


@pytest.fixture
def running(database: Engine) -> Iterator[Served]:
    """A server with policies whose list exceeds the socket buffers after some requests."""
    with served(database) as server:
        with server.api.store.write() as tx:
            for number in range(50):
                writing.insert(tx, IKE_POLICY, {"project_id": BLUE, "name": str(number), "description": "x" * 9000})
        yield server


def connect(port: int) -> socket.socket:
    """A connection with a small receive buffer."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", port))
    return client


def send(client: socket.socket, request: bytes, seconds: float = 1.0) -> None:
    """Sends a request many times, as long as the server takes them."""
    client.settimeout(seconds)
    with contextlib.suppress(OSError):
        client.sendall(request * MANY)


class Watched(slow_clients.TimedHttpProtocol):
    """Notes how many requests wait at most."""

    most = 0
    opened = 0

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        Watched.most = max(Watched.most, len(self.pipeline))

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        Watched.opened += 1

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        Watched.opened -= 1
        assert not self.pipeline


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> None:
    Watched.most = Watched.opened = 0
    monkeypatch.setattr("linkspan.api.http.server.TimedHttpProtocol", Watched)


def bound(request: bytes) -> int:
    """The most requests of this kind that may wait."""
    return slow_clients.AHEAD + slow_clients.PART // len(request) + 1


@pytest.mark.parametrize("kind", KINDS)
def test_few_requests_wait(watched: None, running: Served, kind: str) -> None:
    request = KINDS[kind]
    with contextlib.closing(connect(int(running.url.rpartition(":")[2]))) as client:
        send(client, request)
        wait_for(lambda: Watched.most > 0, 20.0)
        assert Watched.most <= bound(request)
    wait_for(lambda: Watched.opened == 0)


@pytest.mark.parametrize("kind", ["short", "body", "refused"])
def test_a_client_that_reads_gets_every_answer(running: Served, kind: str) -> None:
    count = 500
    with contextlib.closing(connect(int(running.url.rpartition(":")[2]))) as client:
        last = SHORT.replace(b"Host: localhost", b"Host: x\r\nConnection: close")
        client.settimeout(60.0)
        client.sendall(KINDS[kind] * count + last)
        received = bytearray()
        while part := client.recv(1 << 16):
            received += part
    assert len(re.findall(rb"HTTP/1.1 \d{3} ", bytes(received))) == count + 1


def resident(api: ApiProcess) -> float:
    """The megabytes of the API's process."""
    match = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{api.pid}/status").read_text())
    assert match
    return int(match[1]) / 1024


@pytest.fixture
def process(tmp_path: Path) -> Iterator[ApiProcess]:
    """An API in a process of its own."""
    url = f"sqlite:///{tmp_path / 'linkspan.db'}"
    with filled_store(url, tmp_path / "seal"):
        pass
    with running_api(tmp_path, url, tmp_path / "seal") as api:
        yield api


def test_without_a_bound_all_of_them_wait(watched: None, running: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control."""
    most = bound(SHORT)
    monkeypatch.setattr(slow_clients, "AHEAD", MANY)
    with contextlib.closing(connect(int(running.url.rpartition(":")[2]))) as client:
        send(client, SHORT)
        wait_for(lambda: Watched.most > 3 * most, 20.0)


@pytest.mark.slow
def test_memory_is_bounded_and_returned(process: ApiProcess) -> None:
    before = resident(process)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(contextlib.closing(connect(process.port))) for _ in range(CLIENTS)]
        for client in clients:
            send(client, SHORT)
        during = resident(process)
    after = resident(process)
    print(f"{before:.0f} MB before, {during:.0f} MB with {CLIENTS} clients, {after:.0f} MB afterwards")
    assert during < before + ROOM
    assert after < before + ROOM
