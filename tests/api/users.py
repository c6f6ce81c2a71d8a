"""Users for tests of who asks: alice is a member of blue and a reader of red, root is an admin, idle has no role."""

from __future__ import annotations

from typing import Any, Final

import httpx
import pytest
from argon2 import PasswordHasher

from linkspan.api.embedded_keystone.service import EmbeddedKeystone
from linkspan.store.identity import users
from linkspan.store.store import Store

PASSWORD: Final = "correct horse"
QUICK: Final = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
_HASH: Final = QUICK.hash(PASSWORD)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords are hashed with the least that argon2 takes: what they cost is another test's subject."""
    monkeypatch.setattr(users, "_hasher", lambda: QUICK)


def populate(store: Store) -> None:
    """Makes projects and users, all with the same password."""
    with store.write() as tx:
        blue, red = (users.add_project(tx, name, id=name[0] * 32)["id"] for name in ("blue", "red"))
        alice = users.add_user(tx, "alice", _HASH, blue, ("member",))
        users.set_roles(tx, alice["id"], red, ("reader",))
        users.add_user(tx, "bob", _HASH, red, ("member",))
        users.add_user(tx, "root", _HASH, users.add_project(tx, "admin", id="a" * 32)["id"], ("admin",))
        users.add_user(tx, "idle", _HASH, blue, ())


def embedded(store: Store, **more: Any) -> EmbeddedKeystone:
    """The embedded identity with these users."""
    populate(store)
    return EmbeddedKeystone(store, **more)


class Client:
    """Requests to the embedded identity, by hand."""

    def __init__(self, http: httpx.Client, store: Store) -> None:
        self.http = http
        self.store = store

    def id(self, name: str) -> str:
        """A user's id."""
        with self.store.read() as tx:
            user = users.user_by_name(tx, name)
        assert user is not None
        found: str = user["id"]
        return found

    def ask(self, identity: Any, scope: Any = ..., path: str = "/v3/auth/tokens") -> httpx.Response:
        """A request for a token."""
        auth = {"identity": identity} | ({} if scope is ... else {"scope": scope})
        return self.http.post(path, json={"auth": auth})

    def login(self, name: str, scope: Any = ..., password: str = PASSWORD) -> httpx.Response:
        """The same with a password."""
        return self.ask(by_password({"name": name, "domain": {"id": "default"}, "password": password}), scope)

    def token(self, name: str, scope: Any = ...) -> str:
        """A token that is got by a password."""
        answer = self.login(name, scope)
        assert answer.status_code == 201, answer.text
        return answer.headers["x-subject-token"]

    def get(self, path: str, token: str, **headers: str) -> httpx.Response:
        """A GET with a token."""
        return self.http.get(path, headers={"x-auth-token": token, **headers})

    def code(self, token: str) -> int:
        """What the API itself answers to a token."""
        return self.get("/v2.0/vpn/vpnservices", token).status_code


def by_password(user: Any) -> dict[str, Any]:
    """The identity part of a request, by password."""
    return {"methods": ["password"], "password": {"user": user}}


def by_token(token: str) -> dict[str, Any]:
    """The same, by token."""
    return {"methods": ["token"], "token": {"id": token}}


def by_credential(**given: Any) -> dict[str, Any]:
    """The same, by application credential."""
    return {"methods": ["application_credential"], "application_credential": given}
