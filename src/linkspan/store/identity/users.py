"""Projects, users and roles of the embedded identity.

Passwords are kept as hashes only; who may do what is decided elsewhere. A name that is taken is a
`Conflict`, by the database.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Final, TypedDict

import msgspec
from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError
from sqlalchemy import bindparam, delete, insert, select, update

from linkspan.store.database.statements import Statement, statement, struct_columns
from linkspan.store.database.tables import GRANT, PROJECT, USER
from linkspan.store.identity import tokens
from linkspan.store.rows.writing import new_id
from linkspan.store.transaction import Transaction, Values


class ProjectRow(TypedDict):
    """A project."""

    id: str
    name: str
    description: str
    enabled: bool


class UserRow(TypedDict):
    """A user: `roles` in its default project, `grants` by project id. An empty `password_hash` fits no password."""

    id: str
    name: str
    description: str
    email: str | None
    enabled: bool
    password_hash: str
    project_id: str | None
    project_name: str | None
    project_enabled: bool
    roles: list[str]
    grants: dict[str, list[str]]


_add_project: Final = Statement(insert(PROJECT), ("id", "name", "description"))
_change_project: Final = Statement(
    update(PROJECT)
    .where(PROJECT.c.id == bindparam("project"))
    .values({name: bindparam(name) for name in ("name", "description")})
)
_add_user: Final = Statement(insert(USER), ("id", "name", "description", "email", "password_hash", "project_id"))
_change_user: Final = Statement(
    update(USER)
    .where(USER.c.id == bindparam("user"))
    .values({name: bindparam(name) for name in ("name", "description", "email", "project_id")})
)
_grant: Final = Statement(insert(GRANT))
_revoke: Final = Statement(
    delete(GRANT).where(GRANT.c.user_id == bindparam("user"), GRANT.c.project_id == bindparam("project"))
)
_password: Final = Statement(update(USER).where(USER.c.id == bindparam("user")).values(password_hash=bindparam("hash")))
_remove_user: Final = Statement(delete(USER).where(USER.c.id == bindparam("id")))
_remove_project: Final = Statement(delete(PROJECT).where(PROJECT.c.id == bindparam("id")))


@functools.cache
def _hasher() -> PasswordHasher:
    return PasswordHasher()


def hash_password(password: str) -> str:
    """The argon2id hash to keep; takes tens of milliseconds on purpose."""
    return _hasher().hash(password)


def verify_password(password_hash: str, password: str) -> bool:
    """True if a password matches a hash; takes as long as `hash_password`."""
    try:
        return _hasher().verify(password_hash, password)
    except (Argon2Error, InvalidHashError):
        return False


# --- projects -----------------------------------------------------------------------------------------------------


@statement
def _projects(by: str | None) -> Statement:
    query = select(PROJECT).order_by(PROJECT.c.name)
    return Statement(query if by is None else query.where(PROJECT.c[by] == bindparam(by)))


def add_project(tx: Transaction, name: str, id: str | None = None, description: str = "") -> ProjectRow:
    """Adds a project. Raises `Conflict` if the name is taken."""
    row = ProjectRow(id=id or new_id(), name=name, description=description, enabled=True)
    tx.run(_add_project, id=row["id"], name=name, description=description)
    return row


def change_project(tx: Transaction, row: ProjectRow) -> None:
    """Gives a project the name and the description of this row. Raises `Conflict` if the name is taken."""
    tx.run(_change_project, project=row["id"], name=row["name"], description=row["description"])


def all_projects(tx: Transaction) -> list[ProjectRow]:
    """All projects, by name."""
    return _read_projects(tx)


def project(tx: Transaction, id: str | None = None, name: str | None = None) -> ProjectRow | None:
    """One project, by id or name."""
    by, value = ("id", id) if id is not None else ("name", name or "")
    return next(iter(_read_projects(tx, by, value)), None)


def _read_projects(tx: Transaction, by: str | None = None, value: str = "") -> list[ProjectRow]:
    rows = tx.rows(_projects(by), **({by: value} if by else {}))
    return [
        ProjectRow(id=id, name=name, description=description, enabled=disabled_at is None)
        for id, name, description, disabled_at in rows
    ]


def remove_project(tx: Transaction, id: str) -> None:
    """Removes a project with its users' roles in it; its objects stay."""
    tx.run(_remove_project, id=id)


# --- users --------------------------------------------------------------------------------------------------------


