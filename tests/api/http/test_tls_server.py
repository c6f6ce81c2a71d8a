"""The TLS server: replaced certificates, and clients that do not end their handshake."""

from __future__ import annotations

import shutil
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from linkspan.api.http import server as http_server
from linkspan.api.http import tls_listener
from linkspan.api.http.connections import ConnectionTable
from linkspan.api.http.notifications import Notifier
from tests.api.serving import wait_for
from tests.harness import certificates
from tests.harness.certificates import Certificates


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answers each request with its body and scheme."""
    if scope["type"] == "lifespan":
        for event in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{event}.complete"})
        return
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-scheme", scope["scheme"].encode())]})
    await send({"type": "http.response.body", "body": body})


class TlsServer:
    """A running server, its files, and the table of its connections."""

    def __init__(self, files: Certificates, port: int, table: ConnectionTable, stop: Callable[[], None]) -> None:
        self.files = files
        self.port = port
        self.table = table
        self.stop = stop

    def common_name(self) -> bytes:
        """Returns the certificate that a new connection gets."""
        return ssl.get_server_certificate(("127.0.0.1", self.port), timeout=10.0).encode()

    def client(self) -> httpx.Client:
        """Returns a client that verifies the certificate."""
        verify = ssl.create_default_context(cafile=str(self.files.authority))
        return httpx.Client(base_url=f"https://127.0.0.1:{self.port}", verify=verify, timeout=10.0)

    def connect(self) -> socket.socket:
        """Opens a TCP connection."""
        return socket.create_connection(("127.0.0.1", self.port), 10.0)


@contextmanager
def running(folder: Path, monkeypatch: pytest.MonkeyPatch, per_address: int = 0) -> Iterator[TlsServer]:
    """Runs a server."""
    tables: list[ConnectionTable] = []

    class Noted(ConnectionTable):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            tables.append(self)

    monkeypatch.setattr(http_server, "ConnectionTable", Noted)
    monkeypatch.setattr(http_server, "RELOAD", 1)
    files = certificates.make(folder)
    listener = socket.create_server(("127.0.0.1", 0))
    server = http_server.server(
        application, Notifier(), tls_cert=files.server, tls_key=files.key, per_address=per_address
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()

    def stop() -> None:
        server.stop()
        thread.join(20.0)
        assert not thread.is_alive()

    try:
        yield TlsServer(files, listener.getsockname()[1], tables[0], stop)
    finally:
        stop()


def test_a_replaced_certificate_is_served_to_new_connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other_folder = tmp_path / "other"
    other_folder.mkdir()
    other = certificates.make(other_folder)
    with running(tmp_path, monkeypatch) as server, server.client() as client, capture_logs() as logs:
        assert client.get("/").headers["x-scheme"] == "https"
        first = server.common_name()
        assert first == server.files.server.read_bytes()
        # Half of a replacement, a broken file and a missing one: the certificate in use stays.
        for damage in (
            lambda: shutil.copy(other.server, server.files.server),
            lambda: server.files.server.write_text("no PEM"),
            server.files.server.unlink,
        ):
            before = len(logs)
            damage()
            wait_for(lambda before=before: len(logs) > before)  # type: ignore[misc]
            assert "cannot be used" in logs[-1]["event"]
            assert server.common_name() == first
        shutil.copy(other.key, server.files.key)
        other.server.rename(server.files.server)
        wait_for(lambda: server.common_name() == server.files.server.read_bytes() != first)
        assert logs[-1]["event"] == "the certificate was replaced"
        # The connection that was open goes on: its client would not trust the new certificate.
        assert client.post("/", content=b"x" * 100_000).content == b"x" * 100_000
        with server.client() as stranger, pytest.raises(httpx.ConnectError, match="certificate"):
            stranger.get("/")


PARTS = {"nothing": b"", "no TLS": b"GET / HTTP/1.1\r\n\r\n", "half a hello": b"\x16\x03\x01\x02\x00\x01"}


def test_silent_handshakes_give_way_and_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(tmp_path, monkeypatch, per_address=5) as server, ExitStack() as stack:
        for number in range(40):
            client = stack.enter_context(server.connect())
            client.sendall(list(PARTS.values())[number % 3])
        with server.client() as honest:
            assert honest.get("/").status_code == 200
        assert len(server.table) <= 5
    monkeypatch.setattr(tls_listener, "HANDSHAKE", 0.2)
    with running(tmp_path, monkeypatch) as server, ExitStack() as stack:
        for part in PARTS.values():
            stack.enter_context(server.connect()).sendall(part)
        for _ in range(3):
            wait_for(lambda: len(server.table) == 0)


def test_the_server_stops_while_handshakes_are_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_listener, "HANDSHAKE", 60.0)
    with running(tmp_path, monkeypatch) as server, server.connect():
        wait_for(lambda: len(server.table) == 1)
        server.stop()
        assert len(server.table) == 0
