"""Waiting writes and slow authentication delay no other request."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from linkspan.api.authentication import cache, passwords
from linkspan.api.authentication import keystone as authentication_keystone
from linkspan.api.authentication.keystone import KeystoneAuth
from linkspan.api.embedded_keystone.service import EmbeddedKeystone
from linkspan.api.http.authenticator import Authenticator
from linkspan.api.http.dispatcher import THREADS
from linkspan.api.http.notifications import Notifier
from linkspan.api.http.slow_clients import TimedHttpProtocol
from linkspan.store.identity.users import verify_password
from linkspan.store.store import Store
from tests.api.authentication.test_basic import basic
from tests.api.authentication.test_keystone import token_info
from tests.api.conftest import OpenApi
from tests.api.serving import served, wait_for
from tests.api.users import PASSWORD, by_password, embedded, populate, quick
from tests.api.world import Api

__all__ = ["quick"]

IKE = "/v2.0/vpn/ikepolicies"
MANY = THREADS + 8
SOON = 5.0
"""Seconds within which an undelayed request gets its response."""

Send = Callable[[int], httpx.Response]


@pytest.fixture
def arrived(monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """A semaphore that is released once for each request that arrives."""
    counted, attach = threading.Semaphore(0), Notifier.attach

    def attached(self: Notifier, loop: Any) -> None:
        attach(self, loop)
        counted.release()

    monkeypatch.setattr(Notifier, "attach", attached)
    return counted


@contextmanager
def waiting(send: Send, arrived: threading.Semaphore, release: Callable[[], object]) -> Iterator[list[Future[Any]]]:
    """Sends many requests that get no response before `release`, which is called at the end."""
    with ThreadPoolExecutor(MANY) as pool:
        while arrived.acquire(blocking=False):
            pass
        sent = [pool.submit(send, number) for number in range(MANY)]
        try:
            for _ in sent:
                assert arrived.acquire(timeout=10.0)
            yield sent
        finally:
            release()


def status_soon(send: Callable[[], httpx.Response]) -> int:
    """Returns the status of a response that has to arrive while other requests wait; 0 if it does not."""
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(send().status_code), daemon=True)
    thread.start()
    thread.join(SOON)
    return codes[0] if codes else 0


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("kind", ["POST", "PUT", "DELETE", "hello"])
def test_waiting_writes_do_not_delay_reads(api: Api, arrived: threading.Semaphore, kind: str) -> None:
    node = api.node()
    ids = [api.ike()["id"] for _ in range(MANY)]

    def send(number: int) -> httpx.Response:
        match kind:
            case "POST":
                return api.send("POST", "/vpn/ikepolicies", {"ikepolicy": {}})
            case "PUT":
                return api.send("PUT", f"/vpn/ikepolicies/{ids[number]}", {"ikepolicy": {"name": "new"}})
            case "DELETE":
                return api.send("DELETE", f"/vpn/ikepolicies/{ids[number]}")
        return node.send("POST", "/hello", json={"backend": "kernel", "agent_version": "1", "charon_version": "6"})

    # This open transaction blocks every other write.
    writing = api.store.write()
    writing.__enter__()
    with waiting(send, arrived, lambda: writing.__exit__(None, None, None)) as sent:
        assert status_soon(lambda: api.send("GET", "/vpn/ikepolicies")) == 200
        assert not any(request.done() for request in sent), "the requests wait"
    wanted = {"POST": 201, "PUT": 200, "DELETE": 204, "hello": 200}[kind]
    assert {request.result().status_code for request in sent} == {wanted}


class SlowBackend:
    """An authentication backend that takes as long as a test wants for callers that are not cached."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        self._release = threading.Event()
        self.slow = False
        for module in (authentication_keystone, passwords):
            monkeypatch.setattr(module, "PATIENCE", 30.0)

    def release(self) -> None:
        """Lets the waiting authentications continue."""
        self._release.set()

    def _wait(self) -> None:
        if self.slow:
            self._release.wait(30.0)

    def embedded(self, store: Store) -> Authenticator:
        """Returns a backend whose password hashing takes long."""

        def slow(password_hash: str, password: str) -> bool:
            self._wait()
            return verify_password(password_hash, password)

        self._patch.setattr(passwords, "verify_password", slow)
        populate(store)
        return EmbeddedKeystone(store)

    def validate(self, token: str) -> Any:
        """Validates a token; takes long."""
        self._wait()
        return token_info() if token == "good" else None

    def keystone(self, _store: Store) -> Authenticator:
        """Returns a backend for tokens of the slow Keystone."""
        return KeystoneAuth(self, "https://keystone.example.org/v3")


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("kind", ["password", "login", "token"])
def test_an_unknown_caller_delays_no_known_one(
    store: Store,
    open_api: OpenApi,
    monkeypatch: pytest.MonkeyPatch,
    arrived: threading.Semaphore,
    kind: str,
) -> None:
    backend = SlowBackend(monkeypatch)
    auth = backend.keystone(store) if kind == "token" else backend.embedded(store)
    with open_api(auth=auth) as api:
        http = api.client
        good = {"x-auth-token": "good"} if kind == "token" else {"authorization": basic("alice", PASSWORD)}

        def send(number: int) -> httpx.Response:
            match kind:
                case "password":
                    bad = {"authorization": basic("alice", f"wrong {number}")}
                case "token":
                    bad = {"x-auth-token": f"bad-{number}"}
                case _:
                    user = {"name": "alice", "domain": {"id": "default"}, "password": f"wrong {number}"}
                    return http.post("/v3/auth/tokens", json={"auth": {"identity": by_password(user)}})
            # Every second request is a write.
            return http.post(IKE, json={"ikepolicy": {}}, headers=bad) if number % 2 else http.get(IKE, headers=bad)

        assert http.get(IKE, headers=good).status_code == 200
        backend.slow = True
        with waiting(send, arrived, backend.release) as sent:
            assert status_soon(lambda: http.post(IKE, json={"ikepolicy": {"name": "mine"}}, headers=good)) == 201
            assert status_soon(lambda: http.get(IKE, headers=good)) == 200
            assert not any(request.done() for request in sent), "the requests wait"
        assert {request.result().status_code for request in sent} == {401}
        names = [policy["name"] for policy in http.get(IKE, headers=good).json()["ikepolicies"]]
        assert names == ["mine"], "the refused requests created nothing"


