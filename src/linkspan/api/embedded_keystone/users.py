"""Domains, projects, users and roles of the embedded Keystone, as they are read. An admin reads all, a user only their
own.

An object that the caller may not read is a 404. `changes` and `linkspan user` and `linkspan project` make changes.
"""

from __future__ import annotations

from linkspan.api.embedded_keystone import operations, views
from linkspan.api.embedded_keystone.caller import Authentication, KeystoneCaller, not_found, routes
from linkspan.api.http.messages import Request, Response, ok
from linkspan.api.http.route import Route
from linkspan.core import keystone_v3
from linkspan.store.identity import users as stored_users
from linkspan.store.identity.users import ProjectRow
from linkspan.store.store import Store
from linkspan.store.transaction import Transaction


class Users:
    """Handlers that read domains, projects, users, roles and what a token's user may scope to."""

    def __init__(self, store: Store, guard: Authentication) -> None:
        self._store = store
        self._guard = guard

    def routes(self) -> list[Route]:
        """All paths."""
        known = self._guard.known
        return [
            *routes("GET", "/auth/projects", known(self.own_projects), operations.LIST_OWN_PROJECTS),
            *routes("GET", "/auth/domains", known(self.own_domains), operations.LIST_OWN_DOMAINS),
            *routes("GET", "/domains", known(self.domains), operations.LIST_DOMAINS),
            *routes("GET", "/domains/{id}", known(self.domain), operations.SHOW_DOMAIN),
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
        return views.list_response(request, "domains", (), "/auth/domains")

    def domains(self, request: Request, _caller: KeystoneCaller) -> Response:
        """The one domain, for everybody: clients look it up by name."""
        return views.listed(request, "domains", [views.domain(request)], "/domains")

    def domain(self, request: Request, _caller: KeystoneCaller) -> Response:
        """The one domain."""
        if request.id != keystone_v3.DOMAIN["id"]:
            raise not_found("domain", request.id)
        return ok({"domain": views.domain(request)})

    def projects(self, request: Request, caller: KeystoneCaller) -> Response:
        """Projects that fit the filters."""
        return self._listed(request, None if caller.is_admin else caller.user_id, "/projects")

    def project(self, request: Request, caller: KeystoneCaller) -> Response:
        """One project."""
        with self._store.read() as tx:
            found = [
                row for row in _visible(tx, None if caller.is_admin else caller.user_id) if row["id"] == request.id
            ]
        if not found:
            raise not_found("project", request.id)
        return ok({"project": views.project(request, found[0])})

    def users(self, request: Request, caller: KeystoneCaller) -> Response:
        """Users that fit the filters."""
        with self._store.read() as tx:
            found = [row for row in stored_users.all_users(tx) if caller.is_admin or row["id"] == caller.user_id]
        return views.listed(request, "users", (views.user(request, row) for row in found), "/users")

    def user(self, request: Request, caller: KeystoneCaller) -> Response:
        """One user."""
        caller.require(request.id)
        with self._store.read() as tx:
            user = stored_users.user(tx, request.id)
        if user is None:
            raise not_found("user", request.id)
        return ok({"user": views.user(request, user)})

    def user_projects(self, request: Request, caller: KeystoneCaller) -> Response:
        """The projects in which a user has a role."""
        caller.require(request.id)
        return self._listed(request, request.id, f"/users/{request.id}/projects")

    def roles(self, request: Request, _caller: KeystoneCaller) -> Response:
        """The roles of the API."""
        return views.listed(request, "roles", (views.role(request, name) for name in keystone_v3.ROLES), "/roles")

    def role(self, request: Request, _caller: KeystoneCaller) -> Response:
        """One role."""
        if request.id not in keystone_v3.ROLES:
            raise not_found("role", request.id)
        return ok({"role": views.role(request, request.id)})

    def _listed(self, request: Request, user_id: str | None, path: str) -> Response:
        with self._store.read() as tx:
            found = _visible(tx, user_id)
        return views.listed(request, "projects", (views.project(request, row) for row in found), path)


def _visible(tx: Transaction, user_id: str | None) -> list[ProjectRow]:
    """The projects in which a user has a role; None: all. Raises ApiError if there is no such user."""
    if user_id is None:
        return stored_users.all_projects(tx)
    user = stored_users.user(tx, user_id)
    if user is None:
        raise not_found("user", user_id)
    return [row for row in stored_users.all_projects(tx) if row["id"] in user["grants"]]
