"""Ten thousand rows, slow clients and silent ones, against an API that is a process of its own."""

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
"""Megabytes."""
SLOW = 50
SILENT = 500
PROMPT = 1.0
"""Seconds in which a request is answered, whatever others do; the machine may be busy."""
PATH = f"/v2.0{CONNECTIONS}"


class Crowded(msgspec.Struct, frozen=True):
    """An API over many connections of the project `crowd`."""

    api: ApiProcess
    crowd: Crowd
    user: httpx.Client

    def megabytes(self, what: str = "VmRSS") -> float:
        """The memory of the API's process; VmHWM: the most it ever was."""
        status = Path(f"/proc/{self.api.pid}/status").read_text()
        found = re.search(rf"{what}:\s+(\d+) kB", status)
        assert found
        return int(found[1]) / 1024

    def threads(self) -> int:
        """How many threads the process has."""
        return len(list(Path(f"/proc/{self.api.pid}/task").iterdir()))

    def connect(self) -> socket.socket:
        """A connection that takes little at a time."""
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", self.api.port))
        client.settimeout(10.0)
        return client

    def head(self, method: str, path: str, length: int = 0) -> bytes:
        """The head of a request as the crowd's user."""
        who = credentials("crowd")["Authorization"]
        lines = (f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: {who}", f"Content-Length: {length}", "", "")
        return "\r\n".join(lines).encode()


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def crowded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowded]:
    """Ten thousand connections, on each kind of database."""
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


def test_ten_thousand_rows_need_little_memory(crowded: Crowded) -> None:
    for _ in range(2):
        seen: list[str] = []
        path = f"{PATH}?limit=1000"
        while path:
            answer = crowded.user.get(path).json()
            seen += [each["id"] for each in answer["ipsec_site_connections"]]
            links = {each["rel"]: each["href"] for each in answer["ipsec_site_connections_links"]}
            path = links.get("next", "") if answer["ipsec_site_connections"] else ""
        assert sorted(seen) == sorted(crowded.crowd.connections)
        # A status is computed: every row is read, and all of them match.
        found = crowded.user.get(f"{PATH}?status=ACTIVE").json()["ipsec_site_connections"]
        assert len(found) == 1000
    print(f"{ROWS} rows: {crowded.megabytes():.0f} MB, at most {crowded.megabytes('VmHWM'):.0f} MB")
    assert crowded.megabytes() < MEMORY


def test_slow_clients_hold_nobody_up(crowded: Crowded) -> None:
    """50 that read a byte a second, 50 that send one, and 500 that send half a head and nothing more."""
    crowded.user.get(f"{PATH}?limit=1")
    before, threads = crowded.megabytes(), crowded.threads()
    with contextlib.ExitStack() as stack:
        readers, senders, silent = (
            [stack.enter_context(contextlib.closing(crowded.connect())) for _ in range(count)]
            for count in (SLOW, SLOW, SILENT)
        )
        for each in silent:
            each.sendall(b"GET / HTTP/1.1\r\nHo")
        for each in senders:
            each.sendall(crowded.head("POST", PATH, 1000))
        for each in readers:
            each.sendall(crowded.head("GET", PATH))
            # Its answer is on the way: what others wait for is not that it is made.
            each.recv(1)
        stop = threading.Event()
        trickle = threading.Thread(target=_trickle, args=(readers, senders, stop))
        trickle.start()
        try:
            slowest = max(_asked(crowded, seconds=10.0))
            now = crowded.megabytes()
            print(f"slowest answer {slowest * 1000:.0f} ms; {before:.0f} MB before, {now:.0f} MB with all of them")
            assert slowest < PROMPT
            assert crowded.threads() <= threads + 12
            # Each slow reader's answer is there until it has left: 0.85 MB.
            assert now < before + SLOW * 1.0 + 20
        finally:
            stop.set()
            trickle.join()


def _trickle(readers: list[socket.socket], senders: list[socket.socket], stop: threading.Event) -> None:
    while not stop.wait(1.0):
        for each in readers:
            each.recv(1)
        for each in senders:
            each.sendall(b" ")


def _asked(crowded: Crowded, seconds: float) -> Iterator[float]:
    """How long each of many requests took, one after the other."""
    until = time.monotonic() + seconds
    number = 0
    while time.monotonic() < until:
        begun = time.monotonic()
        number += 1
        id = crowded.crowd.connections[math.prod((number, 7919)) % ROWS]
        assert crowded.user.get(f"{PATH}/{id}").status_code == 200
        yield time.monotonic() - begun
        time.sleep(0.05)
