"""Application credentials: made by a user for a program, in one project, with some of the user's roles there.

The secret is sent once, on creation, and creation needs a token that is valid at that moment. A caller with an
application credential creates and deletes others only if it is unrestricted. Rules for single paths (`access_rules`)
are refused, because they would not be enforced.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from typing import Any

from linkspan.api.authentication.passwords import Passwords
from linkspan.api.embedded_keystone import operations, views
from linkspan.api.embedded_keystone.caller import (
    Authentication,
    KeystoneCaller,
    forbidden,
    not_found,
    routes,
)
from linkspan.api.http import body
from linkspan.api.http.messages import Request, Response, no_content, ok
from linkspan.api.http.route import Route
from linkspan.core import keystone_v3
from linkspan.core.audit import AuditAction
from linkspan.core.errors import ApiError
from linkspan.core.schema.attribute_types import text_fault
from linkspan.core.schema.keystone_objects import LONGEST
from linkspan.core.schema.keystone_objects import bad as _bad
from linkspan.core.secret import SHORTEST
from linkspan.store import audit
from linkspan.store.identity import credentials
from linkspan.store.identity.credentials import CredentialRow
from linkspan.store.store import Store, Values
from linkspan.store.transaction import Transaction

PATH = "/users/{id}/application_credentials"


class Credentials:
    """Handlers of /v3/users/{id}/application_credentials."""

    def __init__(self, store: Store, passwords: Passwords, guard: Authentication) -> None:
        self._store = store
        self._passwords = passwords
        self._guard = guard

    def routes(self) -> list[Route]:
        """All paths."""
        known = self._guard.known
        return [
            *routes("GET", PATH, known(self.list), operations.LIST_CREDENTIALS),
            *routes("POST", PATH, known(self.create, fresh=True), operations.CREATE_CREDENTIAL),
            *routes("GET", PATH + "/{id}", known(self.show), operations.SHOW_CREDENTIAL),
            *routes("DELETE", PATH + "/{id}", known(self.delete), operations.DELETE_CREDENTIAL),
        ]

    def list(self, request: Request, caller: KeystoneCaller) -> Response:
        """A user's credentials, by name if one is given."""
        caller.require(request.id)
        with self._store.read() as tx:
            rows = credentials.credentials_of(tx, request.id)
        return views.listed(
            request,
            "application_credentials",
            (_shown(request, row) for row in rows),
            f"/users/{request.id}/application_credentials",
        )

    def show(self, request: Request, caller: KeystoneCaller) -> Response:
        """One credential."""
        with self._store.read() as tx:
            return ok({"application_credential": _shown(request, _one(tx, request, caller))})

    def create(self, request: Request, caller: KeystoneCaller) -> Response:
        """Makes a credential for the project of the token; the answer holds the secret, once."""
        _require_free(caller)
        # Not by a password: a cached password that was just changed must not create a credential that outlives it.
        if caller.token is None or caller.user_id != request.id or caller.project_id is None:
            raise forbidden()
        raw = body.json_object(request.body).get("application_credential")
        if not isinstance(raw, dict):
            raise _bad("application_credential has to be an object")
        values = _values(raw, caller.roles)
        secret = _text(raw, "secret") or secrets.token_urlsafe(48)
        if len(secret) < SHORTEST:
            raise _bad(f"secret has to have at least {SHORTEST} characters")
        values |= {
            "user_id": caller.user_id,
            "project_id": caller.project_id,
            "secret_hash": self._passwords.hash(secret),
        }
        with self._store.write() as tx:
            if values["expires_at"] is not None and values["expires_at"] <= tx.wall:
                raise _bad("expires_at has to be in the future")
            if any(row["name"] == values["name"] for row in credentials.credentials_of(tx, caller.user_id)):
                message = f"An application credential named '{values['name']}' exists already."
                raise ApiError("HTTPConflict", message)
            row = credentials.add_credential(tx, values)
            fields = raw.keys() & {"name", "description", "secret", "roles", "unrestricted", "expires_at"}
            _audit(tx, request, "create", caller, row, fields)
        return ok({"application_credential": _shown(request, row) | {"secret": secret}}, 201)

    def delete(self, request: Request, caller: KeystoneCaller) -> Response:
        """Removes a credential; tokens that were issued for it become invalid within seconds."""
        _require_free(caller)
        with self._store.write() as tx:
            row = _one(tx, request, caller)
            credentials.remove_credential(tx, row["id"])
            _audit(tx, request, "delete", caller, row)
        return no_content()


