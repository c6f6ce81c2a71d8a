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


def add(work: Transaction, values: Row) -> Row:
    """See `store.Tx.add_credential`."""
    row: Row = {"id": new_id(), "description": "", "unrestricted": False, "expires_at": None} | values
    work.run(_add, **(row | {"roles": json.dumps(sorted(row["roles"]))}))
    return row | {"roles": sorted(row["roles"])}


def find(work: Transaction, **by: Any) -> list[Row]:
    """The credentials with these values."""
    found = []
    for *values, user_name, project_name in work.rows(_credentials(tuple(by)), **by):
        row: Row = dict(zip(_NAMES, values, strict=True))
        row |= {"roles": json.loads(row["roles"]), "unrestricted": bool(row["unrestricted"])}
        found.append(row | {"user_name": user_name, "project_name": project_name})
    return found


def remove(work: Transaction, id: str) -> None:
    """See `store.Tx.remove_credential`."""
    work.run(_remove, id=id)
