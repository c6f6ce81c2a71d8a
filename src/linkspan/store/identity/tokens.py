"""Tokens: static ones that an administrator makes, and those that the embedded Keystone issues, in one table.

Kept as SHA-256 only: a token has 256 random bits, so no slow hash is needed. One statement finds the user of a token.
What a token allows is decided elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, TypedDict, cast

import msgspec
from sqlalchemy import ColumnElement, bindparam, delete, insert, or_, select

from linkspan.store.database.statements import Statement, struct_columns
from linkspan.store.database.tables import APPLICATION_CREDENTIAL, GRANT, PROJECT, TOKEN, USER
from linkspan.store.rows.writing import new_id
from linkspan.store.transaction import Transaction, Values

STATIC: Final = ""
"""The `methods` of a token that an administrator made."""

_add: Final = Statement(insert(TOKEN))
_remove: Final = Statement(delete(TOKEN).where(TOKEN.c.token_hash == bindparam("hash")))
_remove_static: Final = Statement(delete(TOKEN).where(TOKEN.c.id == bindparam("id"), TOKEN.c.methods == STATIC))
_remove_issued: Final = Statement(delete(TOKEN).where(TOKEN.c.user_id == bindparam("user"), TOKEN.c.methods != STATIC))
_remove_issued_for: Final = Statement(
    delete(TOKEN).where(TOKEN.c.project_id == bindparam("project"), TOKEN.c.methods != STATIC)
)
_sweep: Final = Statement(delete(TOKEN).where(TOKEN.c.expires_at <= bindparam("now")))


class CredentialOfToken(TypedDict):
    """The application credential that a token was issued for."""

    id: str
    name: str
    roles: list[str]
    unrestricted: bool


class TokenRow(TypedDict):
    """A token: `expires_at` on the database's clock; `methods` how it was issued, none: it is static."""

    id: str
    user_id: str
    user_name: str
    project_id: str | None
    project_name: str | None
    name: str
    methods: tuple[str, ...]
    issued_at: float
    expires_at: float | None


class FoundToken(TokenRow):
    """A token with what it allows: its user's `roles` in its project, and the credential that limits them."""

    roles: list[str]
    credential: CredentialOfToken | None


class _Grant(msgspec.Struct):
    """The credential of a token and one of its user's roles, as columns."""

    credential_id: str | None
    credential_name: str
    credential_roles: str
    unrestricted: bool
    role: str | None

    def credential(self) -> CredentialOfToken | None:
        if self.credential_id is None:
            return None
        return CredentialOfToken(
            id=self.credential_id,
            name=self.credential_name,
            roles=json.loads(self.credential_roles),
            unrestricted=bool(self.unrestricted),
        )


_columns: Final[dict[str, ColumnElement[Any]]] = {
    "id": TOKEN.c.id,
    "user_id": TOKEN.c.user_id,
    "user_name": USER.c.name,
    "project_id": TOKEN.c.project_id,
    "project_name": PROJECT.c.name,
    "name": TOKEN.c.name,
    "methods": TOKEN.c.methods,
    "issued_at": TOKEN.c.issued_at,
    "expires_at": TOKEN.c.expires_at,
}
_grant_columns: Final = struct_columns(
    _Grant,
    credential_id=APPLICATION_CREDENTIAL.c.id,
    credential_name=APPLICATION_CREDENTIAL.c.name,
    credential_roles=APPLICATION_CREDENTIAL.c.roles,
    unrestricted=APPLICATION_CREDENTIAL.c.unrestricted,
    role=GRANT.c.role,
)
_find: Final = Statement(
    select(*_columns.values(), *_grant_columns)
    .join(USER, USER.c.id == TOKEN.c.user_id)
    .outerjoin(PROJECT, PROJECT.c.id == TOKEN.c.project_id)
    .outerjoin(APPLICATION_CREDENTIAL, APPLICATION_CREDENTIAL.c.id == TOKEN.c.credential_id)
    .outerjoin(GRANT, (GRANT.c.user_id == TOKEN.c.user_id) & (GRANT.c.project_id == TOKEN.c.project_id))
    .where(
        TOKEN.c.token_hash == bindparam("hash"),
        USER.c.disabled_at.is_(None),
        PROJECT.c.disabled_at.is_(None),
        or_(TOKEN.c.expires_at.is_(None), TOKEN.c.expires_at > bindparam("now")),
    )
    .order_by(GRANT.c.role)
)
_static: Final = Statement(
    select(*_columns.values())
    .join(USER, USER.c.id == TOKEN.c.user_id)
    .outerjoin(PROJECT, PROJECT.c.id == TOKEN.c.project_id)
    .where(TOKEN.c.methods == STATIC)
    .order_by(USER.c.name, TOKEN.c.name, TOKEN.c.id)
)


def add_token(
    tx: Transaction,
    token_hash: str,
    user_id: str,
    project_id: str | None,
    name: str = "",
    expires_at: float | None = None,
    *,
    methods: tuple[str, ...] = (),
    credential_id: str | None = None,
) -> Values:
    """Adds a token of a user, known by its SHA-256 hex digest; without a project it only identifies the user.

    `expires_at` is on the database's clock. `methods`: how the embedded Keystone authenticated the user; none: the
    token is static. It ends with the application credential `credential_id`.
    """
    row: Values = {
        "token_hash": token_hash,
        "id": new_id(),
        "user_id": user_id,
        "project_id": project_id,
        "credential_id": credential_id,
        "name": name,
        "methods": " ".join(methods),
        "issued_at": tx.wall,
        "expires_at": expires_at,
    }
    tx.run(_add, **row)
    return row | {"methods": methods}


def find_token(tx: Transaction, token_hash: str) -> FoundToken | None:
    """The token with this SHA-256 hex digest; None if unknown or expired, or if its user or project is disabled. One
    statement."""
    rows = tx.rows(_find, hash=token_hash, now=tx.wall)
    if not rows:
        return None
    width = len(_columns)
    grants = [_Grant(*values[width:]) for values in rows]
    roles = [grant.role for grant in grants if grant.role is not None]
    return FoundToken(**_token(rows[0][:width]), roles=roles, credential=grants[0].credential())


def static_tokens(tx: Transaction) -> list[TokenRow]:
    """All static tokens, the expired ones too, by user and name."""
    return [_token(values) for values in tx.rows(_static)]


def _token(values: Sequence[Any]) -> TokenRow:
    columns: Values = dict(zip(_columns, values, strict=True))
    return cast("TokenRow", columns | {"methods": tuple(columns["methods"].split())})


def remove_token(tx: Transaction, token_hash: str) -> None:
    """Ends a token."""
    tx.run(_remove, hash=token_hash)


def remove_static_token(tx: Transaction, id: str) -> bool:
    """Ends a static token; whether there was one."""
    return bool(tx.run(_remove_static, id=id))


def remove_issued(tx: Transaction, user_id: str) -> None:
    """Ends the tokens of a user that the embedded Keystone issued; static ones stay."""
    tx.run(_remove_issued, user=user_id)


def remove_issued_for(tx: Transaction, project_id: str) -> None:
    """Ends the tokens for a project that the embedded Keystone issued; static ones stay."""
    tx.run(_remove_issued_for, project=project_id)


def remove_expired(tx: Transaction) -> int:
    """Removes the expired tokens; how many."""
    return tx.run(_sweep, now=tx.wall)
