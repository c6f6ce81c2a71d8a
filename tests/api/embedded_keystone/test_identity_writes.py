"""Projects, users and roles of the embedded Keystone, written by an admin over plain HTTP, and read with filters."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from linkspan.core.secret import hash_token
from linkspan.store.identity import credentials, tokens
from tests.api.users import PASSWORD, Client, by_credential, by_token

pytestmark = pytest.mark.usefixtures("quick")

BLUE, RED = "b" * 32, "r" * 32
NEW = "a new password"


class Admin:
    """An admin of the embedded Keystone with a token."""

    def __init__(self, client: Client, user: str = "root") -> None:
        self.client = client
        self.headers = {"x-auth-token": client.token(user)}

    def send(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """Sends a request below /v3; every error has Keystone's shape and a sentence."""
        response = self.client.http.request(method, f"/v3{path}", json=body, headers=self.headers)
        if response.status_code >= 400 and method != "HEAD":
            error = response.json()["error"]
            assert (error["code"], len(error["message"].split()) > 2) == (response.status_code, True), error
        return response

    def code(self, method: str, path: str, body: Any = None) -> int:
        """Returns the status of a request."""
        return self.send(method, path, body).status_code

    def make(self, kind: str, **values: Any) -> Any:
        """Creates a project or user; returns it as it is shown."""
        response = self.send("POST", f"/{kind}s", {kind: values})
        assert response.status_code == 201, response.text
        return response.json()[kind]

    def change(self, kind: str, id: str, **values: Any) -> Any:
        """Changes a project or user; returns it as it is shown."""
        response = self.send("PATCH", f"/{kind}s/{id}", {kind: values})
        assert response.status_code == 200, response.text
        return response.json()[kind]

    def names(self, path: str) -> list[str]:
        """Returns the names of listed objects."""
        response = self.send("GET", path)
        assert response.status_code == 200, response.text
        [objects] = (value for key, value in response.json().items() if key != "links")
        return [shown["name"] for shown in objects]

    def role(self, method: str, project: str, user: str, role: str = "member") -> int:
        """Grants, checks or revokes a role; returns the status."""
        return self.code(method, f"/projects/{project}/users/{user}/roles/{role}")

    def assignments(self, query: str = "") -> list[tuple[str, str, str]]:
        """Returns (user, project, role) of listed role assignments."""
        listed = self.send("GET", f"/role_assignments{query}").json()["role_assignments"]
        return [(row["user"]["id"], row["scope"]["project"]["id"], row["role"]["id"]) for row in listed]


@pytest.fixture
def admin(client: Client, uncached: None) -> Admin:
    return Admin(client)


# --- writes -------------------------------------------------------------------------------------------------------


def test_the_life_of_a_project_and_its_user(client: Client, admin: Admin) -> None:
    project = admin.make("project", name="green", description="the third", domain_id="default", tags=[], options={})
    assert project | {"id": 0, "links": 0} == {
        "id": 0,
        "name": "green",
        "description": "the third",
        "domain_id": "default",
        "parent_id": "default",
        "enabled": True,
        "is_domain": False,
        "tags": [],
        "options": {},
        "links": 0,
    }
    assert admin.send("GET", f"/projects/{project['id']}").json() == {"project": project}
    # As Tempest writes it.
    user = admin.make("user", name="carol", password=NEW, project_id=project["id"], email="c@example.org")
    assert user | {"id": 0, "links": 0} == {
        "id": 0,
        "name": "carol",
        "description": "",
        "email": "c@example.org",
        "domain_id": "default",
        "default_project_id": project["id"],
        "enabled": True,
        "password_expires_at": None,
        "options": {},
        "links": 0,
    }
    assert admin.send("GET", f"/users/{user['id']}").json() == {"user": user}
    assert "project" not in client.login("carol", password=NEW).json()["token"], "a default project gives no role"
    assert admin.role("PUT", project["id"], user["id"]) == 204
    token = client.login("carol", password=NEW).headers["x-subject-token"]
    assert client.code(token) == 200
    renamed = admin.change("user", user["id"], name="caroline", description="two\nlines", email=None)
    assert (renamed["name"], renamed["description"], renamed["email"]) == ("caroline", "two\nlines", None)
    assert admin.change("project", project["id"], name="lime", description=None)["name"] == "lime"
    assert client.code(token) == 200
    # A new password ends the tokens that were issued for the previous one.
    admin.change("user", user["id"], password="another password")
    assert client.code(token) == 401
    assert client.login("caroline", password=NEW).status_code == 401
    token = client.login("caroline", password="another password").headers["x-subject-token"]
    assert admin.code("DELETE", f"/projects/{project['id']}") == 204
    assert client.code(token) == 401
    assert admin.send("GET", f"/users/{user['id']}").json()["user"]["default_project_id"] is None
    assert admin.code("DELETE", f"/users/{user['id']}") == 204
    for path in (f"/projects/{project['id']}", f"/users/{user['id']}"):
        assert [admin.code(method, path) for method in ("GET", "DELETE")] == [404, 404]
        assert admin.code("PATCH", path, {path[1:-1].partition("/")[0][:-1]: {"name": "x"}}) == 404


