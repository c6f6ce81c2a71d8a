"""Clients that are slow on purpose: when they are cut off, and that they delay no other client."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import httpx
import pytest
from sqlalchemy import Engine

from linkspan.api.http import slow_clients
from linkspan.api.http.arriving_body import ArrivingBody, BodyBudget
from linkspan.api.http.dispatcher import THREADS, Dispatcher
from linkspan.api.http.messages import Request, Response
from linkspan.api.http.route import Route
from linkspan.core.schema.resources import IKE_POLICY
from linkspan.store.rows import writing
from tests.api.serving import Served, served
from tests.api.world import BLUE

SHORT = 0.3
LONG = 30.0
HEAD = "{} /v2.0/vpn/ikepolicies HTTP/1.1\r\nHost: x\r\nAuthorization: alice\r\nContent-Length: {}\r\n\r\n"
WHOLE = HEAD.format("GET", 0).encode()
SMALL = HEAD.format("HEAD", 0).encode()


@pytest.fixture
def running(database: Engine) -> Iterator[Served]:
    """A server with 1,000 policies, whose list exceeds every socket buffer."""
    with served(database, page=1000) as server:
        with server.api.store.write() as tx:
            for number in range(1000):
                writing.insert(tx, IKE_POLICY, {"project_id": BLUE, "name": str(number), "description": "x" * 9000})
        yield server


@contextmanager
def connected(running: Served, sent: bytes) -> Iterator[socket.socket]:
    """Opens a connection with a small receive buffer and sends the bytes."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(10.0)
        client.connect(("127.0.0.1", int(running.url.rpartition(":")[2])))
        client.sendall(sent)
        yield client


def received(client: socket.socket) -> bytes:
    """Returns all bytes that arrive until the server closes the connection."""
    content = bytearray()
    with suppress(ConnectionResetError):
        while part := client.recv(1 << 16):
            content += part
    return bytes(content)


PARTS = {
    "half a head": b"GET / HTTP/1.1\r\nHo",
    "half a body": HEAD.format("POST", 10).encode() + b"{",
    "a line": b"\r\n",
}


# Silence after a complete request is not a case here: an idle connection may stay open, see below.
@pytest.mark.parametrize(
    ("first", "sent"),
    [
        pytest.param(b"", b"", id="at first-nothing"),
        *(pytest.param(b"", sent, id=f"at first-{name}") for name, sent in PARTS.items()),
        *(
            pytest.param(SMALL, sent, id=f"after a request-{name}", marks=pytest.mark.slow)
            for name, sent in PARTS.items()
        ),
    ],
)
def test_an_incomplete_request_is_cut_off(
    monkeypatch: pytest.MonkeyPatch, running: Served, first: bytes, sent: bytes
) -> None:
    monkeypatch.setattr(slow_clients, "ARRIVAL", LONG)
    with connected(running, first) as client:
        # The control: with a long limit the connection stays open.
        _answered(client, first, sent)
        client.settimeout(3 * SHORT)
        with pytest.raises(TimeoutError):
            client.recv(1)
    monkeypatch.setattr(slow_clients, "ARRIVAL", SHORT)
    with connected(running, first) as client:
        _answered(client, first, sent)
        received(client)


def _answered(client: socket.socket, first: bytes, sent: bytes) -> None:
    assert not first or client.recv(1 << 16).startswith(b"HTTP/1.1 200")
    client.sendall(sent)


def test_a_connection_between_requests_stays(monkeypatch: pytest.MonkeyPatch, running: Served) -> None:
    monkeypatch.setattr(slow_clients, "ARRIVAL", SHORT)
    with connected(running, SMALL) as client:
        for _ in range(2):
            assert client.recv(1 << 16).startswith(b"HTTP/1.1 200")
            time.sleep(2 * SHORT)
            client.sendall(SMALL)


@pytest.mark.parametrize("limit", [SHORT, LONG])
def test_a_response_that_is_not_read_is_dropped(monkeypatch: pytest.MonkeyPatch, running: Served, limit: float) -> None:
    monkeypatch.setattr(slow_clients, "TAKING", limit)
    with connected(running, WHOLE) as client:
        time.sleep(4 * SHORT)
        client.sendall(SMALL.replace(b"Host: x", b"Host: x\r\nConnection: close"))
        content = received(client)
    length = int(content.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    assert length > 9_000_000
    assert (len(content) > length) == (limit == LONG)


def test_the_size_of_a_request_head_is_limited(running: Served) -> None:
    with connected(running, b"GET / HTTP/1.1\r\nX-Long: ") as client:
        with suppress(ConnectionError):
            for _ in range(100):
                client.sendall(b"x" * 4096)
                time.sleep(0.001)
        # The kernel decides whether the client can read the refusal before the reset.
        assert received(client)[:12] in (b"HTTP/1.1 400", b"")
    assert running.api.get("/vpn/ikepolicies?limit=1")


def _read_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads bodies in worker threads, as a server does that assigns a thread to each request from its start."""
    pool, read = ThreadPoolExecutor(THREADS), ArrivingBody.read

    async def reading(self: ArrivingBody, budget: BodyBudget) -> bytes:
        loop = asyncio.get_running_loop()
        message = read(self, budget)
        return await loop.run_in_executor(pool, lambda: asyncio.run_coroutine_threadsafe(message, loop).result(LONG))

    async def respond(self: Dispatcher, route: Route, request: Request) -> Response:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            pool, lambda: asyncio.run_coroutine_threadsafe(answer(self, route, request), loop).result(LONG)
        )

    answer = Dispatcher._respond
    monkeypatch.setattr(ArrivingBody, "read", reading)
    monkeypatch.setattr(Dispatcher, "_respond", respond)


@pytest.mark.parametrize("protected", [True, False], ids=["as it is", "control: bodies in threads"])
def test_slow_bodies_hold_no_thread(monkeypatch: pytest.MonkeyPatch, running: Served, protected: bool) -> None:
    if not protected:
        _read_in_a_thread(monkeypatch)
    opened = [connected(running, HEAD.format("POST", 10).encode() + b"{") for _ in range(50)]
    for connection in opened:
        connection.__enter__()
    time.sleep(SHORT)
    try:
        with httpx.Client(base_url=running.url, timeout=2.0, headers={"authorization": "alice"}) as other:
            if protected:
                assert other.get("/v2.0/vpn/ikepolicies?limit=1").status_code == 200
            else:
                with pytest.raises(httpx.ReadTimeout):
                    other.get("/v2.0/vpn/ikepolicies?limit=1")
    finally:
        for connection in opened:
            connection.__exit__(None, None, None)