class _UserGrant(msgspec.Struct):
    """A user with one of its roles, as columns."""

    id: str
    name: str
    description: str | None
    email: str | None
    disabled_at: float | None
    password_hash: str
    project_id: str | None
    project_name: str | None
    project_disabled_at: float | None
    granted_project_id: str | None
    role: str | None


@statement
def _users(by: str | None) -> Statement:
    source = USER.outerjoin(GRANT, GRANT.c.user_id == USER.c.id).outerjoin(PROJECT, PROJECT.c.id == USER.c.project_id)
    columns = struct_columns(
        _UserGrant,
        id=USER.c.id,
        name=USER.c.name,
        description=USER.c.description,
        email=USER.c.email,
        disabled_at=USER.c.disabled_at,
        password_hash=USER.c.password_hash,
        project_id=USER.c.project_id,
        project_name=PROJECT.c.name,
        project_disabled_at=PROJECT.c.disabled_at,
        granted_project_id=GRANT.c.project_id,
        role=GRANT.c.role,
    )
    query = select(*columns).select_from(source).order_by(USER.c.name, GRANT.c.project_id, GRANT.c.role)
    return Statement(query if by is None else query.where(USER.c[by] == bindparam(by)))


def all_users(tx: Transaction) -> list[UserRow]:
    """All users with their roles, by name; see `user`."""
    return _read_users(tx)


def user(tx: Transaction, id: str) -> UserRow | None:
    """One user with its roles: `roles` in its default project, `grants` by project id."""
    return next(iter(_read_users(tx, "id", id)), None)


def user_by_name(tx: Transaction, name: str) -> UserRow | None:
    """The user with this name; see `user`."""
    return next(iter(_read_users(tx, "name", name)), None)


def _read_users(tx: Transaction, by: str | None = None, value: str = "") -> list[UserRow]:
    users: dict[str, UserRow] = {}
    for values in tx.rows(_users(by), **({by: value} if by else {})):
        columns = _UserGrant(*values)
        user = users.setdefault(
            columns.id,
            UserRow(
                id=columns.id,
                name=columns.name,
                description=columns.description or "",
                email=columns.email,
                enabled=columns.disabled_at is None,
                password_hash=columns.password_hash,
                project_id=columns.project_id,
                project_name=columns.project_name,
                project_enabled=columns.project_disabled_at is None,
                roles=[],
                grants={},
            ),
        )
        if columns.granted_project_id is None or columns.role is None:
            continue
        user["grants"].setdefault(columns.granted_project_id, []).append(columns.role)
        if columns.granted_project_id == columns.project_id:
            user["roles"].append(columns.role)
    return list(users.values())


def add_user(
    tx: Transaction,
    name: str,
    password_hash: str,
    project_id: str | None,
    roles: Iterable[str] = ("member",),
    *,
    description: str = "",
    email: str | None = None,
) -> UserRow:
    """Adds a user, with a default project roles in it. Raises `Conflict` if the name is taken."""
    id = new_id()
    values: Values = {"name": name, "description": description, "email": email}
    tx.run(_add_user, id=id, password_hash=password_hash, project_id=project_id, **values)
    if project_id is not None:
        set_roles(tx, id, project_id, roles)
    return _read_users(tx, "id", id)[0]


def change_user(tx: Transaction, row: UserRow) -> None:
    """Gives a user the name, the texts and the default project of this row. Raises `Conflict` if the name is taken."""
    texts: Values = {"name": row["name"], "description": row["description"], "email": row["email"]}
    tx.run(_change_user, user=row["id"], project_id=row["project_id"], **texts)


def set_password(tx: Transaction, user_id: str, password_hash: str) -> None:
    """Gives a user another password; tokens issued for the previous one end, static ones do not."""
    tx.run(_password, user=user_id, hash=password_hash)
    tokens.remove_issued(tx, user_id)


def set_roles(tx: Transaction, user_id: str, project_id: str, roles: Iterable[str]) -> None:
    """Makes these the user's roles in a project; none: takes them away."""
    tx.run(_revoke, user=user_id, project=project_id)
    rows = [{"user_id": user_id, "project_id": project_id, "role": role} for role in sorted(set(roles))]
    tx.many(_grant, rows)


def remove_user(tx: Transaction, id: str) -> None:
    """Removes a user with roles, tokens and application credentials."""
    tx.run(_remove_user, id=id)
