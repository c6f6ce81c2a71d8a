"""Users and projects are enabled or disabled, and one enabled user is an admin.

Who is disabled cannot log in, and issued tokens end for good. Static tokens are suspended: they are valid again when
their user and project are enabled.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Table, bindparam, select, update

from linkspan.core.keystone_v3 import ADMIN
from linkspan.core.schema.resources import RESOURCES
from linkspan.store.database.statements import Statement, statement
from linkspan.store.database.tables import GRANT, PROJECT, USER
from linkspan.store.identity import tokens
from linkspan.store.rows import reading
from linkspan.store.transaction import Transaction

_lock_admins: Final = Statement(select(GRANT.c.user_id).where(GRANT.c.role == ADMIN).with_for_update())
_admin: Final = Statement(
    select(GRANT.c.user_id)
    .join(USER, USER.c.id == GRANT.c.user_id)
    .join(PROJECT, PROJECT.c.id == GRANT.c.project_id)
    .where(
        GRANT.c.role == ADMIN,
        USER.c.disabled_at.is_(None),
        USER.c.password_hash != "",
        PROJECT.c.disabled_at.is_(None),
    )
    .limit(1)
)


@statement
def _set_disabled(table: Table) -> Statement:
    change = update(table).where(table.c.id == bindparam("the"))
    return Statement(change.values(disabled_at=bindparam("disabled_at")))


def enable_user(tx: Transaction, id: str, enabled: bool) -> None:
    """Enables or disables a user; its issued tokens end with that."""
    tx.run(_set_disabled(USER), the=id, disabled_at=None if enabled else tx.wall)
    if not enabled:
        tokens.remove_issued(tx, id)


def enable_project(tx: Transaction, id: str, enabled: bool) -> None:
    """Enables or disables a project; the tokens issued for it end with that. Its objects go on."""
    tx.run(_set_disabled(PROJECT), the=id, disabled_at=None if enabled else tx.wall)
    if not enabled:
        tokens.remove_issued_for(tx, id)


def lock_admins(tx: Transaction) -> None:
    """Has other transactions that may end an admin wait for this one: each would see the other's admin."""
    tx.rows(_lock_admins)


def has_admin(tx: Transaction) -> bool:
    """True if a user who can log in with a password is an admin in a project."""
    return tx.first(_admin) is not None


def objects_left(tx: Transaction, project_id: str) -> list[str]:
    """How many objects of each resource a project has, as words such as "2 routers"."""
    counts = [(reading.count(tx, resource, project_id), resource) for resource in RESOURCES]
    return [f"{n} {resource.plural if n > 1 else resource.singular}" for n, resource in counts if n]
