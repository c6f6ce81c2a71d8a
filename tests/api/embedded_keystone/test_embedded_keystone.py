"""The embedded Keystone v3 over plain HTTP: tokens, scopes, errors, users and projects, application credentials."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from linkspan.api.app import create_app
from linkspan.api.authentication import cache, passwords
from linkspan.api.authentication import tokens as authentication_tokens
from linkspan.api.embedded_keystone import tokens
from linkspan.api.embedded_keystone.service import EmbeddedKeystone
from linkspan.api.http.notifications import Notifier
from linkspan.store.database import engine as engines
from linkspan.store.identity import tokens as stored_tokens
from linkspan.store.identity import users as stored_users
from linkspan.store.identity.users import hash_password, verify_password
from linkspan.store.store import Conflict, Store, Unavailable
from tests.api.users import PASSWORD, Client, by_credential, by_password, by_token, embedded, populate, quick
from tests.harness.databases import Clock, open_store

__all__ = ["quick"]

pytestmark = pytest.mark.usefixtures("quick")

BLUE, RED, ADMIN = "b" * 32, "r" * 32, "a" * 32
DOMAIN = {"id": "default", "name": "Default"}
REFUSED = {
    "error": {"code": 401, "title": "Unauthorized", "message": "The request you have made requires authentication."}
}


# --- versions and tokens ------------------------------------------------------------------------------------------


def test_versions(client: Client) -> None:
    links = [{"rel": "self", "href": "http://testserver/identity/v3/"}]
    (version,) = client.http.get("/identity").json()["versions"]["values"]
    assert (version["id"], version["status"], version["links"]) == ("v3.14", "stable", links)
    for path in ("/identity/v3", "/identity/v3/", "/v3"):
        assert client.http.get(path).json() == {"version": version}


@pytest.mark.parametrize("path", ["/identity/v3/auth/tokens", "/v3/auth/tokens"])
def test_a_token(client: Client, clock: Clock, path: str) -> None:
    user = {"name": "alice", "domain": {"name": "Default"}, "password": PASSWORD}
    response = client.ask(by_password(user), {"project": {"name": "blue", "domain": {"id": "default"}}}, path)
    assert response.status_code == 201
    body = response.json()["token"]
    assert body | {"audit_ids": 0, "catalog": 0} == {
        "methods": ["password"],
        "user": {"id": client.id("alice"), "name": "alice", "domain": DOMAIN, "password_expires_at": None},
        "audit_ids": 0,
        "issued_at": "2023-11-14T22:13:20.000000Z",
        "expires_at": "2023-11-14T23:13:20.000000Z",
        "project": {"id": BLUE, "name": "blue", "domain": DOMAIN},
        "is_domain": False,
        "roles": [{"id": role, "name": role, "domain_id": None} for role in ("member", "reader")],
        "catalog": 0,
    }
    token = response.headers["x-subject-token"]
    assert len(token) >= 43
    assert token not in response.text
    assert client.code(token) == 200


def test_the_catalog(client: Client) -> None:
    body = client.login("alice").json()["token"]["catalog"]
    assert [service["type"] for service in body] == ["network", "identity"]
    assert len({service["name"] for service in body}) == len({service["id"] for service in body}) == len(body)
    for service, url in zip(body, ("http://testserver", "http://testserver/identity/v3"), strict=True):
        assert [endpoint["interface"] for endpoint in service["endpoints"]] == ["public", "internal", "admin"]
        for endpoint in service["endpoints"]:
            assert (endpoint["url"], endpoint["region"], endpoint["region_id"]) == (url, "RegionOne", "RegionOne")
    token = client.token("alice")
    assert client.get("/v3/auth/catalog", token).json()["catalog"] == body
    assert client.get("/v3/auth/catalog", client.token("alice", "unscoped")).status_code == 403
    assert (
        "catalog"
        not in client.http.get(
            "/v3/auth/tokens?nocatalog", headers={"x-auth-token": token, "x-subject-token": token}
        ).json()["token"]
    )


def test_a_configured_public_url_and_region(store: Store) -> None:
    app = create_app(store, embedded(store, region="north"), Notifier(), public_url="https://vpn.example.org/x")
    with TestClient(app) as http:
        catalog = Client(http, store).login("alice").json()["token"]["catalog"]
        assert {e["url"] for e in catalog[0]["endpoints"]} == {"https://vpn.example.org/x"}
        assert {e["region_id"] for e in catalog[1]["endpoints"]} == {"north"}
        assert http.get("/").json()["versions"][0]["links"][0]["href"] == "https://vpn.example.org/x/v2.0/"


@pytest.mark.parametrize(
    ("scope", "project", "roles"),
    [
        (..., BLUE, {"member", "reader"}),
        (None, BLUE, {"member", "reader"}),
        ({"project": {"id": BLUE}}, BLUE, {"member", "reader"}),
        ({"project": {"id": RED}}, RED, {"reader"}),
        ({"project": {"name": "red", "domain": {"name": "default"}}}, RED, {"reader"}),
        ("unscoped", None, set()),
        ({"unscoped": {}}, None, set()),
    ],
)
def test_scopes(client: Client, scope: Any, project: str | None, roles: set[str]) -> None:
    body = client.login("alice", scope).json()["token"]
    assert body.get("project", {}).get("id") == project
    assert {role["name"] for role in body.get("roles", [])} == roles
    assert ("catalog" in body) is (project is not None)


def test_a_user_without_roles_gets_an_unscoped_token(client: Client) -> None:
    assert "project" not in client.login("idle").json()["token"]


def test_an_unscoped_token_only_gets_another_token(client: Client) -> None:
    loose = client.token("alice", "unscoped")
    assert client.code(loose) == 401
    names = [project["name"] for project in client.get("/v3/auth/projects", loose).json()["projects"]]
    assert names == ["blue", "red"]
    assert client.get("/v3/auth/domains", loose).json()["domains"] == []
    scoped = client.ask(by_token(loose), {"project": {"id": RED}})
    assert scoped.json()["token"]["methods"] == ["token", "password"]
    assert client.code(scoped.headers["x-subject-token"]) == 200


def test_a_token_from_a_token_expires_with_it(client: Client, clock: Clock) -> None:
    first = client.login("alice")
    clock.pass_(1000)
    second = client.ask(by_token(first.headers["x-subject-token"]), {"project": {"id": RED}})
    assert second.json()["token"]["expires_at"] == first.json()["token"]["expires_at"]


# --- errors -------------------------------------------------------------------------------------------------------

WRONG: dict[str, tuple[Any, Any]] = {
    "password": (by_password({"name": "alice", "domain": {"id": "default"}, "password": "wrong"}), ...),
    "empty password": (by_password({"name": "alice", "domain": {"id": "default"}, "password": ""}), ...),
    "user": (by_password({"name": "mallory", "domain": {"id": "default"}, "password": PASSWORD}), ...),
    "user id": (by_password({"id": "0" * 32, "password": PASSWORD}), ...),
    "domain": (by_password({"name": "alice", "domain": {"id": "other"}, "password": PASSWORD}), ...),
    "domain name": (by_password({"name": "alice", "domain": {"name": "other"}, "password": PASSWORD}), ...),
    "token": (by_token("nothing"), ...),
    "credential": (by_credential(id="0" * 32, secret="x"), ...),
    "credential's user": (by_credential(name="ci", user={"name": "mallory"}, secret="x"), ...),
    "credential's name": (by_credential(name="ci", user={"name": "alice"}, secret="x"), ...),
    "method": ({"methods": ["totp"]}, ...),
    "methods": ({"methods": ["token", "password"]}, ...),
}
ALICE = by_password({"name": "alice", "password": PASSWORD})
WRONG |= {
    "project id": (ALICE, {"project": {"id": ADMIN}}),
    "no project id": (ALICE, {"project": {"id": "0" * 32}}),
    "project": (ALICE, {"project": {"name": "admin", "domain": {"id": "default"}}}),
    "no project": (ALICE, {"project": {"name": "nowhere", "domain": {"id": "default"}}}),
    "project's domain": (ALICE, {"project": {"name": "blue", "domain": {"id": "other"}}}),
    "domain scope": (ALICE, {"domain": {"id": "default"}}),
    "system scope": (ALICE, {"system": {"all": True}}),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_authentication_is_a_401(client: Client, case: str) -> None:
    response = client.ask(*WRONG[case])
    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("Basic ")
    body = response.json()
    if case.startswith("method"):
        assert body["error"].pop("message").startswith("Attempted to authenticate with an unsupported method")
        body["error"]["message"] = REFUSED["error"]["message"]
    assert body == REFUSED


@pytest.mark.parametrize("case", ["password", "user", "user id", "domain", "credential", "credential's user"])
def test_an_unknown_name_costs_as_much_as_a_wrong_one(
    client: Client, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    costs: list[str] = []

    def counted(password_hash: str, password: str) -> bool:
        costs.append(password_hash)
        return verify_password(password_hash, password)

    monkeypatch.setattr(passwords, "verify_password", counted)
    assert client.ask(*WRONG[case]).status_code == 401
    assert [cost.split("$")[:4] for cost in costs] == [hash_password("x").split("$")[:4]]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"{",
        b'{"auth": 1}',
        b'{"auth": {"identity": {}}}',
        b'{"auth": {"identity": {"methods": []}}}',
        b'{"auth": {"identity": {"methods": "password"}}}',
        b'{"auth": {"identity": {"methods": ["password"]}}}',
        b'{"auth": {"identity": {"methods": ["password"], "password": {"user": {"name": "alice"}}}}}',
        b'{"auth": {"identity": {"methods": ["password"], "password": {"user": {"name": 1, "password": "x"}}}}}',
        b'{"auth": {"identity": {"methods": ["password"], "password": {"user": {"id": "\\u0000", "password": "x"}}}}}',
        b'{"auth": {"identity": {"methods": ["token"], "token": {"id": 5}}}}',
        b'{"auth": {"identity": {"methods": ["token"], "token": {"id": "x"}}, "scope": []}}',
        b'{"auth": {"identity": {"methods": ["token"], "token": {"id": "x"}}, "scope": {"project": {}}}}',
        b'{"auth": {"identity": {"methods": ["application_credential"], "application_credential": {"name": "x"}}}}',
    ],
)
def test_a_malformed_request_is_a_400(client: Client, body: bytes) -> None:
    response = client.http.post("/v3/auth/tokens", content=body)
    assert response.status_code == 400
    assert (response.json()["error"]["code"], response.json()["error"]["title"]) == (400, "Bad Request")


def test_a_large_body_is_refused_in_keystones_format(client: Client) -> None:
    response = client.http.post("/v3/auth/tokens", content=b" " * 70_000)
    assert (response.status_code, response.json()["error"]["code"]) == (413, 413)


@pytest.mark.parametrize("error", [Conflict("lost"), Unavailable("the disk is full")])
def test_a_database_error_is_in_keystones_format(
    client: Client, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def failing(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(Store, "read", failing)
    response = client.login("alice")
    assert (response.status_code, response.json()["error"]["title"]) == (503, "Service Unavailable")
    assert response.headers["retry-after"] == "1"


def test_an_expired_token(client: Client, clock: Clock, uncached: None) -> None:
    token = client.token("alice")
    clock.pass_(3599)
    assert client.code(token) == 200
    clock.pass_(1)
    assert client.code(token) == 401
    assert client.ask(by_token(token)).status_code == 401


def test_a_token_is_not_cached_beyond_its_expiry(client: Client, clock: Clock) -> None:
    token = client.token("alice")
    clock.pass_(3600 - 0.2)
    assert client.code(token) == 200
    clock.pass_(1)
    time.sleep(0.25)
    # It was cached for the 0.2 s until its expiry, not for the cache's whole lifetime.
    assert client.code(token) == 401


@pytest.mark.parametrize("how", ["user removed", "role taken", "password changed", "project removed"])
def test_a_token_ends_with_its_user_role_password_or_project(client: Client, uncached: None, how: str) -> None:
    token, other = client.token("alice"), client.token("bob")
    assert client.code(token) == 200
    with client.store.write() as tx:
        match how:
            case "user removed":
                stored_users.remove_user(tx, client.id("alice"))
            case "role taken":
                stored_users.set_roles(tx, client.id("alice"), BLUE, ())
            case "password changed":
                stored_users.set_password(tx, client.id("alice"), hash_password("battery staple"))
            case _:
                stored_users.remove_project(tx, BLUE)
    assert client.code(token) == 401
    assert client.code(other) == 200


def test_cached_tokens_are_checked_again_soon(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    token = client.token("alice")
    assert client.code(token) == 200
    with client.store.write() as tx:
        stored_users.remove_user(tx, client.id("alice"))
    assert client.code(token) == 200
    later = time.monotonic() + cache.TRUST
    monkeypatch.setattr(authentication_tokens, "time", SimpleNamespace(monotonic=lambda: later))
    assert client.code(token) == 401


def test_a_cached_token_cannot_create_tokens_or_credentials(client: Client) -> None:
    """A cached token that another process revoked opens the API briefly, but creates no token and no credential."""
    token = client.token("alice")
    path = f"/v3/users/{client.id('alice')}/application_credentials"

    def credential(name: str) -> int:
        body = {"application_credential": {"name": name}}
        return client.http.post(path, json=body, headers={"x-auth-token": token}).status_code

    assert (client.ask(by_token(token)).status_code, credential("before"), client.code(token)) == (201, 201, 200)
    with client.store.write() as tx:
        stored_users.set_password(tx, client.id("alice"), "another")
    assert client.code(token) == 200
    assert client.ask(by_token(token)).json() == REFUSED
    assert client.code(token) == 401
    assert credential("after") == 401
    body = {"application_credential": {"name": "by password"}}
    bob = f"/v3/users/{client.id('bob')}/application_credentials"
    assert client.http.post(bob, json=body, auth=("bob", PASSWORD)).status_code == 403


# --- validating and revoking tokens -------------------------------------------------------------------------------


def subject(client: Client, method: str, token: str, caller_token: str) -> Any:
    """Sends a request about a token."""
    headers = {"x-auth-token": caller_token, "x-subject-token": token}
    return client.http.request(method, "/v3/auth/tokens", headers=headers)


def test_a_token_can_be_validated(client: Client) -> None:
    login = client.login("alice")
    token, other, root = login.headers["x-subject-token"], client.token("bob"), client.token("root")
    for caller_token in (token, client.token("alice", "unscoped"), root):
        validation = subject(client, "GET", token, caller_token)
        assert (validation.status_code, validation.headers["x-subject-token"]) == (200, token)
        assert validation.json() == login.json()
    head = subject(client, "HEAD", token, token)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["x-subject-token"] == token
    refused = subject(client, "GET", token, other)
    assert (refused.status_code, refused.json()["error"]["title"]) == (403, "Forbidden")
    assert subject(client, "GET", "nothing", root).json()["error"]["code"] == 404
    assert subject(client, "GET", token, "nothing").json() == REFUSED
    assert client.get("/v3/auth/tokens", token).status_code == 400


def test_a_token_is_revoked_at_once(client: Client) -> None:
    token, other, root = client.token("alice"), client.token("bob"), client.token("root")
    assert client.code(token) == 200
    assert subject(client, "DELETE", token, other).status_code == 403
    assert client.code(token) == 200
    response = subject(client, "DELETE", token, token)
    assert (response.status_code, response.content) == (204, b"")
    assert client.code(token) == 401
    assert subject(client, "GET", token, root).status_code == 404
    assert subject(client, "DELETE", other, root).status_code == 204
    assert client.code(other) == 401


def test_expired_tokens_are_deleted(client: Client, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "SWEEP_EVERY", 0.0)
    client.token("alice")
    clock.pass_(4000)
    client.token("bob")
    clock.pass_(4000)
    with client.store.write() as tx:
        assert stored_tokens.remove_expired(tx) == 1


def test_tokens_are_valid_in_every_process_and_after_a_restart(database: Engine, uncached: None) -> None:
    first_store, second_store = open_store(database), open_store(database)
    with (
        TestClient(create_app(first_store, embedded(first_store), Notifier())) as first,
        TestClient(create_app(second_store, EmbeddedKeystone(second_store), Notifier())) as second,
    ):
        issuer, other = Client(first, first_store), Client(second, second_store)
        token = issuer.token("alice")
        assert other.code(token) == 200
        assert subject(issuer, "DELETE", token, token).status_code == 204
        assert other.code(token) == 401


def test_a_token_costs_one_statement_and_then_none(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with TestClient(create_app(store, embedded(store), Notifier())) as http:
        client = Client(http, store)
        token = client.token("alice").encode()
    auth = EmbeddedKeystone(store)
    sent: list[int] = []
    read = Store.read

    def counted(self: Store) -> Any:
        @contextmanager
        def counting() -> Iterator[Any]:
            with read(self) as tx:
                yield tx
                sent.append(tx.statements)

        return counting()

    monkeypatch.setattr(Store, "read", counted)
    for _ in range(10):
        assert auth._tokens.find(token) is not None
    assert sent == [1]


# --- users and projects -------------------------------------------------------------------------------------------


def projects(client: Client, path: str, token: str) -> list[str]:
    """Returns the names of listed projects."""
    response = client.get(path, token)
    assert response.status_code == 200, response.text
    return [project["name"] for project in response.json()["projects"]]


def test_a_user_sees_only_their_own_record(client: Client) -> None:
    token, id, bob = client.token("alice"), client.id("alice"), client.id("bob")
    assert projects(client, "/v3/projects", token) == ["blue", "red"]
    assert projects(client, "/v3/projects?name=red", token) == ["red"]
    assert projects(client, "/v3/projects?name=admin", token) == []
    assert projects(client, "/v3/projects?domain_id=other", token) == []
    assert projects(client, f"/v3/users/{id}/projects", token) == ["blue", "red"]
    user = client.get(f"/identity/v3/users/{id}", token).json()["user"]
    assert (user["id"], user["name"], user["default_project_id"]) == (id, "alice", BLUE)
    assert user["domain_id"] == "default"
    assert client.get("/v3/users", token).json()["users"] == [user]
    project = client.get(f"/v3/projects/{BLUE}", token).json()["project"]
    assert (project["name"], project["enabled"], project["domain_id"]) == ("blue", True, "default")
    for path in (f"/v3/users/{bob}", f"/v3/users/{bob}/projects", "/v3/users/nobody"):
        assert client.get(path, token).json()["error"]["code"] == 403
    for path in (f"/v3/projects/{ADMIN}", "/v3/projects/nothing"):
        assert client.get(path, token).json()["error"]["code"] == 404
    assert [role["name"] for role in client.get("/v3/roles?name=member", token).json()["roles"]] == ["member"]
    role = client.get("/v3/roles/member", token).json()["role"]
    assert (role["id"], role["links"]) == ("member", {"self": "http://testserver/identity/v3/roles/member"})
    assert client.get("/v3/roles/king", token).status_code == 404


def test_an_admin_sees_all_users_and_projects(client: Client) -> None:
    token = client.token("root")
    assert projects(client, "/v3/projects", token) == ["admin", "blue", "red"]
    assert projects(client, "/v3/auth/projects", token) == ["admin"]
    assert projects(client, f"/v3/users/{client.id('bob')}/projects", token) == ["red"]
    assert client.get(f"/v3/users/{client.id('bob')}", token).json()["user"]["name"] == "bob"
    users = client.get("/v3/users?name=bob&domain_id=default", token).json()["users"]
    assert [user["id"] for user in users] == [client.id("bob")]
    assert len(client.get("/v3/users", token).json()["users"]) == 4
    assert client.get("/v3/users?domain_id=other", token).json()["users"] == []
    assert client.get("/v3/users/nobody", token).status_code == 404
    assert client.get("/v3/users/nobody/projects", token).status_code == 404
    assert client.get(f"/v3/projects/{RED}", token).status_code == 200


def test_basic_credentials_replace_a_token(client: Client) -> None:
    basic = ("alice", PASSWORD)
    for path in ("/v3/projects", "/v3/auth/projects", "/v3/auth/catalog", f"/v3/users/{client.id('alice')}"):
        assert client.http.get(path, auth=basic).status_code == 200
        assert client.http.get(path, auth=("alice", "wrong")).json() == REFUSED
        assert client.http.get(path).json() == REFUSED
    assert client.http.get("/v2.0/vpn/vpnservices", auth=basic).status_code == 200


def test_unknown_paths_are_a_404(client: Client) -> None:
    token = client.token("alice")
    for path in ("/v3/nothing", "/identity/v3/users/a/b/c", "/v3/users/a/application_credentials/b/c"):
        assert client.get(path, token).status_code == 404
    assert client.http.patch("/v3/auth/tokens", headers={"x-auth-token": token}).status_code == 405


# --- application credentials --------------------------------------------------------------------------------------


class Credentials:
    """Alice's application credentials."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.token = client.token("alice")
        self.path = f"/v3/users/{client.id('alice')}/application_credentials"

    def post(self, token: str = "", **values: Any) -> Any:
        """Posts a new application credential."""
        body = {"application_credential": {"name": "ci"} | values}
        return self.client.http.post(self.path, json=body, headers={"x-auth-token": token or self.token})

    def make(self, **values: Any) -> Any:
        """Creates an application credential; asserts 201."""
        response = self.post(**values)
        assert response.status_code == 201, response.text
        return response.json()["application_credential"]

    def delete(self, id: str, token: str = "") -> int:
        """Deletes an application credential."""
        headers = {"x-auth-token": token or self.token}
        return self.client.http.delete(f"{self.path}/{id}", headers=headers).status_code