def test_what_cannot_be_written_is_refused(admin: Admin) -> None:
    """`tests/core/schema/test_keystone_objects.py` has each attribute."""
    for kind, values in (
        ("project", {"name": "x", "colour": "green"}),
        ("user", {"name": "x", "original_password": NEW}),
        ("user", {"name": "x", "default_project_id": "0" * 32}),
    ):
        before = admin.names(f"/{kind}s")
        response = admin.send("POST", f"/{kind}s", {kind: values})
        assert response.status_code == 400
        assert NEW not in response.text
        bodies: tuple[Any, ...] = (None, {}, {kind: []}, {f"{kind}s": values})
        assert [admin.code("POST", f"/{kind}s", body) for body in bodies] == [400] * 4
        assert admin.names(f"/{kind}s") == before


def test_a_name_is_taken_once(client: Client, admin: Admin) -> None:
    assert admin.code("POST", "/projects", {"project": {"name": "blue"}}) == 409
    assert admin.code("PATCH", f"/projects/{RED}", {"project": {"name": "blue"}}) == 409
    assert admin.change("project", RED, name="red")["name"] == "red"
    assert admin.code("POST", "/users", {"user": {"name": "alice"}}) == 409
    assert admin.code("PATCH", f"/users/{client.id('bob')}", {"user": {"name": "alice"}}) == 409


def test_a_project_with_objects_is_kept(client: Client, admin: Admin) -> None:
    headers = {"x-auth-token": client.token("alice")}
    network = client.http.post("/v2.0/networks", json={"network": {}}, headers=headers).json()["network"]
    refused = admin.send("DELETE", f"/projects/{BLUE}")
    assert (refused.status_code, "1 network" in refused.text) == (409, True)
    client.http.delete(f"/v2.0/networks/{network['id']}", headers=headers)
    assert admin.code("DELETE", f"/projects/{BLUE}") == 204


