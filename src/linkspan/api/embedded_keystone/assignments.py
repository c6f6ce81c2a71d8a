"""Role assignments of the embedded Keystone: the roles of users in projects, for admins.

There are no groups, and no roles in a domain or in the system: lists of those are empty.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from linkspan.api.embedded_keystone import admin_operations as operations
from linkspan.api.embedded_keystone import views
from linkspan.api.embedded_keystone.caller import (
    Authentication,
    KeystoneCaller,
    not_found,
    require_an_admin,
    routes,
)
from linkspan.api.http.messages import Request, Response, no_content
from linkspan.api.http.route import Route
from linkspan.core import keystone_v3
from linkspan.core.errors import ApiError
from linkspan.store import audit
from linkspan.store.identity import enablement, users
from linkspan.store.identity.users import ProjectRow, UserRow
from linkspan.store.store import Store
from linkspan.store.transaction import Transaction

PATH = "/projects/{id}/users/{id}/roles"


class Assignments:
    """Handlers of /v3/role_assignments and of the roles of a user in a project."""

    def __init__(self, store: Store, guard: Authentication) -> None:
        self._store = store
        self._guard = guard

    def routes(self) -> list[Route]:
        """All paths. HEAD is answered like GET."""
        admin, known = self._guard.admin, self._guard.known
        return [
            *routes("GET", "/role_assignments", known(self.list), operations.LIST_ASSIGNMENTS),
            *routes("GET", PATH, known(self.list_roles), operations.LIST_PROJECT_ROLES),
            *routes("GET", PATH + "/{id}", known(self.check), operations.CHECK_ROLE),
            *routes("PUT", PATH + "/{id}", admin(self.grant), operations.GRANT_ROLE),
            *routes("DELETE", PATH + "/{id}", admin(self.revoke), operations.REVOKE_ROLE),
        ]

    def list(self, request: Request, caller: KeystoneCaller) -> Response:
        """All assignments that fit the filters."""
        caller.require_admin()
        given = dict(request.parameters())
        names, effective = _is_set(given, "include_names"), _is_set(given, "effective")
        with self._store.read() as tx:
            projects = {row["id"]: row for row in users.all_projects(tx)}
            shown = [
                _assignment(request, user, projects[project_id], role, prior, names)
                for user in users.all_users(tx)
                for project_id, roles in user["grants"].items()
                for role, prior in _roles(roles, effective)
            ]
        found = [assignment for assignment in shown if _fits(assignment, given)]
        return views.list_response(request, "role_assignments", found, "/role_assignments")

    def list_roles(self, request: Request, caller: KeystoneCaller) -> Response:
        """The roles that a user was granted in a project."""
        caller.require_admin()
        with self._store.read() as tx:
            project, user, _ = _named(tx, request.id)
        roles = [views.role(request, role) for role in user["grants"].get(project["id"], ())]
        return views.list_response(request, "roles", roles, f"/projects/{project['id']}/users/{user['id']}/roles")

    def check(self, request: Request, caller: KeystoneCaller) -> Response:
        """204 if a user was granted the role in the project."""
        caller.require_admin()
        with self._store.read() as tx:
            _require_granted(*_named(tx, request.id))
        return no_content()

    def grant(self, request: Request, caller: KeystoneCaller) -> Response:
        """Grants a role; twice equals once."""
        with self._store.write() as tx:
            project, user, role = _named(tx, request.id)
            held = user["grants"].get(project["id"], [])
            if role not in held:
                users.set_roles(tx, user["id"], project["id"], {*held, role})
                audit.record(tx, caller.actor(request), "grant", "user", user["id"], project["id"], ("roles",))
        return no_content()

    def revoke(self, request: Request, caller: KeystoneCaller) -> Response:
        """Takes a role away; tokens have their user's present roles, so they follow."""
        with self._store.write() as tx:
            enablement.lock_admins(tx)
            project, user, role = _named(tx, request.id)
            _require_granted(project, user, role)
            users.set_roles(tx, user["id"], project["id"], {*user["grants"][project["id"]]} - {role})
            require_an_admin(tx)
            audit.record(tx, caller.actor(request), "revoke", "user", user["id"], project["id"], ("roles",))
        return no_content()


def _named(tx: Transaction, ids: str) -> tuple[ProjectRow, UserRow, str]:
    """Project, user and role of a path, the role empty if it has none. Raises ApiError HTTPNotFound."""
    project_id, user_id, *rest = ids.split("/")
    project, user, role = users.project(tx, id=project_id), users.user(tx, user_id), "".join(rest)
    if project is None:
        raise not_found("project", project_id)
    if user is None:
        raise not_found("user", user_id)
    if rest and role not in keystone_v3.ROLES:
        raise not_found("role", role)
    return project, user, role


def _require_granted(project: ProjectRow, user: UserRow, role: str) -> None:
    if role not in user["grants"].get(project["id"], ()):
        message = f"Could not find role assignment: user {user['id']} does not have {role} in project {project['id']}."
        raise ApiError("HTTPNotFound", message)


def _roles(granted: list[str], effective: bool) -> Iterator[tuple[str, str]]:
    """Roles with the one that implies them, empty if they were granted; the implied ones only if `effective`."""
    for role in granted:
        yield role, ""
        if effective:
            for implied in sorted(keystone_v3.implied([role]) - {role}):
                yield implied, role


def _is_set(given: dict[str, str], name: str) -> bool:
    """True for a flag in the query, unless its value is 0 or false."""
    return name in given and given[name].lower() not in ("0", "false")


def _assignment(
    request: Request, user: UserRow, project: ProjectRow, role: str, prior: str, names: bool
) -> dict[str, Any]:
    path = f"/projects/{project['id']}/users/{user['id']}/roles/{prior or role}"
    links = {"assignment": views.link(request, path)}
    if prior:
        links["prior_role"] = views.link(request, f"/prior_roles/{prior}/implies/{role}")
    shown = {"role": {"id": role}, "user": {"id": user["id"]}, "project": {"id": project["id"]}}
    if names:
        shown["role"] |= {"name": role}
        shown["user"] |= {"name": user["name"], "domain": keystone_v3.DOMAIN}  # type: ignore[dict-item]
        shown["project"] |= {"name": project["name"], "domain": keystone_v3.DOMAIN}  # type: ignore[dict-item]
    return {"role": shown["role"], "user": shown["user"], "scope": {"project": shown["project"]}, "links": links}


def _fits(assignment: dict[str, Any], given: dict[str, str]) -> bool:
    ids = {
        "user.id": assignment["user"]["id"],
        "role.id": assignment["role"]["id"],
        "scope.project.id": assignment["scope"]["project"]["id"],
        # There are none of these.
        "group.id": None,
        "scope.domain.id": None,
        "scope.system": None,
        "scope.OS-INHERIT:inherited_to": None,
    }
    return all(given[name] == id for name, id in ids.items() if name in given)
