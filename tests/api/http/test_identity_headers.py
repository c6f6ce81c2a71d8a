"""Headers that claim an identity are dropped before any authentication backend sees the request."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from linkspan.api.app import create_app
from linkspan.api.authentication.basic import NoAuth
from linkspan.api.authentication.keystone import KeystoneAuth
from linkspan.api.embedded_keystone.service import EmbeddedKeystone
from linkspan.api.http import dispatcher
from linkspan.api.http.authenticator import Authenticator
from linkspan.api.http.notifications import Notifier
from linkspan.core.secret import hash_token
from linkspan.store.identity import tokens, users
from linkspan.store.store import Store
from tests.api.users import PASSWORD, Client, populate, quick

__all__ = ["quick"]

pytestmark = pytest.mark.usefixtures("quick")

CLAIMS = {
    "X-Identity-Status": "Confirmed",
    "X-User-Id": "root",
    "X-User-Name": "root",
    "X-Project-Id": "a" * 32,
    "X-Tenant-Id": "a" * 32,
    "X-Domain-Id": "default",
    "X-Roles": "admin",
    "X_Roles": "admin",
    "X-Is-Admin-Project": "True",
    "X-Service-Roles": "admin",
    "OpenStack-System-Scope": "all",
}
Backend = Callable[[Store], tuple[Authenticator, dict[str, str]]]


def none(store: Store) -> tuple[Authenticator, dict[str, str]]:
    return NoAuth(), {}


def basic(store: Store) -> tuple[Authenticator, dict[str, str]]:
    pair = base64.b64encode(f"reader:{PASSWORD}".encode()).decode()
    return EmbeddedKeystone(store), {"authorization": f"Basic {pair}"}


def static(store: Store) -> tuple[Authenticator, dict[str, str]]:
    with store.write() as tx:
        user: Any = users.user_by_name(tx, "reader")
        tokens.add_token(tx, hash_token(b"static"), user["id"], user["project_id"])
    return EmbeddedKeystone(store), {"x-auth-token": "static"}


def issued(store: Store) -> tuple[Authenticator, dict[str, str]]:
    auth = EmbeddedKeystone(store)
    with TestClient(create_app(store, auth, Notifier())) as http:
        return auth, {"x-auth-token": Client(http, store).token("reader")}


def keystone(store: Store) -> tuple[Authenticator, dict[str, str]]:
    class Keystone:
        def validate(self, token: str) -> Any:
            return {
                "token": {
                    "user": {"id": "u", "name": "reader"},
                    "project": {"id": "b" * 32, "name": "blue"},
                    "roles": [{"name": "reader"}],
                    "expires_at": "2999-01-01T00:00:00Z",
                }
            }

    return KeystoneAuth(Keystone(), "http://keystone.example.org/v3"), {"x-auth-token": "token"}


class RecordingBackend:
    """An authentication backend that records the headers it receives."""

    def __init__(self, auth: Authenticator) -> None:
        self._auth = auth
        self.seen: set[str] = set()

    def cached(self, request: Any) -> Any:
        """Returns the caller that the wrapped backend has cached."""
        return self._record(request).cached(request)

    def identify(self, request: Any) -> Any:
        """Returns the caller that the wrapped backend identifies."""
        return self._record(request).identify(request)

    def _record(self, request: Any) -> Authenticator:
        self.seen |= {name.decode() for name, _ in request.headers}
        return self._auth


@pytest.mark.security(
    "11",
    tried="every identity header, with each kind of authentication",
    control="itself: its second half lets the headers through, and every claim arrives",
)
@pytest.mark.parametrize("backend", [none, basic, static, issued, keystone])
def test_identity_headers_do_not_change_the_caller(
    store: Store, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    populate(store)
    with store.write() as tx:
        alice: Any = users.user_by_name(tx, "alice")
        users.add_user(tx, "reader", alice["password_hash"], "b" * 32, ("reader",))
    auth, credentials = backend(store)
    recording = RecordingBackend(auth)
    claims = {name.lower() for name in CLAIMS}
    with TestClient(create_app(store, recording, Notifier())) as http:
        body = {"network": {"name": "x", "router:external": True}}
        responses = [
            http.post("/v2.0/networks", json=body, headers=credentials | more) for more in (dict[str, str](), CLAIMS)
        ]
        assert [response.status_code for response in responses] == [201 if backend is none else 403] * 2
        if backend is none:
            assert len({response.json()["network"]["project_id"] for response in responses}) == 1
        assert not recording.seen & claims
        monkeypatch.setattr(dispatcher, "strip_identity_headers", list)
        http.get("/v2.0/networks", headers=credentials | CLAIMS)
        assert claims <= recording.seen, "control: without the protection the claims have to arrive"
        print("control: without the protection every claim arrived")
        # Claims that do arrive are ignored as well.
        assert http.get("/v2.0/networks", headers=CLAIMS).status_code == (200 if backend is none else 401)
