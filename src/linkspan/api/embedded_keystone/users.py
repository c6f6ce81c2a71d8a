"""Projects, users and roles of the embedded Keystone, to be read: an admin sees all, everybody else themselves.

What somebody may not see does not exist. Nothing is changed here: `linkspan user` and `linkspan project` do that.
"""

from __future__ import annotations

from typing import Any

from linkspan.api.embedded_keystone import operations
from linkspan.api.embedded_keystone.caller import Authentication, KeystoneCaller, list_response, not_found, routes
from linkspan.api.http.messages import Request, Response, ok
from linkspan.api.http.route import Route
from linkspan.core import keystone_v3
from linkspan.store.identity import users as stored_users
from linkspan.store.identity.users import ProjectRow, UserRow
from linkspan.store.store import Store
from linkspan.store.transaction import Transaction


class Users:
    """Handlers of /v3/projects, /v3/users, /v3/roles and what a token's user may scope to."""

    def __init__(self, store: Store, guard: Authentication) -> None:
        self._store = store
        self._guard = guard

    def routes(self) -> list[Route]:
        """All paths."""
        known = self._guard.known
        return [
            *routes("GET", "/auth/projects", known(self.own_projects), operations.LIST_OWN_PROJECTS),
            *routes("GET", "/auth/domains", known(self.own_domains), operations.LIST_OWN_DOMAINS),
            *routes("GET", "/projects", known(self.projects), operations.LIST_PROJECTS),
            *routes("GET", "/projects/{id}", known(self.project), operations.SHOW_PROJECT),
            *routes("GET", "/users", known(self.users), operations.LIST_USERS),
            *routes("GET", "/users/{id}", known(self.user), operations.SHOW_USER),
            *routes("GET", "/users/{id}/projects", known(self.user_projects), operations.LIST_USER_PROJECTS),
            *routes("GET", "/roles", known(self.roles), operations.LIST_ROLES),
            *routes("GET", "/roles/{id}", known(self.role), operations.SHOW_ROLE),
        ]

    def own_projects(self, call: Request, who: KeystoneCaller) -> Response:
        """The projects in which the user has a role."""
        return self._listed(call, who.user_id, "/auth/projects")

    def own_domains(self, call: Request, _who: KeystoneCaller) -> Response:
        """The domains in which the user has a role: none, roles are in projects."""
        return list_response(call, "domains", (), "/auth/domains")

    def projects(self, call: Request, who: KeystoneCaller) -> Response:
        """Projects, by name if one is given."""
        return self._listed(call, None if who.is_admin else who.user_id, "/projects")

    def project(self, call: Request, who: KeystoneCaller) -> Response:
        """One project."""
        with self._store.read() as tx:
            found = [row for row in _visible(tx, None if who.is_admin else who.user_id) if row["id"] == call.id]
        if not found:
            raise not_found("project", call.id)
        return ok({"project": _project(call, found[0])})

    def users(self, call: Request, who: KeystoneCaller) -> Response:
        """Users, by name if one is given."""
        filters = _filters(call)
        with self._store.read() as tx:
            found = [row for row in stored_users.all_users(tx) if who.is_admin or row["id"] == who.user_id]
        return list_response(call, "users", (_user(call, row) for row in found if _fits(row, filters)), "/users")

    def user(self, call: Request, who: KeystoneCaller) -> Response:
        """One user."""
        who.require(call.id)
        with self._store.read() as tx:
            user = stored_users.user(tx, call.id)
        if user is None:
            raise not_found("user", call.id)
        return ok({"user": _user(call, user)})

    def user_projects(self, call: Request, who: KeystoneCaller) -> Response:
        """The projects in which a user has a role."""
        who.require(call.id)
        return self._listed(call, call.id, f"/users/{call.id}/projects")

    def roles(self, call: Request, _who: KeystoneCaller) -> Response:
        """The roles that mean something here."""
        wanted = _filters(call).get("name")
        found = (keystone_v3.role_body(role) for role in keystone_v3.ROLES if wanted in (None, role))
        return list_response(call, "roles", found, "/roles")

    def role(self, call: Request, _who: KeystoneCaller) -> Response:
        """One role."""
        if call.id not in keystone_v3.ROLES:
            raise not_found("role", call.id)
        return ok({"role": keystone_v3.role_body(call.id)})

    def _listed(self, call: Request, user_id: str | None, path: str) -> Response:
        filters = _filters(call)
        with self._store.read() as tx:
            found = _visible(tx, user_id)
        return list_response(call, "projects", (_project(call, row) for row in found if _fits(row, filters)), path)


def _visible(tx: Transaction, user_id: str | None) -> list[ProjectRow]:
    """The projects in which a user has a role; None: all. Raises Problem if there is no such user."""
    if user_id is None:
        return stored_users.all_projects(tx)
    user = stored_users.user(tx, user_id)
    if user is None:
        raise not_found("user", user_id)
    return [row for row in stored_users.all_projects(tx) if row["id"] in user["grants"]]


def _filters(call: Request) -> dict[str, str]:
    return dict(call.parameters())


def _fits(row: ProjectRow | UserRow, filters: dict[str, str]) -> bool:
    """Whether a project or user has the name and the domain that are asked for."""
    domain = keystone_v3.DOMAIN["id"]
    return filters.get("name", row["name"]) == row["name"] and filters.get("domain_id", domain) == domain


def _project(call: Request, row: ProjectRow) -> dict[str, Any]:
    return {
        "id": row["id"],
        "name": row["name"],
        "description": row["description"],
        "domain_id": keystone_v3.DOMAIN["id"],
        "parent_id": keystone_v3.DOMAIN["id"],
        "enabled": True,
        "is_domain": False,
        "tags": [],
        "options": {},
        "links": {"self": f"{call.base}/identity/v3/projects/{row['id']}"},
    }


def _user(call: Request, row: UserRow) -> dict[str, Any]:
    return {
        "id": row["id"],
        "name": row["name"],
        "domain_id": keystone_v3.DOMAIN["id"],
        "default_project_id": row["project_id"],
        "enabled": True,
        "password_expires_at": None,
        "options": {},
        "links": {"self": f"{call.base}/identity/v3/users/{row['id']}"},
    }