@pytest.fixture
def mine(client: Client) -> Credentials:
    return Credentials(client)


def test_the_life_of_an_application_credential(client: Client, mine: Credentials, uncached: None) -> None:
    credential = mine.make(description="for the tests", roles=[{"name": "reader"}])
    secret = credential.pop("secret")
    assert len(secret) >= 43
    assert (credential["name"], credential["description"], credential["project_id"]) == ("ci", "for the tests", BLUE)
    assert ([role["id"] for role in credential["roles"]], credential["unrestricted"], credential["expires_at"]) == (
        ["reader"],
        False,
        None,
    )
    assert client.get(mine.path, mine.token).json()["application_credentials"] == [credential]
    assert client.get(f"{mine.path}?name=x", mine.token).json()["application_credentials"] == []
    assert client.get(f"{mine.path}/{credential['id']}", mine.token).json() == {"application_credential": credential}
    assert client.get(f"/identity{mine.path}/{credential['id']}", mine.token).status_code == 200
    tokens = []
    for values in (
        {"id": credential["id"]},
        {"name": "ci", "user": {"name": "alice", "domain": {"id": "default"}}},
        {"name": "ci", "user": {"id": client.id("alice")}},
    ):
        response = client.ask(by_credential(**values, secret=secret))
        assert response.status_code == 201, response.text
        body = response.json()["token"]
        assert body["application_credential"] == {"id": credential["id"], "name": "ci", "restricted": True}
        assert ([role["name"] for role in body["roles"]], body["project"]["id"]) == (["reader"], BLUE)
        tokens.append(response.headers["x-subject-token"])
        assert client.ask(by_credential(**values, secret="wrong")).json() == REFUSED
        assert client.ask(by_credential(**values, secret=secret), {"project": {"id": RED}}).json() == REFUSED
    assert [client.code(token) for token in tokens] == [200] * 3
    written = client.http.post("/v2.0/networks", json={"network": {}}, headers={"x-auth-token": tokens[0]})
    assert written.status_code == 403
    assert mine.delete(credential["id"]) == 204
    assert [client.code(token) for token in tokens] == [401] * 3
    assert client.ask(by_credential(id=credential["id"], secret=secret)).json() == REFUSED
    assert mine.delete(credential["id"]) == 404