QUEUE = passwords.AT_ONCE + passwords.WAITING
FLOOD = QUEUE + 30


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_known_callers_never_wait_for_argon2(store: Store, open_api: OpenApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even one whose user has to be looked up again, or who logs in again."""
    backend = SlowBackend(monkeypatch)
    refused = threading.Semaphore(0)
    with open_api(auth=backend.embedded(store)) as api, ThreadPoolExecutor(FLOOD) as pool:
        http, good = api.client, {"authorization": basic("alice", PASSWORD)}
        user = {"name": "alice", "domain": {"id": "default"}, "password": PASSWORD}
        login = {"auth": {"identity": by_password(user)}}

        def flood(number: int) -> httpx.Response:
            response = http.get(IKE, headers={"authorization": basic("alice", f"wrong {number}")})
            if response.status_code == 503:
                refused.release()
            return response

        token = http.post("/v3/auth/tokens", json=login).headers["x-subject-token"]
        assert http.get(IKE, headers=good).status_code == 200
        monkeypatch.setattr(cache, "TRUST", 0.0)
        backend.slow = True
        sent = [pool.submit(flood, number) for number in range(FLOOD)]
        try:
            for _ in range(FLOOD - QUEUE):
                assert refused.acquire(timeout=30.0), "those beyond the queue are refused at once"
            assert status_soon(lambda: http.get(IKE, headers=good)) == 200
            assert status_soon(lambda: http.post(IKE, json={"ikepolicy": {}}, headers=good)) == 201
            assert status_soon(lambda: http.post("/v3/auth/tokens", json=login)) == 201
            assert status_soon(lambda: http.get(IKE, headers={"x-auth-token": token})) == 200
            assert status_soon(lambda: http.get("/v3/auth/catalog", headers={"x-auth-token": token})) == 200
            assert sum(request.done() for request in sent) == FLOOD - QUEUE, "the others still wait"
        finally:
            backend.release()
        answers = [request.result() for request in sent]
    assert sorted(response.status_code for response in answers) == [401] * QUEUE + [503] * (FLOOD - QUEUE)
    assert {response.headers.get("retry-after") for response in answers} == {None, "2"}


LOGINS = 12


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("noticed", [True, False], ids=["as it is", "control: nobody notices"])
def test_logins_of_clients_that_left_are_not_verified(
    database: Engine, monkeypatch: pytest.MonkeyPatch, noticed: bool
) -> None:
    release, verified, open_connections = threading.Event(), threading.Semaphore(0), [0]

    class Counted(TimedHttpProtocol):
        def connection_made(self, transport: Any) -> None:
            open_connections[0] += 1
            super().connection_made(transport)

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            open_connections[0] -= 1

    def slow(_hash: str, _password: str) -> bool:
        release.wait(30.0)
        verified.release()
        return False

    monkeypatch.setattr("linkspan.api.http.server.TimedHttpProtocol", Counted)
    monkeypatch.setattr(passwords, "verify_password", slow)
    if not noticed:
        monkeypatch.setattr(TimedHttpProtocol, "_left", lambda _self: False)
    backends: list[EmbeddedKeystone] = []

    def backend(store: Store) -> EmbeddedKeystone:
        backends.append(embedded(store))
        return backends[0]

    with served(database, backend) as running:
        places = backends[0]._basic._passwords._places
        free = places._value
        with ExitStack() as stack:
            for number in range(LOGINS):
                client = socket.create_connection(("127.0.0.1", int(running.url.rpartition(":")[2])))
                stack.enter_context(client)
                head = f"GET {IKE} HTTP/1.1\r\nHost: x\r\nAuthorization: {basic('alice', str(number))}\r\n\r\n"
                client.sendall(head.encode())
            wait_for(lambda: places._value == free - LOGINS)
        wait_for(lambda: open_connections[0] == 0)
        release.set()
        wait_for(lambda: places._value == free)
    count = 0
    while verified.acquire(blocking=False):
        count += 1
    assert count == (passwords.AT_ONCE if noticed else LOGINS)
