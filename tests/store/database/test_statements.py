"""SQLite prepares a statement once for each connection, and not again when it runs with other values."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import bindparam, select

from linkspan.core.schema.resources import CONNECTION, INTERFACE_PORT, PORT, SERVICE
from linkspan.store.database.statements import Statement
from linkspan.store.database.tables import TABLES
from linkspan.store.nodes import connection_state
from linkspan.store.rows import ports, reading
from linkspan.store.store import Transaction
from tests.store.conftest import World

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)

_port = TABLES[PORT.name]
WITH_A_BOUND_OWNER = Statement(
    select(_port.c.id).where(_port.c.device_id == bindparam("router"), _port.c.device_owner == INTERFACE_PORT)
)


def prepared(tx: Transaction, run: Callable[[str], Any]) -> bool:
    """Whether SQLite prepares a statement for a run with other values than those of an earlier one."""
    seen: list[int] = []

    def note(action: int, *_names: Any) -> int:
        seen.append(action)
        return sqlite3.SQLITE_OK

    # It is asked when a statement is prepared; to set it makes SQLite prepare all of them again.
    tx.connection.driver.set_authorizer(note)
    run("00000000-0000-4000-8000-000000000001")
    assert seen
    seen.clear()
    run("00000000-0000-4000-8000-000000000002")
    tx.connection.driver.set_authorizer(None)
    return bool(seen)


@pytest.mark.parametrize(
    "read",
    [
        lambda tx, id: connection_state.connections_of_router(tx, id, id),
        lambda tx, id: connection_state.live_connections(tx, [id]),
        lambda tx, id: ports.subnets_of(tx, [id], id),
        lambda tx, id: reading.get(tx, CONNECTION, id, id),
        lambda tx, id: reading.get(tx, SERVICE, id, id),
        lambda tx, id: reading.find(tx, CONNECTION, project=id),
    ],
    ids=["peers of a router", "live connections", "subnets", "connection", "service", "list"],
)
def test_a_statement_is_prepared_once(world: World, read: Callable[[Transaction, str], Any]) -> None:
    with world.store.read() as tx:
        assert tx.now
        assert not prepared(tx, lambda id: read(tx, id))


def test_a_bound_value_of_a_partial_index_is_planned_for(world: World) -> None:
    """The control: SQLite looks whether the index of gateway ports serves for this owner."""
    with world.store.read() as tx:
        assert prepared(tx, lambda id: tx.rows(WITH_A_BOUND_OWNER, router=id))