# --- disabled -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["user", "project"])
def test_who_is_disabled_loses_every_token(client: Client, admin: Admin, kind: str) -> None:
    alice, bob = client.id("alice"), client.token("bob")
    token = client.token("alice")
    body = {"application_credential": {"name": "ci", "secret": "a secret of its own"}}
    path = f"/v3/users/{alice}/application_credentials"
    credential = client.http.post(path, json=body, headers={"x-auth-token": token}).json()["application_credential"]
    identity = by_credential(id=credential["id"], secret="a secret of its own")
    of_credential = client.ask(identity).headers["x-subject-token"]
    with client.store.write() as tx:
        tokens.add_token(tx, hash_token(b"static"), alice, BLUE)
    basic = ("alice", PASSWORD)
    valid = (token, of_credential, "static")
    assert [client.code(each) for each in valid] == [200] * 3
    target = (kind, alice if kind == "user" else BLUE)
    assert admin.change(*target, enabled=False)["enabled"] is False
    assert [client.code(each) for each in valid] == [401] * 3
    assert client.http.get("/v2.0/networks", auth=basic).status_code == 401
    assert client.ask(identity).status_code == client.ask(by_token(token)).status_code == 401
    assert client.login("alice", {"project": {"name": "blue"}}).status_code == 401
    # Elsewhere a user goes on whose project is disabled.
    assert client.login("alice", {"project": {"id": RED}}).status_code == (401 if kind == "user" else 201)
    assert client.login("alice").status_code == (401 if kind == "user" else 201)
    if kind == "project":
        assert "project" not in client.login("alice").json()["token"]
    assert client.code(bob) == 200
    assert admin.change(*target, enabled=True)["enabled"] is True
    # Issued tokens have ended for good; what an operator or a user made lasts.
    assert [client.code(each) for each in valid] == [401, 401, 200]
    assert client.ask(identity).status_code == client.login("alice").status_code == 201
    assert client.http.get("/v2.0/networks", auth=basic).status_code == 200


def test_a_user_can_be_created_disabled_or_without_a_password(client: Client, admin: Admin) -> None:
    admin.make("user", name="later", password=NEW, enabled=False)
    assert client.login("later", password=NEW).status_code == 401
    admin.make("user", name="nobody", default_project_id=BLUE)
    for password in ("", NEW):
        assert client.login("nobody", password=password).status_code == 401
    assert admin.make("project", name="closed", enabled=False)["enabled"] is False
    assert admin.names("/projects?enabled=false") == ["closed"]
    assert admin.names("/users?enabled=0") == ["later"]


# --- the last admin -----------------------------------------------------------------------------------------------


def test_the_last_admin_stays(client: Client, admin: Admin) -> None:
    root, project = client.id("root"), "a" * 32
    ways: list[tuple[str, str, Any]] = [
        ("DELETE", f"/users/{root}", None),
        ("PATCH", f"/users/{root}", {"user": {"enabled": False}}),
        ("DELETE", f"/projects/{project}", None),
        ("PATCH", f"/projects/{project}", {"project": {"enabled": False}}),
        ("DELETE", f"/projects/{project}/users/{root}/roles/admin", None),
    ]
    # An admin who cannot log in is none.
    silent = admin.make("user", name="silent")["id"]
    away = admin.make("user", name="away", password=NEW, enabled=False)["id"]
    for user in (silent, away):
        assert admin.role("PUT", RED, user, "admin") == 204
    for method, path, body in ways:
        refused = admin.send(method, path, body)
        assert refused.status_code == 409, (method, path)
        assert "grant the role admin to another user" in refused.json()["error"]["message"]
    assert admin.names("/users?name=root") == ["root"]
    assert admin.role("HEAD", project, root, "admin") == 204
    # With a second admin the first one may go.
    assert admin.role("PUT", RED, client.id("bob"), "admin") == 204
    assert admin.code(*ways[0]) == 204
    assert admin.code("GET", "/users") == 401
    assert Admin(client, "bob").names("/users?name=root") == []


# --- roles --------------------------------------------------------------------------------------------------------


def test_roles_are_granted_checked_and_revoked(client: Client, admin: Admin) -> None:
    alice, bob = client.id("alice"), client.id("bob")
    assert [admin.role(method, BLUE, bob) for method in ("HEAD", "GET", "DELETE")] == [404] * 3
    assert [admin.role(method, BLUE, bob) for method in ("PUT", "PUT", "HEAD", "GET")] == [204] * 4
    token = client.token("bob", {"project": {"id": BLUE}})
    assert client.code(token) == 200
    assert admin.role("PUT", BLUE, bob, "reader") == 204
    assert admin.names(f"/projects/{BLUE}/users/{bob}/roles") == ["member", "reader"]
    assert admin.role("DELETE", BLUE, bob) == 204
    assert [role["name"] for role in client.login("bob", {"project": {"id": BLUE}}).json()["token"]["roles"]] == [
        "reader"
    ]
    assert admin.role("DELETE", BLUE, bob, "reader") == 204
    assert client.code(token) == 401
    for project, user, role in (("x", bob, "member"), (BLUE, "x", "member"), (BLUE, bob, "king"), ("x", "x", "x")):
        assert [admin.role(method, project, user, role) for method in ("PUT", "HEAD", "DELETE")] == [404] * 3
    assert admin.names(f"/projects/{RED}/users/{alice}/roles") == ["reader"]
    assert admin.code("GET", f"/projects/{RED}/users/x/roles") == 404


