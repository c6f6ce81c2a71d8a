"""Projects and users of the embedded Keystone, created, changed and deleted by admins; a user's own password.

A disabled user or project loses its tokens. A change that would leave no admin is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from linkspan.api.authentication.passwords import Passwords
from linkspan.api.embedded_keystone import admin_operations as operations
from linkspan.api.embedded_keystone import views
from linkspan.api.embedded_keystone.caller import (
    Authentication,
    KeystoneCaller,
    forbidden,
    not_found,
    require_an_admin,
    routes,
)
from linkspan.api.http import body
from linkspan.api.http.messages import Request, Response, no_content, ok
from linkspan.api.http.route import Route
from linkspan.core.audit import AuditAction
from linkspan.core.errors import ApiError, unauthorized
from linkspan.core.schema import keystone_objects
from linkspan.store import audit
from linkspan.store.identity import enablement, users
from linkspan.store.identity.users import ProjectRow, UserRow
from linkspan.store.rows import quotas
from linkspan.store.store import Store
from linkspan.store.transaction import Transaction


class Changes:
    """Handlers that write projects and users."""

    def __init__(self, store: Store, passwords: Passwords, guard: Authentication) -> None:
        self._store = store
        self._passwords = passwords
        self._guard = guard

    def routes(self) -> list[Route]:
        """All paths."""
        admin, known = self._guard.admin, self._guard.known
        own = known(self.change_password, fresh=True)
        return [
            *routes("POST", "/projects", admin(self.create_project), operations.CREATE_PROJECT),
            *routes("PATCH", "/projects/{id}", admin(self.update_project), operations.UPDATE_PROJECT),
            *routes("DELETE", "/projects/{id}", admin(self.delete_project), operations.DELETE_PROJECT),
            *routes("POST", "/users", admin(self.create_user), operations.CREATE_USER),
            *routes("PATCH", "/users/{id}", admin(self.update_user), operations.UPDATE_USER),
            *routes("DELETE", "/users/{id}", admin(self.delete_user), operations.DELETE_USER),
            *routes("POST", "/users/{id}/password", own, operations.CHANGE_PASSWORD),
        ]

    # --- projects -----------------------------------------------------------------------------------------------

    def create_project(self, request: Request, caller: KeystoneCaller) -> Response:
        """Creates a project."""
        values = keystone_objects.parse_project(_inside(request, "project"), create=True)
        with self._store.write() as tx:
            _require_free_project_name(tx, values["name"])
            row = users.add_project(tx, values["name"], description=values.get("description", ""))
            if not values.get("enabled", True):
                enablement.enable_project(tx, row["id"], False)
            audit.record(tx, caller.actor(request), "create", "project", row["id"], row["id"], values)
            return ok({"project": views.project(request, _project(tx, row["id"]))}, 201)

    def update_project(self, request: Request, caller: KeystoneCaller) -> Response:
        """Changes a project; a disabled one loses its tokens, and its objects go on."""
        values = keystone_objects.parse_project(_inside(request, "project"), create=False)
        with self._store.write() as tx:
            enablement.lock_admins(tx)
            row = _project(tx, request.id)
            if values.get("name", row["name"]) != row["name"]:
                _require_free_project_name(tx, values["name"])
            users.change_project(tx, row | values)  # type: ignore[arg-type]
            if "enabled" in values:
                enablement.enable_project(tx, row["id"], values["enabled"])
                require_an_admin(tx)
            changed = _changed(row, values)
            if changed:
                audit.record(tx, caller.actor(request), "update", "project", row["id"], row["id"], changed)
            return ok({"project": views.project(request, _project(tx, row["id"]))})

    def delete_project(self, request: Request, caller: KeystoneCaller) -> Response:
        """Deletes a project without objects."""
        with self._store.write() as tx:
            enablement.lock_admins(tx)
            row = _project(tx, request.id)
            if left := enablement.objects_left(tx, row["id"]):
                message = f"Project '{row['name']}' still has {', '.join(left)}: delete them first."
                raise ApiError("HTTPConflict", message)
            quotas.reset_quotas(tx, row["id"])
            users.remove_project(tx, row["id"])
            require_an_admin(tx)
            audit.record(tx, caller.actor(request), "delete", "project", row["id"], row["id"])
        return no_content()

    # --- users --------------------------------------------------------------------------------------------------

    def create_user(self, request: Request, caller: KeystoneCaller) -> Response:
        """Creates a user, without any role; without a password nobody can log in as that user."""
        values = keystone_objects.parse_user(_inside(request, "user"), create=True)
        password = values.get("password")
        password_hash = "" if password is None else self._passwords.hash(password.reveal())
        with self._store.write() as tx:
            _require_free_user_name(tx, values["name"])
            project_id = _default_project(tx, values.get("default_project_id"))
            texts = {"description": values.get("description", ""), "email": values.get("email")}
            row = users.add_user(tx, values["name"], password_hash, project_id, (), **texts)
            if not values.get("enabled", True):
                enablement.enable_user(tx, row["id"], False)
            _audit_user(tx, request, "create", caller, row, values)
            return ok({"user": views.user(request, _user(tx, row["id"]))}, 201)

    def update_user(self, request: Request, caller: KeystoneCaller) -> Response:
        """Changes a user; a disabled one, and one with another password, loses its tokens."""
        values = keystone_objects.parse_user(_inside(request, "user"), create=False)
        password = values.get("password")
        password_hash = None if password is None else self._passwords.hash(password.reveal())
        with self._store.write() as tx:
            enablement.lock_admins(tx)
            row = _user(tx, request.id)
            if values.get("name", row["name"]) != row["name"]:
                _require_free_user_name(tx, values["name"])
            project_id = row["project_id"]
            if "default_project_id" in values:
                project_id = _default_project(tx, values["default_project_id"])
            users.change_user(tx, row | values | {"project_id": project_id})  # type: ignore[arg-type]
            if password_hash is not None:
                users.set_password(tx, row["id"], password_hash)
            if "enabled" in values:
                enablement.enable_user(tx, row["id"], values["enabled"])
                require_an_admin(tx)
            changed = _changed({**row, "default_project_id": row["project_id"]}, values)
            if changed:
                _audit_user(tx, request, "update", caller, row, changed)
            return ok({"user": views.user(request, _user(tx, row["id"]))})

    def delete_user(self, request: Request, caller: KeystoneCaller) -> Response:
        """Deletes a user with roles, tokens and application credentials; objects that it created stay."""
        with self._store.write() as tx:
            enablement.lock_admins(tx)
            row = _user(tx, request.id)
            users.remove_user(tx, row["id"])
            require_an_admin(tx)
            _audit_user(tx, request, "delete", caller, row)
        return no_content()

    def change_password(self, request: Request, caller: KeystoneCaller) -> Response:
        """Changes the caller's own password, which has to be given; the tokens issued for it end."""
        caller.require_free()
        if caller.user_id != request.id:
            raise forbidden()
        original, new = keystone_objects.parse_password_change(_inside(request, "user"))
        with self._store.read() as tx:
            password_hash = _user(tx, request.id)["password_hash"]
        if not self._passwords.check(password_hash or None, original.reveal(), request.left):
            raise unauthorized()
        new_hash = self._passwords.hash(new.reveal())
        with self._store.write() as tx:
            row = _user(tx, request.id)
            if row["password_hash"] != password_hash:
                raise unauthorized()
            users.set_password(tx, row["id"], new_hash)
            _audit_user(tx, request, "update", caller, row, ("password",))
        return no_content()


