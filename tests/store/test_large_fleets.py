"""Statements that must not grow with the fleet find what they look for by an index, on both kinds of database."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from sqlalchemy import Engine

from linkspan.core.schema.list_query import Query
from linkspan.core.schema.resources import CONNECTION, SERVICE
from linkspan.store.database.statements import Statement
from linkspan.store.nodes import assignment, registry, tombstones
from linkspan.store.rows import candidates, dependencies, reading
from tests.store.conftest import World

INDEXES = {
    "deleted connections": (tombstones._purges[0], "ix_connection_deleted_at"),
    "deleted services": (tombstones._purges[1], "ix_service_deleted_at"),
    "old tombstones": (tombstones._purges[2], "ix_change_at"),
    "old gateways": (tombstones._purges[3], "ix_gateway_deleted_at"),
    "old markers": (tombstones._purges[4], "ix_commit_marker_at"),
    "waiting gateways": (assignment._waiting, "ix_gateway_"),
    "candidates of connections": (candidates.ids_of(CONNECTION, ["DOWN"]), "ix_change_unsettled"),
    "deleted candidates": (candidates.ids_of(CONNECTION, ["DOWN"]), "ix_connection_deleted_at"),
    "connections in error": (candidates.ids_of(CONNECTION, ["ERROR"]), "ix_change_unsettled"),
    "pending connections": (candidates.ids_of(CONNECTION, ["PENDING_UPDATE"]), "ix_change_unsettled"),
    "pending services": (candidates.ids_of(SERVICE, ["PENDING_CREATE"]), "ix_change_unsettled"),
    "candidates of services": (candidates.ids_of(SERVICE, ["DOWN"]), "ix_change_unsettled"),
    "disabled services": (candidates.ids_of(SERVICE, ["DOWN"]), "ix_service_disabled"),
}
Executed = list[tuple[Statement, dict[str, Any]]]
VALUES: dict[str, Any] = {"now": 1.0, "since": 1.0, "old": 1.0, "most": 10}


def plan(world: World, statement: Statement, values: dict[str, Any]) -> str:
    """How the database would run a statement, with so few rows that PostgreSQL has to be told to use indexes."""
    with world.store.write() as tx:
        text, parameters = statement._parameters(tx.connection.dialect, values)
        cursor = tx.connection.driver.cursor()
        if tx.connection.dialect.name == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute(f"EXPLAIN {text}", parameters)
        else:
            cursor.execute(f"EXPLAIN QUERY PLAN {text}", parameters)
        return "\n".join(str(row) for row in cursor.fetchall())


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> Executed:
    """The statements of the test with their values, as they are run."""
    run: Executed = []
    original, thread = Statement._execute, threading.get_ident()

    def noted(self: Statement, connection: Any, values: dict[str, Any]) -> Any:
        # A process that an earlier test has run in threads may still advance its clock.
        if threading.get_ident() == thread:
            run.append((self, values))
        return original(self, connection, values)

    monkeypatch.setattr(Statement, "_execute", noted)
    return run


@pytest.mark.parametrize("name", INDEXES)
def test_what_is_rare_has_an_index(world: World, name: str) -> None:
    statement, index = INDEXES[name]
    assert index in plan(world, statement, VALUES)


def test_the_look_at_plans_sees_an_index_that_is_missing(world: World) -> None:
    """The control."""
    statement, index = INDEXES["deleted connections"]
    with world.store.write() as tx:
        tx.connection.driver.cursor().execute(f"DROP INDEX {index}")
    try:
        assert index not in plan(world, statement, VALUES)
    finally:
        with world.store.write() as tx:
            tx.connection.driver.cursor().execute(
                f"CREATE INDEX {index} ON connection (deleted_at) WHERE deleted_at IS NOT NULL"
            )


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (Query(filters={"peer_address": ("x",)}), "ix_connection_peer_address"),
        (Query(filters={"peer_id": ("x",)}), "ix_connection_peer_id"),
        (Query(sort=(("created_at", False),), limit=10), "ix_connection_created_at"),
        (Query(sort=(("created_at", True),), limit=10), "ix_connection_created_at"),
        (Query(sort=(("updated_at", False),), limit=10), "ix_connection_updated_at"),
        (Query(sort=(("peer_address", True),), limit=10), "ix_connection_peer_address"),
        (Query(limit=10), "ix_connection_name"),
        (Query(filters={"local_certificate_id": ("x",)}), "ix_connection_local_certificate_id"),
        (Query(filters={"trust_anchor_id": ("x", "y")}), "ix_connection_trust_anchor_id"),
    ],
)
def test_a_list_has_an_index(world: World, query: Query, index: str, executed: Executed) -> None:
    with world.store.read() as tx:
        reading.find(tx, CONNECTION, query)
    assert index in plan(world, *executed[-1])


def test_the_users_of_an_endpoint_group_are_found_by_indexes_of_those_with_groups(
    world: World, executed: Executed
) -> None:
    with world.store.read() as tx:
        assert dependencies.connections_using(tx, endpoint_group="x") == []
    found = plan(world, *executed[-1])
    assert "ix_connection_live_local_ep_group_id" in found
    assert "ix_connection_live_peer_ep_group_id" in found


def test_deleted_objects_are_still_found_by_what_they_reference(world: World) -> None:
    node = world.node()
    service = world.service()
    row = world.connection(service["id"])
    assert not world.delete(row["id"])
    with world.store.read() as tx:
        found = reading.find(tx, CONNECTION, Query(filters={"vpnservice_id": (service["id"],)}))
        assert [each["id"] for each in found] == [row["id"]]
        assert reading.find(tx, CONNECTION, Query(filters={"vpnservice_id": (node,)})) == []


def test_many_leases_are_renewed_in_one_statement(world: World, database: Engine) -> None:
    nodes = [world.node(f"node-{number}") for number in range(200)]
    with world.store.write() as tx:
        assert registry.renew(tx, [*nodes, "unknown"]) == set(nodes)
        assert tx.statements == 1