def test_a_restricted_credential_cannot_create_another(client: Client, mine: Credentials) -> None:
    free, bound = mine.make(unrestricted=True), mine.make(name="bound")
    tokens = {}
    for credential in (free, bound):
        response = client.ask(by_credential(id=credential["id"], secret=credential["secret"]))
        tokens[credential["name"]] = response.headers["x-subject-token"]
        # A token that was issued for that token has the same restriction.
        again = client.ask(by_token(tokens[credential["name"]]))
        assert again.json()["token"]["application_credential"]["id"] == credential["id"]
        assert client.ask(by_token(tokens[credential["name"]]), {"project": {"id": RED}}).json() == REFUSED
        assert client.ask(by_token(tokens[credential["name"]]), "unscoped").json() == REFUSED
    assert mine.post(tokens["bound"], name="more").status_code == 403
    assert mine.delete(free["id"], tokens["bound"]) == 403
    assert mine.post(tokens["ci"], name="more").status_code == 201
    assert mine.delete(bound["id"], tokens["ci"]) == 204


def test_a_credential_never_has_more_than_its_user(client: Client, mine: Credentials, uncached: None) -> None:
    credential = mine.make()
    assert [role["id"] for role in credential["roles"]] == ["member", "reader"]
    identity = by_credential(id=credential["id"], secret=credential["secret"])
    token = client.ask(identity).headers["x-subject-token"]
    with client.store.write() as tx:
        stored_users.set_roles(tx, client.id("alice"), BLUE, ("reader",))
    assert [role["name"] for role in client.ask(identity).json()["token"]["roles"]] == ["reader"]
    with client.store.write() as tx:
        stored_users.set_roles(tx, client.id("alice"), BLUE, ())
    assert client.code(token) == 401
    assert client.ask(identity).json() == REFUSED


