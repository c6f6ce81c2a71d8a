"""Credentials are looked at before a body is read, and the bodies of all requests have one budget."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
import pytest
from sqlalchemy import Engine

from linkspan.api.http import dispatcher, slow_clients
from linkspan.api.http.arriving_body import STRANGERS, ArrivingBody, BodyBudget
from tests.api.http.test_pipelining import process, resident
from tests.api.serving import Served, served, wait_for
from tests.api.users import embedded, quick
from tests.harness.api_process import ApiProcess

__all__ = ["process", "quick"]

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)

IKE = "/v2.0/vpn/ikepolicies"
REPORTS = "/agent/v1/reports"
LOGIN = "/v3/auth/tokens"
LARGE = 4 * 1024 * 1024
CLIENTS = 40
SMALL_BUDGET = 400_000
PIECE = 60_000
WAITS = 0.5
"""Seconds without an answer after which a request counts as one that waits for its body."""


@pytest.fixture
def budgets(monkeypatch: pytest.MonkeyPatch) -> list[BodyBudget]:
    """The budgets of the server that starts next: that of known callers, and that of strangers."""
    made: list[BodyBudget] = []

    class Noted(BodyBudget):
        def __init__(self, total: int) -> None:
            super().__init__(total)
            made.append(self)

    monkeypatch.setattr(dispatcher, "BodyBudget", Noted)
    return made


@pytest.fixture
def running(database: Engine, budgets: list[BodyBudget]) -> Iterator[Served]:
    """A server whose budget is a few bodies."""
    with served(database, bodies=SMALL_BUDGET) as server:
        yield server


def head(method: str, path: str, length: int, *more: str) -> bytes:
    """Returns the head of a request; a length of -1 means a chunked body."""
    size = f"Content-Length: {length}" if length >= 0 else "Transfer-Encoding: chunked"
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", size, *more, "", ""]).encode()


@contextmanager
def sent(url: str, *parts: bytes) -> Iterator[socket.socket]:
    """Opens a connection and sends what is given of a request."""
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), 10.0) as client:
        for part in parts:
            client.sendall(part)
        yield client


def status(client: socket.socket) -> int:
    """Returns the status of the first answer."""
    received = b""
    while b"\r\n\r\n" not in received:
        part = client.recv(1 << 16)
        assert part, "closed without an answer"
        received += part
    return int(received.split()[1])


UNFINISHED = {
    "no token of a node": (head("POST", REPORTS, LARGE), b"{", 401),
    "a wrong token of a node": (head("POST", REPORTS, LARGE, "Authorization: Bearer x"), b"{", 401),
    "hello of a node": (head("POST", "/agent/v1/hello", LARGE), b"{", 401),
    "chunks": (head("POST", REPORTS, -1), b"5\r\n{    \r\n", 401),
    "nothing of a body": (head("POST", REPORTS, 10), b"", 401),
    "no credentials of a user": (head("POST", IKE, 1000), b"{", 401),
    "wrong credentials of a user": (head("PUT", f"{IKE}/x", 1000, "Authorization: stranger"), b"{", 401),
    "before 100 Continue": (head("POST", IKE, 1000, "Expect: 100-continue"), b"", 401),
    "an unknown path": (head("POST", "/nothing", 1000), b"{", 404),
    "an unknown method": (head("PATCH", IKE, 1000, "Authorization: alice"), b"{", 405),
}


def test_credentials_are_looked_at_before_the_body(running: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, (request, part, expected) in UNFINISHED.items():
        with sent(running.url, request, part) as client:
            assert (kind, status(client)) == (kind, expected)

    async def always(_self: ArrivingBody, _budget: BodyBudget) -> bool:
        return True

    # The control: a server that reads bodies first waits for them.
    monkeypatch.setattr(ArrivingBody, "came_with_head", always)
    request, part, _ = UNFINISHED["no token of a node"]
    with sent(running.url, request, part) as client:
        client.settimeout(WAITS)
        with pytest.raises(TimeoutError):
            client.recv(1)


@pytest.mark.parametrize("expects", [False, True])
def test_a_body_in_parts_of_a_known_caller_is_read(running: Served, expects: bool) -> None:
    body = json.dumps({"ikepolicy": {"name": "slow"}}).encode()
    more = ["Expect: 100-continue"] if expects else []
    with sent(running.url, head("POST", IKE, len(body), "Authorization: alice", *more)) as client:
        if expects:
            assert status(client) == 100
        for number in range(0, len(body), 10):
            client.sendall(body[number : number + 10])
        assert status(client) == 201
    assert [policy["name"] for policy in running.api.get("/vpn/ikepolicies")["ikepolicies"]] == ["slow"]


def test_a_body_beyond_the_budget_is_a_503_until_another_ends(running: Served, budgets: list[BodyBudget]) -> None:
    request = head("POST", IKE, 65_000, "Authorization: alice")
    with ExitStack() as stack:
        held = [stack.enter_context(sent(running.url, request, b"{" * PIECE)) for _ in range(SMALL_BUDGET // PIECE)]
        wait_for(lambda: budgets[0].left == SMALL_BUDGET - len(held) * PIECE)
        refused = stack.enter_context(sent(running.url, request, b"{" * PIECE))
        answer = refused.recv(1 << 16)
        assert b" 503 " in answer.partition(b"\r\n")[0]
        assert b"retry-after" in answer.lower()
        for client in held:
            client.settimeout(0.0)
            with pytest.raises(BlockingIOError):
                client.recv(1)

    wait_for(lambda: budgets[0].left == SMALL_BUDGET)
    with sent(running.url, request, b"{" * PIECE, b"{" * 5000) as client:
        assert status(client) == 400, "read to its end: the bodies of those that left count no more"


def test_logins_leave_room_to_known_callers(database: Engine, quick: None, budgets: list[BodyBudget]) -> None:
    with served(database, embedded, bodies=SMALL_BUDGET) as running, ExitStack() as stack:
        http = running.api.client
        good = {"auth": ("alice", "correct horse")}
        assert http.post(IKE, json={"ikepolicy": {}}, **good).status_code == 201  # type: ignore[arg-type]
        request = head("POST", LOGIN, 65_000)
        number = SMALL_BUDGET // STRANGERS // PIECE
        for _ in range(number):
            stack.enter_context(sent(running.url, request, b"{" * PIECE))
        wait_for(lambda: budgets[1].left == SMALL_BUDGET // STRANGERS - number * PIECE)
        refused = stack.enter_context(sent(running.url, request, b"{" * PIECE))
        assert status(refused) == 503
        large = {"ikepolicy": {"description": "x" * 60_000}}
        assert http.post(IKE, json=large, **good).status_code == 400  # type: ignore[arg-type]
        assert http.post(IKE, json={"ikepolicy": {}}, **good).status_code == 201  # type: ignore[arg-type]


ENDLESS = {
    "trailers": (head("POST", REPORTS, -1), b"0\r\n" + b"A: b\r\n" * 20_000),
    "a long trailer": (head("POST", REPORTS, -1), b"0\r\nA: " + b"b" * 200_000),
    "sizes of chunks": (head("POST", REPORTS, -1), b"1;" + b"x" * 200_000),
    "many headers": (head("POST", REPORTS, 5, *["A: b"] * 200), b""),
    "one-byte chunks": (head("POST", REPORTS, -1), b"1\r\nx\r\n" * 50_000),
}


def test_what_is_no_content_is_limited_too(running: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []
    on_header = slow_clients.TimedHttpProtocol.on_header

    def counted(self: slow_clients.TimedHttpProtocol, name: bytes, value: bytes) -> None:
        on_header(self, name, value)
        held.append(len(self.headers))

    monkeypatch.setattr(slow_clients.TimedHttpProtocol, "on_header", counted)
    for kind, (request, rest) in ENDLESS.items():
        with sent(running.url, request) as client, contextlib.suppress(ConnectionError):
            client.sendall(rest)
            while client.recv(1 << 16):
                pass
        assert max(held) <= slow_clients.HEADERS, kind
    assert httpx.get(running.url).status_code == 200


@pytest.mark.slow
@pytest.mark.usefixtures("database")
def test_bodies_of_strangers_cost_no_memory(process: ApiProcess) -> None:
    before = resident(process)
    request = head("POST", REPORTS, LARGE), head("POST", REPORTS, LARGE, "Authorization: Bearer wrong")
    with ExitStack() as stack:
        clients = [stack.enter_context(sent(f":{process.port}", request[number % 2])) for number in range(CLIENTS)]
        for client in clients:
            client.sendall(b" " * (LARGE - 1))
        assert {status(client) for client in clients} == {401}
        during = resident(process)
    print(f"{before:.0f} MB before, {during:.0f} MB with {CLIENTS} bodies of 4 MiB")
    assert during < before + CLIENTS * 4 / 4
