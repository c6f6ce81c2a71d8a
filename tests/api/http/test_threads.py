"""Who waits for whom: writes that wait for their turn and questions about who asks hold up nobody else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from linkspan.api.authentication import keystone as authentication_keystone
from linkspan.api.authentication import passwords
from linkspan.api.authentication.keystone import KeystoneAuth
from linkspan.api.embedded_keystone.service import EmbeddedKeystone
from linkspan.api.http.authenticator import Authenticator
from linkspan.api.http.dispatcher import THREADS
from linkspan.api.http.notifications import Notifier
from linkspan.store.identity.users import verify_password
from linkspan.store.store import Store
from tests.api.authentication.test_basic import basic
from tests.api.authentication.test_keystone import said
from tests.api.conftest import OpenApi
from tests.api.users import PASSWORD, by_password, populate, quick
from tests.api.world import Api

__all__ = ["quick"]

IKE = "/v2.0/vpn/ikepolicies"
MANY = THREADS + 8
SOON = 5.0
"""Seconds in which whoever waits for nobody has their answer."""

Send = Callable[[int], httpx.Response]


@pytest.fixture
def arrived(monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """Counts the requests that came in."""
    counted, attach = threading.Semaphore(0), Notifier.attach

    def attached(self: Notifier, loop: Any) -> None:
        attach(self, loop)
        counted.release()

    monkeypatch.setattr(Notifier, "attach", attached)
    return counted


@contextmanager
def waiting(send: Send, arrived: threading.Semaphore, release: Callable[[], object]) -> Iterator[list[Future[Any]]]:
    """Many requests that have come in and do not get their answers before `release`, which is called at the end."""
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


def soon(send: Callable[[], httpx.Response]) -> int:
    """The status of an answer that has to come while others wait."""
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(send().status_code), daemon=True)
    thread.start()
    thread.join(SOON)
    return found[0] if found else 0


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("kind", ["POST", "PUT", "DELETE", "hello"])
def test_writes_that_wait_leave_threads_to_read(api: Api, arrived: threading.Semaphore, kind: str) -> None:
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

    # Nobody writes while this transaction is open.
    writing = api.store.write()
    writing.__enter__()
    with waiting(send, arrived, lambda: writing.__exit__(None, None, None)) as sent:
        assert soon(lambda: api.send("GET", "/vpn/ikepolicies")) == 200
        assert not any(each.done() for each in sent), "they wait"
    wanted = {"POST": 201, "PUT": 200, "DELETE": 204, "hello": 200}[kind]
    assert {each.result().status_code for each in sent} == {wanted}


class Slow:
    """A way to find out who asks that takes as long as a test wants, for everybody who is not known yet."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        self._release = threading.Event()
        self.slow = False
        for module in (authentication_keystone, passwords):
            monkeypatch.setattr(module, "PATIENCE", 30.0)

    def release(self) -> None:
        """It goes on."""
        self._release.set()

    def _wait(self) -> None:
        if self.slow:
            self._release.wait(30.0)

    def embedded(self, store: Store) -> Authenticator:
        """Passwords that take long to compare."""

        def slow(password_hash: str, password: str) -> bool:
            self._wait()
            return verify_password(password_hash, password)

        self._patch.setattr(passwords, "verify_password", slow)
        populate(store)
        return EmbeddedKeystone(store)

    def validate(self, token: str) -> Any:
        """A Keystone that takes long to answer."""
        self._wait()
        return said() if token == "good" else None

    def keystone(self, _store: Store) -> Authenticator:
        """Tokens of that Keystone."""
        return KeystoneAuth(self, "https://keystone.example.org/v3")


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("kind", ["password", "login", "token"])
def test_who_is_not_known_holds_up_nobody_who_is(
    store: Store,
    open_api: OpenApi,
    monkeypatch: pytest.MonkeyPatch,
    arrived: threading.Semaphore,
    kind: str,
) -> None:
    way = Slow(monkeypatch)
    auth = way.keystone(store) if kind == "token" else way.embedded(store)
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
            # Every second one wants to write.
            return http.post(IKE, json={"ikepolicy": {}}, headers=bad) if number % 2 else http.get(IKE, headers=bad)

        assert http.get(IKE, headers=good).status_code == 200
        way.slow = True
        with waiting(send, arrived, way.release) as sent:
            assert soon(lambda: http.post(IKE, json={"ikepolicy": {"name": "mine"}}, headers=good)) == 201
            assert soon(lambda: http.get(IKE, headers=good)) == 200
            assert not any(each.done() for each in sent), "they wait"
        assert {each.result().status_code for each in sent} == {401}
        names = [each["name"] for each in http.get(IKE, headers=good).json()["ikepolicies"]]
        assert names == ["mine"], "of those who were refused nothing was made"
