"""Users for tests: alice is a member of blue and a reader of red, root is an admin, idle has no role."""

from __future__ import annotations

from typing import Any, Final

import httpx
import pytest

from linkspan.api.embedded_keystone.service import EmbeddedKeystone
from linkspan.store.identity import users
from linkspan.store.store import Store
from tests.harness.first_state import QUICK

PASSWORD: Final = "correct horse"
_HASH: Final = QUICK.hash(PASSWORD)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes passwords with argon2's lowest cost, for tests that do not test the cost."""
    monkeypatch.setattr(users, "_hasher", lambda: QUICK)


def populate(store: Store) -> None:
    """Creates projects and users, all with the same password."""
    with store.write() as tx:
        blue, red = (users.add_project(tx, name, id=name[0] * 32)["id"] for name in ("blue", "red"))
        alice = users.add_user(tx, "alice", _HASH, blue, ("member",))
        users.set_roles(tx, alice["id"], red, ("reader",))
        users.add_user(tx, "bob", _HASH, red, ("member",))
        users.add_user(tx, "root", _HASH, users.add_project(tx, "admin", id="a" * 32)["id"], ("admin",))
        users.add_user(tx, "idle", _HASH, blue, ())


def embedded(store: Store, **more: Any) -> EmbeddedKeystone:
    """Returns an embedded Keystone with these users."""
    populate(store)
    return EmbeddedKeystone(store, **more)


class Client:
    """A client of the embedded Keystone over plain HTTP."""

    def __init__(self, http: httpx.Client, store: Store) -> None:
        self.http = http
        self.store = store

    def id(self, name: str) -> str:
        """Returns a user's id."""
        with self.store.read() as tx:
            user = users.user_by_name(tx, name)
        assert user is not None
        id: str = user["id"]
        return id

    def ask(self, identity: Any, scope: Any = ..., path: str = "/v3/auth/tokens") -> httpx.Response:
        """Requests a token."""
        auth = {"identity": identity} | ({} if scope is ... else {"scope": scope})
        return self.http.post(path, json={"auth": auth})

    def login(self, name: str, scope: Any = ..., password: str = PASSWORD) -> httpx.Response:
        """Requests a token with a password."""
        return self.ask(by_password({"name": name, "domain": {"id": "default"}, "password": password}), scope)

    def token(self, name: str, scope: Any = ...) -> str:
        """Returns a token that was issued for a password."""
        response = self.login(name, scope)
        assert response.status_code == 201, response.text
        return response.headers["x-subject-token"]

    def get(self, path: str, token: str, **headers: str) -> httpx.Response:
        """Sends a GET with a token."""
        return self.http.get(path, headers={"x-auth-token": token, **headers})

    def code(self, token: str) -> int:
        """Returns the status of a VPN request with a token."""
        return self.get("/v2.0/vpn/vpnservices", token).status_code


def by_password(user: Any) -> dict[str, Any]:
    """Returns the identity part of a token request by password."""
    return {"methods": ["password"], "password": {"user": user}}


def by_token(token: str) -> dict[str, Any]:
    """Returns the identity part of a token request by token."""
    return {"methods": ["token"], "token": {"id": token}}


def by_credential(**values: Any) -> dict[str, Any]:
    """Returns the identity part of a token request by application credential."""
    return {"methods": ["application_credential"], "application_credential": values}
