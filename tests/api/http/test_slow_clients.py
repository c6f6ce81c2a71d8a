"""Clients that are slow on purpose: who is cut off, when, and that nobody else waits for them."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from linkspan.api.http import dispatcher, slow_clients
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
    """A server with 1,000 policies: an answer that fits into no buffer of the kernel's."""
    with served(database, page=1000) as one:
        with one.api.store.write() as tx:
            for number in range(1000):
                writing.insert(tx, IKE_POLICY, {"project_id": BLUE, "name": str(number), "description": "x" * 9000})
        yield one


@contextmanager
def connected(running: Served, sent: bytes) -> Iterator[socket.socket]:
    """A connection on which this was sent, and that takes little at a time."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(10.0)
        client.connect(("127.0.0.1", int(running.url.rpartition(":")[2])))
        client.sendall(sent)
        yield client


def taken(client: socket.socket) -> bytes:
    """All that comes until the server ends the connection."""
    found = bytearray()
    with suppress(ConnectionResetError):
        while part := client.recv(1 << 16):
            found += part
    return bytes(found)


PARTS = {
    "half a head": b"GET / HTTP/1.1\r\nHo",
    "half a body": HEAD.format("POST", 10).encode() + b"{",
    "a line": b"\r\n",
}


# Nothing after a request is no case: a connection between requests may stay, see below.
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
def test_a_request_that_does_not_come_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, running: Served, first: bytes, sent: bytes
) -> None:
    monkeypatch.setattr(slow_clients, "ARRIVAL", LONG)
    with connected(running, first) as client:
        # The control: somebody is waited for longer than below.
        _answered(client, first, sent)
        client.settimeout(3 * SHORT)
        with pytest.raises(TimeoutError):
            client.recv(1)
    monkeypatch.setattr(slow_clients, "ARRIVAL", SHORT)
    with connected(running, first) as client:
        _answered(client, first, sent)
        taken(client)


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
def test_an_answer_that_is_not_taken_goes(monkeypatch: pytest.MonkeyPatch, running: Served, limit: float) -> None:
    monkeypatch.setattr(slow_clients, "TAKING", limit)
    with connected(running, WHOLE) as client:
        time.sleep(4 * SHORT)
        client.sendall(SMALL.replace(b"Host: x", b"Host: x\r\nConnection: close"))
        found = taken(client)
    length = int(found.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    assert length > 9_000_000
    assert (len(found) > length) == (limit == LONG)


def test_a_head_has_an_end(running: Served) -> None:
    with connected(running, b"GET / HTTP/1.1\r\nX-Long: ") as client:
        with suppress(ConnectionError):
            for _ in range(100):
                client.sendall(b"x" * 4096)
                time.sleep(0.001)
        # Whether the refusal is read before the reset is the kernel's affair.
        assert taken(client)[:12] in (b"HTTP/1.1 400", b"")
    assert running.api.get("/vpn/ikepolicies?limit=1")


async def _in_a_thread(self: dispatcher.Dispatcher, call: Any, receive: Any, largest: int) -> bytes:
    """How a server reads bodies that gives each request a thread from its start."""
    loop = asyncio.get_running_loop()

    def read() -> bytes:
        message = asyncio.run_coroutine_threadsafe(dispatcher._rest(b"", receive, largest), loop)
        return message.result(LONG)

    return await loop.run_in_executor(self._pool, read)


@pytest.mark.parametrize("protected", [True, False], ids=["as it is", "control: bodies in threads"])
def test_slow_bodies_hold_no_thread(monkeypatch: pytest.MonkeyPatch, running: Served, protected: bool) -> None:
    if not protected:
        monkeypatch.setattr(dispatcher.Dispatcher, "_body", _in_a_thread)
    opened = [connected(running, HEAD.format("POST", 10).encode() + b"{") for _ in range(50)]
    for each in opened:
        each.__enter__()
    time.sleep(SHORT)
    try:
        with httpx.Client(base_url=running.url, timeout=2.0, headers={"authorization": "alice"}) as other:
            if protected:
                assert other.get("/v2.0/vpn/ikepolicies?limit=1").status_code == 200
            else:
                with pytest.raises(httpx.ReadTimeout):
                    other.get("/v2.0/vpn/ikepolicies?limit=1")
    finally:
        for each in opened:
            each.__exit__(None, None, None)