def _inside(request: Request, key: str) -> dict[str, Any]:
    """The object under a key of the body. Raises ApiError BadRequest."""
    raw = body.json_object(request.body).get(key)
    if not isinstance(raw, dict):
        raise keystone_objects.bad(f"{key} has to be an object")
    return raw


def _changed(row: Mapping[str, Any], values: Mapping[str, Any]) -> list[str]:
    """The attributes that an update changes; a new password always counts."""
    return [name for name, value in values.items() if name == "password" or value != row[name]]


def _audit_user(
    tx: Transaction,
    request: Request,
    action: AuditAction,
    caller: KeystoneCaller,
    row: UserRow,
    fields: Iterable[str] = (),
) -> None:
    audit.record(tx, caller.actor(request), action, "user", row["id"], row["project_id"], fields)


def _project(tx: Transaction, id: str) -> ProjectRow:
    row = users.project(tx, id=id)
    if row is None:
        raise not_found("project", id)
    return row


def _user(tx: Transaction, id: str) -> UserRow:
    row = users.user(tx, id)
    if row is None:
        raise not_found("user", id)
    return row


def _default_project(tx: Transaction, id: str | None) -> str | None:
    if id is not None and users.project(tx, id=id) is None:
        raise keystone_objects.bad(f"default_project_id: there is no project {id}")
    return id


def _require_free_project_name(tx: Transaction, name: str) -> None:
    if users.project(tx, name=name) is not None:
        raise ApiError("HTTPConflict", f"A project named '{name}' exists already.")


def _require_free_user_name(tx: Transaction, name: str) -> None:
    if users.user_by_name(tx, name) is not None:
        raise ApiError("HTTPConflict", f"A user named '{name}' exists already.")
