"""Projects, users and roles of the embedded Keystone, read-only. An admin reads all, a user only their own.

An object that the caller may not read is a 404. `linkspan user` and `linkspan project` make changes.
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

    def own_projects(self, request: Request, caller: KeystoneCaller) -> Response:
        """The projects in which the user has a role."""
        return self._listed(request, caller.user_id, "/auth/projects")

    def own_domains(self, request: Request, _caller: KeystoneCaller) -> Response:
        """The domains in which the user has a role: none, roles are in projects."""
        return list_response(request, "domains", (), "/auth/domains")

    def projects(self, request: Request, caller: KeystoneCaller) -> Response:
        """Projects, by name if one is given."""
        return self._listed(request, None if caller.is_admin else caller.user_id, "/projects")

    def project(self, request: Request, caller: KeystoneCaller) -> Response:
        """One project."""
        with self._store.read() as tx:
            found = [
                row for row in _visible(tx, None if caller.is_admin else caller.user_id) if row["id"] == request.id
            ]
        if not found:
            raise not_found("project", request.id)
        return ok({"project": _project(request, found[0])})

    def users(self, request: Request, caller: KeystoneCaller) -> Response:
        """Users, by name if one is given."""
        filters = _filters(request)
        with self._store.read() as tx:
            found = [row for row in stored_users.all_users(tx) if caller.is_admin or row["id"] == caller.user_id]
        return list_response(request, "users", (_user(request, row) for row in found if _fits(row, filters)), "/users")

    def user(self, request: Request, caller: KeystoneCaller) -> Response:
        """One user."""
        caller.require(request.id)
        with self._store.read() as tx:
            user = stored_users.user(tx, request.id)
        if user is None:
            raise not_found("user", request.id)
        return ok({"user": _user(request, user)})

    def user_projects(self, request: Request, caller: KeystoneCaller) -> Response:
        """The projects in which a user has a role."""
        caller.require(request.id)
        return self._listed(request, request.id, f"/users/{request.id}/projects")

    def roles(self, request: Request, _caller: KeystoneCaller) -> Response:
        """The roles of the API."""
        wanted = _filters(request).get("name")
        found = (keystone_v3.role_body(role) for role in keystone_v3.ROLES if wanted in (None, role))
        return list_response(request, "roles", found, "/roles")

    def role(self, request: Request, _caller: KeystoneCaller) -> Response:
        """One role."""
        if request.id not in keystone_v3.ROLES:
            raise not_found("role", request.id)
        return ok({"role": keystone_v3.role_body(request.id)})

    def _listed(self, request: Request, user_id: str | None, path: str) -> Response:
        filters = _filters(request)
        with self._store.read() as tx:
            found = _visible(tx, user_id)
        return list_response(
            request, "projects", (_project(request, row) for row in found if _fits(row, filters)), path
        )


def _visible(tx: Transaction, user_id: str | None) -> list[ProjectRow]:
    """The projects in which a user has a role; None: all. Raises ApiError if there is no such user."""
    if user_id is None:
        return stored_users.all_projects(tx)
    user = stored_users.user(tx, user_id)
    if user is None:
        raise not_found("user", user_id)
    return [row for row in stored_users.all_projects(tx) if row["id"] in user["grants"]]


def _filters(request: Request) -> dict[str, str]:
    return dict(request.parameters())


def _fits(row: ProjectRow | UserRow, filters: dict[str, str]) -> bool:
    """Returns whether a project or user has the name and the domain of the filters."""
    domain = keystone_v3.DOMAIN["id"]
    return filters.get("name", row["name"]) == row["name"] and filters.get("domain_id", domain) == domain


def _project(request: Request, row: ProjectRow) -> dict[str, Any]:
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
        "links": {"self": f"{request.base}/identity/v3/projects/{row['id']}"},
    }


def _user(request: Request, row: UserRow) -> dict[str, Any]:
    return {
        "id": row["id"],
        "name": row["name"],
        "domain_id": keystone_v3.DOMAIN["id"],
        "default_project_id": row["project_id"],
        "enabled": True,
        "password_expires_at": None,
        "options": {},
        "links": {"self": f"{request.base}/identity/v3/users/{row['id']}"},
    }