def test_a_credential_may_have_the_role_of_a_manager(client: Client, mine: Credentials, uncached: None) -> None:
    with client.store.write() as tx:
        stored_users.set_roles(tx, client.id("alice"), BLUE, ("manager",))
    credential = mine.make(roles=[{"name": "manager"}])
    response = client.ask(by_credential(id=credential["id"], secret=credential["secret"]))
    assert [role["name"] for role in response.json()["token"]["roles"]] == ["manager", "member", "reader"]


def test_credentials_expire(client: Client, mine: Credentials, clock: Clock, uncached: None) -> None:
    credential = mine.make(expires_at="2023-11-14T22:23:20", secret="chosen by a person")
    # No zone, as in Keystone: clients in Go parse this time only in that form.
    assert (credential["expires_at"], credential["secret"]) == ("2023-11-14T22:23:20.000000", "chosen by a person")
    identity = by_credential(id=credential["id"], secret="chosen by a person")
    response = client.ask(identity)
    assert response.json()["token"]["expires_at"] == credential["expires_at"] + "Z"
    clock.pass_(600)
    assert client.ask(identity).json() == REFUSED
    assert client.code(response.headers["x-subject-token"]) == 401


@pytest.mark.parametrize(
    "values",
    [
        {"name": ""},
        {"name": 5},
        {"name": "x" * 256},
        {"roles": [{"name": "admin"}]},
        {"roles": "member"},
        {"roles": [{}]},
        {"roles": ["member"]},
        {"unrestricted": "yes"},
        {"expires_at": "soon"},
        {"expires_at": 5},
        {"expires_at": "2020-01-01T00:00:00Z"},
        {"access_rules": [{"path": "/", "method": "GET", "service": "network"}]},
        {"secret": 5},
        {"secret": "elevenchars"},
        {"secret": "x"},
    ],
)
def test_invalid_credentials_are_refused(mine: Credentials, values: dict[str, Any]) -> None:
    response = mine.post(**values)
    assert (response.status_code, response.json()["error"]["title"]) == (400, "Bad Request")


