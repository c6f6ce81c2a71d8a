"""Application credentials: a name and a secret with which a program asks for tokens in a user's stead.

Their secrets may have been chosen by a person, so they are kept like passwords. A name that the user has given already
is a `Conflict`, by the database.
"""

from __future__ import annotations

import json
from typing import Any, Final

from sqlalchemy import bindparam, delete, insert, select

from linkspan.store.database.statements import Statement, statement
from linkspan.store.database.tables import APPLICATION_CREDENTIAL, PROJECT, USER
from linkspan.store.rows.writing import new_id
from linkspan.store.transaction import Row, Transaction

_NAMES: Final = tuple(column.name for column in APPLICATION_CREDENTIAL.columns)
_add: Final = Statement(insert(APPLICATION_CREDENTIAL))
_remove: Final = Statement(delete(APPLICATION_CREDENTIAL).where(APPLICATION_CREDENTIAL.c.id == bindparam("id")))


@statement
def _credentials(by: tuple[str, ...]) -> Statement:
    made = (
        select(*APPLICATION_CREDENTIAL.columns, USER.c.name, PROJECT.c.name)
        .join(USER, USER.c.id == APPLICATION_CREDENTIAL.c.user_id)
        .join(PROJECT, PROJECT.c.id == APPLICATION_CREDENTIAL.c.project_id)
        .order_by(APPLICATION_CREDENTIAL.c.name)
    )
    return Statement(made.where(*(APPLICATION_CREDENTIAL.c[name] == bindparam(name) for name in by)))


def add_credential(tx: Transaction, values: Row) -> Row:
    """An application credential: user_id, project_id, name, secret_hash, roles, and perhaps id, description,
    unrestricted, expires_at. Raises `Conflict` if the user has one of that name."""
    row: Row = {"id": new_id(), "description": "", "unrestricted": False, "expires_at": None} | values
    tx.run(_add, **(row | {"roles": json.dumps(sorted(row["roles"]))}))
    return row | {"roles": sorted(row["roles"])}


def credentials_of(tx: Transaction, user_id: str) -> list[Row]:
    """A user's application credentials, by name."""
    return _read(tx, user_id=user_id)


def credential(tx: Transaction, id: str) -> Row | None:
    """One application credential, with the names of its user and project."""
    return next(iter(_read(tx, id=id)), None)


def _read(tx: Transaction, **by: Any) -> list[Row]:
    found = []
    for *values, user_name, project_name in tx.rows(_credentials(tuple(by)), **by):
        row: Row = dict(zip(_NAMES, values, strict=True))
        row |= {"roles": json.loads(row["roles"]), "unrestricted": bool(row["unrestricted"])}
        found.append(row | {"user_name": user_name, "project_name": project_name})
    return found


def remove_credential(tx: Transaction, id: str) -> None:
    """Removes an application credential with the tokens that were got by it."""
    tx.run(_remove, id=id)