def test_role_assignments_are_listed(client: Client, admin: Admin) -> None:
    alice, bob, root = (client.id(name) for name in ("alice", "bob", "root"))
    everything = [(alice, BLUE, "member"), (alice, RED, "reader"), (bob, RED, "member"), (root, "a" * 32, "admin")]
    assert admin.assignments() == everything
    assert admin.assignments(f"?user.id={alice}") == everything[:2]
    assert admin.assignments(f"?scope.project.id={RED}&user.id={bob}") == everything[2:3]
    assert admin.assignments("?role.id=admin") == everything[3:]
    assert admin.assignments(f"?user.id={alice}&effective")[:2] == [(alice, BLUE, "member"), (alice, BLUE, "reader")]
    assert admin.assignments(f"?user.id={bob}&effective=0") == everything[2:3]
    for other in ("group.id=x", "scope.domain.id=default", "scope.system=all", "user.id=x"):
        assert admin.assignments(f"?{other}") == []
    [row] = admin.send("GET", f"/role_assignments?user.id={bob}&include_names=True").json()["role_assignments"]
    domain = {"id": "default", "name": "Default"}
    assert row["user"] == {"id": bob, "name": "bob", "domain": domain}
    assert row["scope"]["project"] == {"id": RED, "name": "red", "domain": domain}
    assert row["role"] == {"id": "member", "name": "member"}
    assert row["links"]["assignment"].endswith(f"/identity/v3/projects/{RED}/users/{bob}/roles/member")


# --- reads --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("user", ["alice", "root"])
def test_everybody_finds_the_domain(client: Client, user: str) -> None:
    caller = Admin(client, user)
    shown = caller.send("GET", "/domains/default").json()["domain"]
    assert (shown["id"], shown["name"], shown["enabled"]) == ("default", "Default", True)
    assert caller.send("GET", "/domains").json()["domains"] == [shown]
    assert caller.names("/domains?name=Default") == ["Default"]
    assert caller.names("/domains?name=other") == caller.names("/domains?enabled=false") == []
    # Clients look an object up by id, and then by name.
    assert caller.code("GET", "/domains/Default") == caller.code("GET", "/domains/other") == 404


def test_lists_are_filtered(client: Client, admin: Admin) -> None:
    for name in ("green-1", "green-2", "evergreen"):
        admin.make("project", name=name)
        admin.make("user", name=name)
    for kind in ("projects", "users"):
        assert admin.names(f"/{kind}?name=green-1") == ["green-1"]
        assert admin.names(f"/{kind}?name__contains=green") == ["evergreen", "green-1", "green-2"]
        assert admin.names(f"/{kind}?name__contains=Green") == []
        assert admin.names(f"/{kind}?name__icontains=Green") == ["evergreen", "green-1", "green-2"]
        assert admin.names(f"/{kind}?name__startswith=green") == ["green-1", "green-2"]
        assert admin.names(f"/{kind}?name__iendswith=GREEN") == ["evergreen"]
        assert admin.names(f"/{kind}?name__contains=green&name__endswith=2") == ["green-2"]
        assert admin.names(f"/{kind}?domain_id=other") == admin.names(f"/{kind}?enabled=False") == []
        every = admin.names(f"/{kind}?unknown=1&domain_id=default&enabled=true")
        assert admin.names(f"/{kind}?limit=2") == every[:2]
        marker = admin.send("GET", f"/{kind}?name={every[1]}").json()[kind][0]["id"]
        assert admin.names(f"/{kind}?limit=2&marker={marker}") == every[2:4]
        assert admin.names(f"/{kind}?marker=nothing") == []
        assert admin.code("GET", f"/{kind}?limit=two") == 400
    assert admin.names("/roles?name__contains=m") == ["member", "manager", "admin"]


