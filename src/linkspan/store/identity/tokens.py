"""Tokens: those an administrator makes (static) and those that the embedded Keystone issues, in one table.

Kept as SHA-256 only: a token has 256 random bits, so nothing slower is needed. Whoever asks with a token is found by
one statement. What a token allows is decided elsewhere.
"""

from __future__ import annotations

import hashlib
import json
from typing import Final

from sqlalchemy import bindparam, delete, insert, or_, select

from linkspan.store.database.statements import Statement
from linkspan.store.database.tables import APPLICATION_CREDENTIAL, GRANT, PROJECT, TOKEN, USER
from linkspan.store.rows.writing import new_id
from linkspan.store.transaction import Row, Transaction

STATIC: Final = ""
"""The `methods` of a token that an administrator made."""

_add: Final = Statement(insert(TOKEN))
_remove: Final = Statement(delete(TOKEN).where(TOKEN.c.token_hash == bindparam("hash")))
_remove_static: Final = Statement(delete(TOKEN).where(TOKEN.c.id == bindparam("id"), TOKEN.c.methods == STATIC))
_remove_issued: Final = Statement(delete(TOKEN).where(TOKEN.c.user_id == bindparam("user"), TOKEN.c.methods != STATIC))
_sweep: Final = Statement(delete(TOKEN).where(TOKEN.c.expires_at <= bindparam("now")))

_COLUMNS: Final = (
    "id",
    "user_id",
    "user_name",
    "project_id",
    "project_name",
    "name",
    "methods",
    "issued_at",
    "expires_at",
)
_shown: Final = (
    TOKEN.c.id,
    TOKEN.c.user_id,
    USER.c.name,
    TOKEN.c.project_id,
    PROJECT.c.name,
    TOKEN.c.name,
    TOKEN.c.methods,
    TOKEN.c.issued_at,
    TOKEN.c.expires_at,
)
_CREDENTIAL: Final = ("id", "name", "roles", "unrestricted")
_find: Final = Statement(
    select(*_shown, *(APPLICATION_CREDENTIAL.c[name] for name in _CREDENTIAL), GRANT.c.role)
    .join(USER, USER.c.id == TOKEN.c.user_id)
    .outerjoin(PROJECT, PROJECT.c.id == TOKEN.c.project_id)
    .outerjoin(APPLICATION_CREDENTIAL, APPLICATION_CREDENTIAL.c.id == TOKEN.c.credential_id)
    .outerjoin(GRANT, (GRANT.c.user_id == TOKEN.c.user_id) & (GRANT.c.project_id == TOKEN.c.project_id))
    .where(
        TOKEN.c.token_hash == bindparam("hash"),
        or_(TOKEN.c.expires_at.is_(None), TOKEN.c.expires_at > bindparam("now")),
    )
    .order_by(GRANT.c.role)
)
_static: Final = Statement(
    select(*_shown)
    .join(USER, USER.c.id == TOKEN.c.user_id)
    .outerjoin(PROJECT, PROJECT.c.id == TOKEN.c.project_id)
    .where(TOKEN.c.methods == STATIC)
    .order_by(USER.c.name, TOKEN.c.name, TOKEN.c.id)
)


def hash_token(token: bytes) -> str:
    """A token as the database keeps it."""
    return hashlib.sha256(token).hexdigest()


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
) -> Row:
    """A token of a user, known by its SHA-256 hex digest; without a project it says only who somebody is.

    `expires_at` is on the database's clock. `methods`: how it was got from the embedded Keystone; none: it is
    static. It ends with the application credential `credential_id`.
    """
    row: Row = {
        "token_hash": token_hash,
        "id": new_id(),
        "user_id": user_id,
        "project_id": project_id,
        "credential_id": credential_id,
        "name": name,
        "methods": " ".join(methods),
        "issued_at": tx.now,
        "expires_at": expires_at,
    }
    tx.run(_add, **row)
    return row | {"methods": methods}


def find_token(tx: Transaction, token_hash: str) -> Row | None:
    """id, user_id, user_name, project_id, project_name, roles, name, methods, issued_at, expires_at, credential
    (None, or id, name, roles, unrestricted); None if unknown or expired. One statement."""
    found = tx.rows(_find, hash=token_hash, now=tx.now)
    if not found:
        return None
    row = _row(found[0])
    credential: Row = dict(zip(_CREDENTIAL, found[0][len(_COLUMNS) :], strict=False))
    row["roles"] = [each[-1] for each in found if each[-1] is not None]
    row["credential"] = None
    if credential["id"] is not None:
        credential |= {"roles": json.loads(credential["roles"]), "unrestricted": bool(credential["unrestricted"])}
        row["credential"] = credential
    return row


def static_tokens(tx: Transaction) -> list[Row]:
    """All static tokens, the expired ones too, by user and name; without roles."""
    return [_row(each) for each in tx.rows(_static)]


def _row(found: tuple[object, ...]) -> Row:
    row: Row = dict(zip(_COLUMNS, found, strict=False))
    return row | {"methods": tuple(row["methods"].split())}


def remove_token(tx: Transaction, token_hash: str) -> None:
    """Ends a token."""
    tx.run(_remove, hash=token_hash)


def remove_static_token(tx: Transaction, id: str) -> bool:
    """Ends a static token; whether there was one."""
    return bool(tx.run(_remove_static, id=id))


def remove_issued(tx: Transaction, user_id: str) -> None:
    """Gives a user another password; tokens that were got by the one before end, static ones do not."""
    tx.run(_remove_issued, user=user_id)


def remove_expired(tx: Transaction) -> int:
    """Removes the expired tokens; how many."""
    return tx.run(_sweep, now=tx.now)
