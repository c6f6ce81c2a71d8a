"""Quotas of projects, and the lock under which objects are counted.

Two transactions that count at once do not see each other's objects, and both would find room. So the objects of one
project and resource are counted and committed by one transaction after the other: on PostgreSQL by an advisory lock;
SQLite has one writer anyway.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import bindparam, delete, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from linkspan.core.schema.resources import Resource
from linkspan.store.database.statements import Statement, upsert
from linkspan.store.database.tables import QUOTA
from linkspan.store.transaction import Transaction


class _Turn(FunctionElement[Any]):
    """Waits until no other transaction has the same turn; it ends with the transaction."""

    inherit_cache = True


@compiles(_Turn)
def _nothing(_element: _Turn, _compiler: Any, **_more: Any) -> str:
    return "NULL"


@compiles(_Turn, "postgresql")
def _advisory_lock(element: _Turn, compiler: Any, **more: Any) -> str:
    return f"pg_advisory_xact_lock(hashtextextended({compiler.process(element.clauses, **more)}, 0))"


_own = select(QUOTA.c.most).where(QUOTA.c.project_id == bindparam("project"), QUOTA.c.resource == bindparam("resource"))
# A statement of its own: what is counted after it is what the one before has committed.
_lock: Final = Statement(select(_own.scalar_subquery(), _Turn(bindparam("turn"))))
_of_project: Final = Statement(select(QUOTA.c.resource, QUOTA.c.most).where(QUOTA.c.project_id == bindparam("project")))
_all: Final = Statement(select(QUOTA.c.project_id, QUOTA.c.resource, QUOTA.c.most).order_by(QUOTA.c.project_id))
_set: Final = upsert(QUOTA, "project_id", "resource")
_reset: Final = Statement(delete(QUOTA).where(QUOTA.c.project_id == bindparam("project")))


def lock_own_quota(tx: Transaction, resource: Resource, project: str) -> int | None:
    """Locks the count of a project's objects of this resource until the transaction ends. Returns the project's own
    quota, None if it has none. Every transaction that creates such objects calls this before it counts them."""
    row = tx.first(_lock, project=project, resource=resource.name, turn=f"{resource.name} of {project}")
    most: int | None = row[0]
    return most


def of_project(tx: Transaction, project: str) -> dict[str, int]:
    """The project's own quotas, by resource name; what is absent has the default."""
    return dict(tx.rows(_of_project, project=project))


def all_quotas(tx: Transaction) -> dict[str, dict[str, int]]:
    """The own quotas of every project that has any, by project, then by resource name."""
    found: dict[str, dict[str, int]] = {}
    for project, resource, most in tx.rows(_all):
        found.setdefault(project, {})[resource] = most
    return found


def set_quotas(tx: Transaction, project: str, limits: dict[str, int]) -> None:
    """Sets these quotas (-1: unlimited), by resource name."""
    tx.many(_set, [{"project_id": project, "resource": resource, "most": most} for resource, most in limits.items()])


def reset_quotas(tx: Transaction, project: str) -> bool:
    """Back to the defaults; whether there was anything to reset."""
    return tx.run(_reset, project=project) > 0