def test_credentials_belong_to_one_user(client: Client, mine: Credentials) -> None:
    credential = mine.make()
    again = mine.post()
    assert (again.status_code, again.json()["error"]["title"]) == (409, "Conflict")
    bob, root, loose = client.token("bob"), client.token("root"), client.token("alice", "unscoped")
    assert mine.post(loose, name="more").status_code == 403
    for token in (bob, root):
        assert mine.post(token, name="more").status_code == 403
    for path in (mine.path, f"{mine.path}/{credential['id']}"):
        assert client.get(path, bob).status_code == 403
        assert client.get(path, root).status_code == 200
    other = f"/v3/users/{client.id('bob')}/application_credentials/{credential['id']}"
    assert client.get(other, bob).status_code == 404
    assert mine.delete(credential["id"], bob) == 403
    assert mine.delete(credential["id"], root) == 204


# --- secrets ------------------------------------------------------------------------------------------------------


def test_no_secret_is_stored_or_logged(tmp_path: Path, sqlite_template: Path) -> None:
    """The database file holds digests and the log no secret. The control finds a text that is not secret."""
    shutil.copy(sqlite_template, tmp_path / "linkspan.db")
    engine = engines.connect(f"sqlite:///{tmp_path}/linkspan.db")
    store = open_store(engine)
    populate(store)
    with capture_logs() as logs, TestClient(create_app(store, EmbeddedKeystone(store), Notifier())) as http:
        client = Client(http, store)
        mine = Credentials(client)
        credential = mine.make(name="visible-name")
        response = client.ask(by_credential(id=credential["id"], secret=credential["secret"]))
        token = response.headers["x-subject-token"]
        assert client.code(token) == 200
        client.login("alice", password="wrong but private")
    engine.dispose()
    kept = b"".join(file.read_bytes() for file in tmp_path.iterdir() if file.is_file()) + repr(logs).encode()
    for secret in (PASSWORD, credential["secret"], token, mine.token, "wrong but private"):
        assert secret.encode() not in kept
    assert b"visible-name" in kept