def test_what_is_not_there_says_so(admin: Admin) -> None:
    for method, path in (
        ("GET", "/groups"),
        ("GET", "/services"),
        ("POST", "/OS-TRUST/trusts"),
        ("PUT", f"/domains/default/users/{BLUE}/roles/member"),
        ("GET", f"/users/{BLUE}/nothing/{RED}/more"),
    ):
        refused = admin.send(method, path)
        assert (refused.status_code, "no such path" in refused.text) == (404, True), path
    for method, path in (
        ("POST", "/roles"),
        ("DELETE", "/roles/member"),
        ("POST", "/domains"),
        ("PATCH", "/domains/default"),
        ("PUT", "/projects"),
        ("PUT", f"/users/{BLUE}"),
    ):
        refused = admin.send(method, path, {})
        assert (refused.status_code, "does not answer" in refused.text) == (405, True), path
    # Only the identity service has this shape.
    assert "NeutronError" in admin.client.http.get("/nothing").json()


# --- for whom -----------------------------------------------------------------------------------------------------


@pytest.mark.security(
    "10",
    tried="every write of the identity service, and every read of others, as a member and as nobody",
    control="test_the_life_of_a_project_and_its_user",
)
def test_only_admins_write_and_see_others(client: Client) -> None:
    alice, bob = client.id("alice"), client.id("bob")
    user = Admin(client, "alice")
    requests: list[tuple[str, str, Any]] = [
        ("POST", "/projects", {"project": {"name": "x"}}),
        ("PATCH", f"/projects/{BLUE}", {"project": {"name": "x"}}),
        ("DELETE", f"/projects/{BLUE}", None),
        ("POST", "/users", {"user": {"name": "x"}}),
        ("PATCH", f"/users/{alice}", {"user": {"enabled": False}}),
        ("PATCH", f"/users/{bob}", {"user": {"password": NEW}}),
        ("DELETE", f"/users/{bob}", None),
        ("PUT", f"/projects/{RED}/users/{alice}/roles/admin", None),
        ("DELETE", f"/projects/{BLUE}/users/{alice}/roles/member", None),
        ("GET", f"/projects/{BLUE}/users/{alice}/roles/member", None),
        ("GET", f"/projects/{BLUE}/users/{alice}/roles", None),
        ("GET", "/role_assignments", None),
        ("POST", f"/users/{bob}/password", {"user": {"original_password": PASSWORD, "password": NEW}}),
    ]
    for method, path, body in requests:
        assert user.code(method, path, body) == 403, path
    for method, path, body in requests:
        assert client.http.request(method, f"/v3{path}", json=body).status_code == 401, path
    # An admin's role counts only in a token for a project, and Basic authentication changes nothing.
    loose = client.token("root", "unscoped")
    body = {"project": {"name": "x"}}
    assert client.http.post("/v3/projects", json=body, headers={"x-auth-token": loose}).status_code == 403
    refused = client.http.post("/v3/projects", json=body, auth=("root", PASSWORD))
    assert (refused.status_code, "needs a token" in refused.text) == (403, True)
    assert Admin(client).names("/projects") == ["admin", "blue", "red"]
    assert user.names("/users?name__contains=") == ["alice"]
    assert user.names("/projects?name__contains=") == ["blue", "red"]


