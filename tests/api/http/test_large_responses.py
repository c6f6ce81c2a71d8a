"""Ten thousand rows, slow clients and silent clients, against an API in its own process."""

from __future__ import annotations

import contextlib
import math
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

from tests.api.world import CONNECTIONS
from tests.harness.api_process import ApiProcess, credentials, filled_store, running_api
from tests.harness.crowd import Crowd, Crowds
from tests.harness.postgres import Server

ROWS = 10_000
MEMORY = 150
"""The most memory that the process may use, in megabytes."""
SLOW = 50
SILENT = 500
PROMPT = 1.0
"""Seconds within which a request gets its response despite slow clients; generous, because the machine may be busy."""
PATH = f"/v2.0{CONNECTIONS}"


class Crowded(msgspec.Struct, frozen=True):
    """An API with many connections of the project `crowd`."""

    api: ApiProcess
    crowd: Crowd
    user: httpx.Client

    def megabytes(self, what: str = "VmRSS") -> float:
        """Returns the memory of the API's process; `VmHWM`: its peak."""
        status = Path(f"/proc/{self.api.pid}/status").read_text()
        match = re.search(rf"{what}:\s+(\d+) kB", status)
        assert match
        return int(match[1]) / 1024

    def threads(self) -> int:
        """Returns the number of threads of the process."""
        return len(list(Path(f"/proc/{self.api.pid}/task").iterdir()))

    def connect(self) -> socket.socket:
        """Opens a connection with a small receive buffer."""
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", self.api.port))
        client.settimeout(10.0)
        return client

    def head(self, method: str, path: str, length: int = 0) -> bytes:
        """Returns the head of a request by the crowd's user."""
        authorization = credentials("crowd")["Authorization"]
        lines = (
            f"{method} {path} HTTP/1.1",
            "Host: x",
            f"Authorization: {authorization}",
            f"Content-Length: {length}",
            "",
            "",
        )
        return "\r\n".join(lines).encode()


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def crowded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowded]:
    """An API with ten thousand connections, on each kind of database."""
    state = tmp_path_factory.mktemp("crowded")
    with contextlib.ExitStack() as stack:
        url = f"sqlite:///{state / 'linkspan.db'}"
        if request.param == "postgresql":
            running: Server = request.getfixturevalue("postgres")
            url = stack.enter_context(running.empty())
        with filled_store(url, state / "seal") as store:
            crowd = Crowds(store).add("crowd", ROWS, 100)
        api = stack.enter_context(running_api(state, url, state / "seal"))
        yield Crowded(api, crowd, stack.enter_context(api.client("crowd")))


@pytest.mark.slow
def test_ten_thousand_rows_need_little_memory(crowded: Crowded) -> None:
    for _ in range(2):
        seen: list[str] = []
        path = f"{PATH}?limit=1000"
        while path:
            response = crowded.user.get(path).json()
            seen += [row["id"] for row in response["ipsec_site_connections"]]
            links = {link["rel"]: link["href"] for link in response["ipsec_site_connections_links"]}
            path = links.get("next", "") if response["ipsec_site_connections"] else ""
        assert sorted(seen) == sorted(crowded.crowd.connections)
        # The status is computed, so every row is read; all rows match.
        active = crowded.user.get(f"{PATH}?status=ACTIVE").json()["ipsec_site_connections"]
        assert len(active) == 1000
    print(f"{ROWS} rows: {crowded.megabytes():.0f} MB, at most {crowded.megabytes('VmHWM'):.0f} MB")
    assert crowded.megabytes() < MEMORY


@pytest.mark.slow
def test_slow_clients_delay_no_other_client(crowded: Crowded) -> None:
    """50 clients read a byte per second, 50 send a byte per second, and 500 stop in the middle of the request head."""
    crowded.user.get(f"{PATH}?limit=1")
    before, threads = crowded.megabytes(), crowded.threads()
    with contextlib.ExitStack() as stack:
        readers, senders, silent = (
            [stack.enter_context(contextlib.closing(crowded.connect())) for _ in range(count)]
            for count in (SLOW, SLOW, SILENT)
        )
        for client in silent:
            client.sendall(b"GET / HTTP/1.1\r\nHo")
        for client in senders:
            client.sendall(crowded.head("POST", PATH, 1000))
        for client in readers:
            client.sendall(crowded.head("GET", PATH))
            # The response is complete once its first byte arrives, so that its creation delays no measured request.
            client.recv(1)
        stop = threading.Event()
        trickle = threading.Thread(target=_trickle, args=(readers, senders, stop))
        trickle.start()
        try:
            slowest = max(_latencies(crowded, seconds=10.0))
            now = crowded.megabytes()
            print(f"slowest response {slowest * 1000:.0f} ms; {before:.0f} MB before, {now:.0f} MB with all of them")
            assert slowest < PROMPT
            assert crowded.threads() <= threads + 12
            # Each slow reader's response, 0.85 MB, stays in memory until it is sent.
            assert now < before + SLOW * 1.0 + 20
        finally:
            stop.set()
            trickle.join()


def _trickle(readers: list[socket.socket], senders: list[socket.socket], stop: threading.Event) -> None:
    while not stop.wait(1.0):
        for client in readers:
            client.recv(1)
        for client in senders:
            client.sendall(b" ")


def _latencies(crowded: Crowded, seconds: float) -> Iterator[float]:
    """Yields the latencies of requests that are sent one after the other, in seconds."""
    until = time.monotonic() + seconds
    number = 0
    while time.monotonic() < until:
        started = time.monotonic()
        number += 1
        id = crowded.crowd.connections[math.prod((number, 7919)) % ROWS]
        assert crowded.user.get(f"{PATH}/{id}").status_code == 200
        yield time.monotonic() - started
        time.sleep(0.05)