def _audit(
    tx: Transaction,
    request: Request,
    action: AuditAction,
    caller: KeystoneCaller,
    row: CredentialRow,
    fields: Iterable[str] = (),
) -> None:
    audit.record(tx, caller.actor(request), action, "application_credential", row["id"], row["project_id"], fields)


def _require_free(caller: KeystoneCaller) -> None:
    if caller.token is not None and caller.token.credential is not None and not caller.token.credential.unrestricted:
        raise forbidden()


def _one(tx: Transaction, request: Request, caller: KeystoneCaller) -> CredentialRow:
    user_id, _, id = request.id.partition("/")
    caller.require(user_id)
    row = credentials.credential(tx, id)
    if row is None or row["user_id"] != user_id:
        raise not_found("application credential", id)
    return row


def _values(raw: Mapping[str, Any], own_roles: frozenset[str]) -> Values:
    """Returns the converted attributes of a request; by default with all of the caller's own roles. Raises ApiError
    BadRequest."""
    if raw.get("access_rules"):
        raise _bad("access_rules are not enforced here: leave them out")
    name = _text(raw, "name")
    if not name:
        raise _bad("name has to be a text that is not empty")
    unrestricted = raw.get("unrestricted") or False
    if not isinstance(unrestricted, bool):
        raise _bad("unrestricted has to be true or false")
    roles = _roles(raw.get("roles")) or own_roles
    if not roles <= own_roles:
        raise _bad(f"you do not have these roles in the project: {', '.join(sorted(roles - own_roles))}")
    return {
        "name": name,
        "description": _text(raw, "description"),
        "roles": roles,
        "unrestricted": unrestricted,
        "expires_at": _expiry(raw.get("expires_at")),
    }


def _text(raw: Mapping[str, Any], key: str) -> str:
    value = raw.get(key)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > LONGEST or "\x00" in value:
        raise _bad(f"{key} has to be a text of at most {LONGEST} characters")
    if key != "secret" and (fault := text_fault(value, "\t\n\r" if key == "description" else "")):
        raise _bad(f"{key}: {fault}")
    return value


def _roles(value: Any) -> frozenset[str]:
    """Roles by id or name, which is the same here."""
    if value is None:
        return frozenset()
    if not isinstance(value, list):
        raise _bad("roles has to be a list")
    return frozenset(_role(role) for role in value)


def _role(value: Any) -> str:
    role = value.get("id") or value.get("name") if isinstance(value, dict) else None
    if not isinstance(role, str):
        raise _bad("each of roles has to have an id or a name")
    return role.lower()


def _expiry(value: Any) -> float | None:
    if value is None:
        return None
    try:
        return keystone_v3.time_of(value)
    except (TypeError, ValueError, OverflowError):
        raise _bad("expires_at has to be a time such as 2030-01-31T12:00:00Z") from None


def _shown(request: Request, row: CredentialRow) -> dict[str, Any]:
    return {
        "id": row["id"],
        "name": row["name"],
        "description": row["description"],
        "project_id": row["project_id"],
        "user_id": row["user_id"],
        "roles": [keystone_v3.role_body(role) for role in row["roles"]],
        "unrestricted": row["unrestricted"],
        "expires_at": None if row["expires_at"] is None else keystone_v3.time_text_without_zone(row["expires_at"]),
        "links": {"self": f"{request.base}/identity/v3/users/{row['user_id']}/application_credentials/{row['id']}"},
    }