def test_a_restricted_credential_of_an_admin_writes_nothing(client: Client, admin: Admin) -> None:
    """Else it could make an admin that outlives it. The control is the unrestricted one."""
    root = client.id("root")
    for name, unrestricted, expected in (("bound", False, 403), ("free", True, 201)):
        body = {"application_credential": {"name": name, "unrestricted": unrestricted}}
        path = f"/users/{root}/application_credentials"
        made = admin.send("POST", path, body).json()["application_credential"]
        token = client.ask(by_credential(id=made["id"], secret=made["secret"])).headers["x-subject-token"]
        written = client.http.post("/v3/users", json={"user": {"name": name}}, headers={"x-auth-token": token})
        assert written.status_code == expected
        assert client.get("/v3/users?name=alice", token).json()["users"][0]["name"] == "alice"


def test_a_revoked_admin_writes_nothing_from_the_cache(client: Client) -> None:
    """Another process revoked the role: reads go on for seconds, writes do not."""
    admin, second = Admin(client), Admin(client)
    assert second.role("PUT", RED, client.id("bob"), "admin") == 204
    assert admin.code("GET", "/role_assignments") == 200
    with client.store.write() as tx:
        tokens.remove_token(tx, hash_token(admin.headers["x-auth-token"].encode()))
    assert admin.code("GET", "/role_assignments") == 200
    assert admin.code("POST", "/projects", {"project": {"name": "x"}}) == 401


def test_users_change_their_own_password(client: Client, uncached: None) -> None:
    user, path = Admin(client, "alice"), f"/users/{client.id('alice')}/password"
    for original, new, expected in (("wrong", NEW, 401), (PASSWORD, "short", 400), (5, NEW, 400), (PASSWORD, NEW, 204)):
        response = user.send("POST", path, {"user": {"original_password": original, "password": new}})
        assert response.status_code == expected
        assert PASSWORD not in response.text
    assert client.code(user.headers["x-auth-token"]) == 401
    assert client.login("alice").status_code == 401
    assert client.login("alice", password=NEW).status_code == 201


# --- the audit trail ----------------------------------------------------------------------------------------------


@pytest.mark.security(
    "14",
    tried="every write of the identity service",
    control="itself: a grant twice, a PATCH without a change and a refused DELETE have none",
)
def test_every_change_is_audited_and_no_password_is_anywhere(client: Client, admin: Admin) -> None:
    with capture_logs() as logs:
        project = admin.make("project", name="green")["id"]
        user = admin.make("user", name="carol", password="needle in the hay", default_project_id=project)["id"]
        admin.role("PUT", project, user)
        admin.role("PUT", project, user)
        admin.change("user", user, password="second needle here", name="carol")
        admin.change("user", user, name="carol", enabled=True)
        admin.change("project", project, enabled=False)
        admin.role("DELETE", project, user)
        admin.code("DELETE", f"/users/{user}")
        admin.code("DELETE", f"/projects/{project}")
        admin.code("DELETE", f"/projects/{project}")
    answer = client.get("/v2.0/linkspan/audit", admin.headers["x-auth-token"])
    entries = [
        (entry["action"], entry["resource"], entry["object_id"], entry["project_id"], entry["fields"])
        for entry in answer.json()["audit"][::-1]
        if entry["user_name"] == "root" and entry["source"] and entry["request_id"]
    ]
    assert entries == [
        ("create", "project", project, project, ["name"]),
        ("create", "user", user, project, ["default_project_id", "name", "password"]),
        ("grant", "user", user, project, ["roles"]),
        ("update", "user", user, project, ["password"]),
        ("update", "project", project, project, ["enabled"]),
        ("revoke", "user", user, project, ["roles"]),
        ("delete", "user", user, project, []),
        ("delete", "project", project, project, []),
    ]
    assert "needle" not in json.dumps(answer.json()) + repr(logs)


def test_the_credentials_of_a_deleted_user_are_gone(client: Client, admin: Admin) -> None:
    alice = client.id("alice")
    body = {"application_credential": {"name": "ci"}}
    path = f"/v3/users/{alice}/application_credentials"
    client.http.post(path, json=body, headers={"x-auth-token": client.token("alice")})
    assert admin.code("DELETE", f"/users/{alice}") == 204
    with client.store.read() as tx:
        assert credentials.credentials_of(tx, alice) == []
