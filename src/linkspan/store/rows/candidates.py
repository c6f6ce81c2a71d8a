"""Services and connections that may have another status than ACTIVE, found without reading the others.

Status is computed from what is read (`core.state.status`), so no index has it. But an object whose newest stamp is
settled, on a node that is alive, is ACTIVE, unless it is disabled or deleted; and what is not so is rare.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, bindparam, false, or_, select, union_all

from linkspan.core.schema.resources import CONNECTION, SERVICE, Resource
from linkspan.store.database.statements import Statement, statement
from linkspan.store.database.tables import CHANGE, GATEWAY, NODE, OBSERVED, TABLES
from linkspan.store.transaction import Transaction

MOST: Final = 2000
"""Candidates that are looked up by id. If there are more, every list finds a page of them soon in its own order."""

_connection = TABLES[CONNECTION.name]
_service = TABLES[SERVICE.name]


@statement
def _ids(name: str, parts: frozenset[str]) -> Statement:
    """The ids of so many candidates of these parts."""
    table = TABLES[name]
    if name == CONNECTION.name:
        kind, object_id, source = "connection", table.c.id, table
        carried: Any = table.join(_service, _service.c.id == table.c.live_vpnservice_id)
        unsettled = select(CHANGE.c.object_id)
    else:
        kind, object_id, source = "gateway", table.c.live_router_id, table
        carried = table
        unsettled = select(table.c.id).join(CHANGE, CHANGE.c.object_id == object_id)
    unsettled = unsettled.where(CHANGE.c.kind == kind, CHANGE.c.settled.is_(None))
    observed = and_(OBSERVED.c.object_id == CHANGE.c.object_id, OBSERVED.c.kind == CHANGE.c.kind)
    carried = carried.join(GATEWAY, GATEWAY.c.router_id == _service.c.live_router_id)
    waiting = select(table.c.id).select_from(carried)
    lost = select(table.c.id).select_from(carried.join(NODE, NODE.c.id == GATEWAY.c.node_id))
    recent = or_(CHANGE.c.at > bindparam("since"), OBSERVED.c.applied_at > bindparam("since"))
    queries = {
        "unsettled": unsettled,
        "pending": unsettled.outerjoin(OBSERVED, observed).where(recent),
        "in error": unsettled.join(OBSERVED, observed).where(OBSERVED.c.state == "error"),
        "waiting": waiting.where(GATEWAY.c.node_id.is_(None), GATEWAY.c.deleted_at.is_(None)),
        "lost": lost.where(NODE.c.lease_until < bindparam("now")),
        "deleted": select(source.c.id).where(source.c.deleted_at.is_not(None)),
        # A gateway is as ready without its services.
        "disabled": select(source.c.id).where(~source.c.admin_state_up),
    }
    chosen = [query for part, query in queries.items() if part in parts]
    return Statement(union_all(*chosen).limit(bindparam("most", type_=None)))


_PARTS: Final = {
    CONNECTION.name: frozenset({"unsettled", "waiting", "lost", "deleted"}),
    SERVICE.name: frozenset({"unsettled", "waiting", "lost", "deleted", "disabled"}),
}
"""All that may not be ACTIVE."""
_PENDING: Final = frozenset({"pending", "waiting"})
_ONLY: Final = {
    "ERROR": frozenset({"in error"}),
    "PENDING_CREATE": _PENDING,
    "PENDING_UPDATE": _PENDING,
    "PENDING_DELETE": frozenset({"deleted"}),
}
"""Statuses that some parts have. What is pending was changed, or applied by its node, within the grace period."""


def excludes_active(resource: Resource, statuses: Iterable[Any]) -> bool:
    """True if a filter by status asks only for what is rare."""
    return resource.name in _PARTS and "ACTIVE" not in statuses


def few(tx: Transaction, resource: Resource, statuses: Iterable[Any], grace: float) -> list[str] | None:
    """The ids of all objects that may have one of these statuses; None if there are too many. `grace`: seconds for
    which an object is pending at most."""
    rows = tx.rows(ids_of(resource, statuses), now=tx.now, since=tx.now - grace, most=MOST + 1)
    return None if len(rows) > MOST else sorted({id for (id,) in rows})


def ids_of(resource: Resource, statuses: Iterable[Any]) -> Statement:
    """The statement of `few`."""
    wanted = set(statuses)
    only = [_ONLY.get(status, _PARTS[resource.name]) for status in wanted]
    parts = frozenset[str]().union(*only)
    parts -= {"pending", "in error"} if "unsettled" in parts else frozenset()
    found: Statement = _ids(resource.name, parts)
    return found


def may_not_be_active(table: Any) -> ColumnElement[bool]:
    """The same as a condition on the FROM of a resource's rows, which has its gateway, node and stamp."""
    disabled = ~table.c.admin_state_up if table.name == SERVICE.name else false()
    lost = NODE.c.lease_until < bindparam("now")
    return or_(CHANGE.c.settled.is_(None), GATEWAY.c.node_id.is_(None), lost, table.c.deleted_at.is_not(None), disabled)
