"""Many silent connections: they give way to new ones, of the same address and of others."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from linkspan.api.http.connections import ConnectionTable
from linkspan.core.schema.operations import MAX_CONNECTIONS
from tests.harness.api_process import ApiProcess, filled_store, running_api

FILES = 256
MANY = 400
REQUEST = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
SILENT = [b"", b"GET / HT", b"POST /v3/auth/tokens HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{"]


class Entry:
    """A connection in the table."""

    def __init__(self, *, waits: bool = True, had_request: bool = False) -> None:
        self.waits_for_client = waits
        self.had_request = had_request
        self.dropped = False

    def drop(self) -> None:
        self.dropped = True


def filled(table: ConnectionTable, address: str, *entries: Entry) -> list[Entry]:
    """Adds entries; asserts that each is taken."""
    assert all(table.add(entry, address) for entry in entries)
    return list(entries)


def test_the_oldest_silent_connection_of_the_address_gives_way() -> None:
    table = ConnectionTable(100, 3)
    busy, idle, silent = filled(table, "192.0.2.1", Entry(waits=False), Entry(had_request=True), Entry())
    others = filled(table, "192.0.2.2", Entry(), Entry())
    assert table.add(Entry(waits=False), "192.0.2.1")
    assert (busy.dropped, idle.dropped, silent.dropped) == (False, False, True)
    assert table.add(Entry(waits=False), "192.0.2.1")
    assert (busy.dropped, idle.dropped) == (False, True)
    # All of them are busy now.
    assert not table.add(Entry(), "192.0.2.1")
    assert not any(entry.dropped for entry in others)
    assert len(table) == 5


@pytest.mark.parametrize(
    ("address", "neighbour", "limited"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8:1:2::1", "2001:db8:1:2::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("", "", True),
    ],
)
def test_an_address_is_a_site(address: str, neighbour: str, limited: bool) -> None:
    table = ConnectionTable(100, 1)
    filled(table, address, Entry(waits=False))
    assert table.add(Entry(), neighbour) is not limited


def test_in_all_the_address_with_most_connections_gives_way() -> None:
    table = ConnectionTable(8, 0)
    few = filled(table, "192.0.2.1", Entry(), Entry())
    many = filled(table, "192.0.2.2", *(Entry() for _ in range(6)))
    filled(table, "192.0.2.3", Entry(waits=False))
    assert [entry.dropped for entry in (*few, *many)] == [False] * 2 + [True] + [False] * 5
    for entry in many:
        entry.waits_for_client = False
    filled(table, "192.0.2.3", Entry())
    assert few[0].dropped, "those of another address, if all of the first are busy"


def test_connections_that_end_are_forgotten() -> None:
    table = ConnectionTable(8, 2)
    for _ in range(3):
        entries = filled(table, "192.0.2.1", Entry(waits=False), Entry(waits=False))
        for entry in (*entries, *entries):
            table.remove(entry, "192.0.2.1")
    assert len(table) == 0


@pytest.fixture
def process(tmp_path: Path) -> Iterator[ApiProcess]:
    """An API with few file descriptors."""
    url = f"sqlite:///{tmp_path / 'linkspan.db'}"
    with filled_store(url, tmp_path / "seal"):
        pass
    with running_api(tmp_path, url, tmp_path / "seal", FILES, MAX_CONNECTIONS) as api:
        yield api


def answer(port: int, source: str) -> bytes:
    """Returns the status line that a client at an address gets."""
    with socket.create_connection(("127.0.0.1", port), 10.0, (source, 0)) as client:
        client.sendall(REQUEST)
        return client.recv(1 << 16).partition(b"\r\n")[0]


@pytest.mark.slow
def test_silent_clients_shut_nobody_out(process: ApiProcess) -> None:
    with ExitStack() as stack:
        for number in range(MANY):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", process.port), 10.0))
            client.sendall(SILENT[number % len(SILENT)])
        for source in ("127.0.0.2", "127.0.0.1"):
            assert answer(process.port, source) == b"HTTP/1.1 200 OK"
    assert answer(process.port, "127.0.0.1") == b"HTTP/1.1 200 OK"
