"""Application credentials: a name and a secret with which a program asks for tokens in a user's stead.

Their secrets may have been chosen by a person, so they are kept like passwords. A name that another credential of the
user has is a `Conflict`, by the database.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, TypedDict, cast

from sqlalchemy import ColumnElement, bindparam, delete, insert, select

from linkspan.store.database.statements import Statement, statement
from linkspan.store.database.tables import APPLICATION_CREDENTIAL, PROJECT, USER
from linkspan.store.rows.writing import new_id
from linkspan.store.transaction import Transaction, Values


class CredentialRow(TypedDict):
    """An application credential, with the names of its user and project."""

    id: str
    user_id: str
    project_id: str
    name: str
    description: str
    secret_hash: str
    roles: list[str]
    unrestricted: bool
    expires_at: float | None
    user_name: str
    project_name: str


_columns: Final[dict[str, ColumnElement[Any]]] = {
    **{column.name: column for column in APPLICATION_CREDENTIAL.columns},
    "user_name": USER.c.name,
    "project_name": PROJECT.c.name,
}
_add: Final = Statement(insert(APPLICATION_CREDENTIAL))
_remove: Final = Statement(delete(APPLICATION_CREDENTIAL).where(APPLICATION_CREDENTIAL.c.id == bindparam("id")))


@statement
def _credentials(by: tuple[str, ...]) -> Statement:
    query = (
        select(*_columns.values())
        .join(USER, USER.c.id == APPLICATION_CREDENTIAL.c.user_id)
        .join(PROJECT, PROJECT.c.id == APPLICATION_CREDENTIAL.c.project_id)
        .order_by(APPLICATION_CREDENTIAL.c.name)
    )
    return Statement(query.where(*(APPLICATION_CREDENTIAL.c[name] == bindparam(name) for name in by)))


def add_credential(tx: Transaction, values: Values) -> CredentialRow:
    """Adds an application credential: user_id, project_id, name, secret_hash, roles, and perhaps id, description,
    unrestricted, expires_at. Raises `Conflict` if the user has one of that name."""
    row: Values = {"id": new_id(), "description": "", "unrestricted": False, "expires_at": None} | values
    tx.run(_add, **(row | {"roles": json.dumps(sorted(row["roles"]))}))
    return _read(tx, id=row["id"])[0]


def credentials_of(tx: Transaction, user_id: str) -> list[CredentialRow]:
    """A user's application credentials, by name."""
    return _read(tx, user_id=user_id)


def credential(tx: Transaction, id: str) -> CredentialRow | None:
    """One application credential, with the names of its user and project."""
    return next(iter(_read(tx, id=id)), None)


def _read(tx: Transaction, **by: Any) -> list[CredentialRow]:
    return [_row(values) for values in tx.rows(_credentials(tuple(by)), **by)]


def _row(values: Sequence[Any]) -> CredentialRow:
    columns: Values = dict(zip(_columns, values, strict=True))
    converted = {"roles": json.loads(columns["roles"]), "unrestricted": bool(columns["unrestricted"])}
    return cast("CredentialRow", columns | converted)


def remove_credential(tx: Transaction, id: str) -> None:
    """Removes an application credential with the tokens issued for it."""
    tx.run(_remove, id=id)
