"""Leases under accidents of time: a clock that is set, an API or a database that was away. On both databases, with the
wall clock itself shifted: that of the process for SQLite, the server's for PostgreSQL."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

from linkspan.core.state import lease_clock
from linkspan.core.state.lease_clock import LeaseClock
from linkspan.core.state.observed import Report
from linkspan.core.state.status import LEASE
from linkspan.store.lease_ticker import LeaseTicker
from linkspan.store.nodes import assignment, reports
from linkspan.store.store import Store, Unavailable
from tests.harness.databases import open_store
from tests.harness.world import until
from tests.store.conftest import World

HOUR = 3600.0
SHIFTED = """
CREATE SCHEMA IF NOT EXISTS shifted;
CREATE OR REPLACE FUNCTION shifted.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
AS $$ SELECT pg_catalog.clock_timestamp() + interval '{seconds} seconds' $$
"""


class Machine:
    """The machine of a database, with a wall clock that can be set, and API processes that are stores."""

    def __init__(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        self._engine = engine
        self._shift = 0.0
        self._is_server = engine.dialect.name == "postgresql"
        if self._is_server:
            self.shift(0.0)
            event.listen(engine, "connect", _prefer_shifted)
            engine.dispose()
        else:
            real = time.time
            monkeypatch.setattr(time, "time", lambda: real() + self._shift)

    def shift(self, seconds: float) -> None:
        """Put the wall clock forward, or back."""
        self._shift += seconds
        if self._is_server:
            with self._engine.begin() as connection:
                for statement in SHIFTED.format(seconds=self._shift).split(";"):
                    connection.execute(text(statement))

    def start(self) -> Store:
        """Start an API process."""
        store = open_store(self._engine)
        store.advance_clock()
        return store

    def run(self, seconds: float, *stores: Store) -> None:
        """Let time pass while these API processes run."""
        for _ in range(int(seconds)):
            self.shift(1.0)
            for store in stores:
                store.advance_clock()

    def clear(self) -> None:
        """Remove what is left in the server."""
        if self._is_server:
            event.remove(self._engine, "connect", _prefer_shifted)
            with self._engine.begin() as connection:
                connection.execute(text("DROP SCHEMA IF EXISTS shifted CASCADE"))


def _prefer_shifted(connection: Any, _record: Any) -> None:
    connection.execute("SET search_path = shifted, public, pg_catalog")
    connection.commit()


@pytest.fixture
def machine(database: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    machine = Machine(database, monkeypatch)
    yield machine
    machine.clear()


def is_alive(store: Store, node: str) -> bool:
    """True if a node counts as up."""
    with store.read() as tx:
        return assignment.is_alive(tx, node)


def report(store: Store, node: str) -> None:
    """An empty report."""
    with store.write() as tx:
        reports.report(tx, node, Report())


def test_a_lease_runs_with_real_time(machine: Machine) -> None:
    store = machine.start()
    node = World(store).node()
    machine.run(LEASE - 2, store)
    assert is_alive(store, node)
    machine.run(4, store)
    assert not is_alive(store, node)


@pytest.mark.parametrize("restart", [False, True])
def test_a_dead_node_stays_dead_when_the_clock_is_put_back(machine: Machine, restart: bool) -> None:
    store = machine.start()
    node = World(store).node()
    machine.run(LEASE + 5, store)
    machine.shift(-HOUR)
    store = machine.start() if restart else store
    machine.run(10, store)
    assert not is_alive(store, node)


@pytest.mark.parametrize("shift", [-HOUR, HOUR])
def test_a_node_dies_in_time_after_the_clock_was_set(machine: Machine, shift: float) -> None:
    store = machine.start()
    node = World(store).node()
    machine.run(5, store)
    machine.shift(shift)
    machine.run(20, store)
    assert is_alive(store, node)
    machine.run(25, store)
    assert not is_alive(store, node)


@pytest.mark.parametrize("away", [7.0, 22.0, HOUR, 40 * 86_400.0])
def test_nobody_is_lost_when_the_api_comes_back(machine: Machine, away: float) -> None:
    store = machine.start()
    world = World(store)
    dead = world.node("dead")
    machine.run(LEASE + 5, store)
    node = world.node("alive")
    machine.run(LEASE / 3, store)
    machine.shift(away)
    store = machine.start()
    assert (is_alive(store, node), is_alive(store, dead)) == (True, False)
    machine.run(25, store)  # the longest that an agent takes: a request that times out, and its longest pause
    assert (is_alive(store, node), is_alive(store, dead)) == (True, False)
    report(store, node)
    machine.run(LEASE - 2, store)
    assert is_alive(store, node)
    machine.run(20, store)
    assert not is_alive(store, node), "an amnesty is no pardon for ever"


def test_while_nobody_can_write_no_lease_ends(machine: Machine) -> None:
    store = machine.start()
    node = World(store).node()
    machine.run(LEASE / 3, store)
    for _ in range(100):
        machine.shift(60.0)
        assert is_alive(store, node)
        assert is_alive(open_reader(machine), node), "a process that has not run before"


def open_reader(machine: Machine) -> Store:
    """An API process that cannot advance the clock."""
    return open_store(machine._engine)


def test_processes_with_one_database_agree(machine: Machine) -> None:
    first, second = machine.start(), machine.start()
    node = World(first).node()
    machine.run(20, first, second)
    machine.run(5, second)  # the first is away for a moment
    assert is_alive(first, node)
    assert is_alive(second, node)
    machine.run(8, first, second)
    assert not is_alive(first, node)
    assert not is_alive(second, node)


def test_without_the_lease_clock_these_tests_would_fail(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: a clock that trusts the wall clock."""

    def trust(_clock: LeaseClock, wall: float, _lease: float) -> LeaseClock:
        return LeaseClock(wall, wall, 0.0)

    monkeypatch.setattr(lease_clock, "advance", trust)
    store = machine.start()
    node = World(store).node()
    machine.run(LEASE + 5, store)
    assert not is_alive(store, node)
    machine.shift(-HOUR)
    assert is_alive(machine.start(), node), "a dead node reads alive"
    machine.shift(2 * HOUR)
    assert not is_alive(machine.start(), node), "nobody was given time to come back"


# --- the thread that advances the clock ------------------------------------------------------------------------------


def test_the_ticker_advances_the_clock_and_survives_a_disk_that_is_full(database: Engine) -> None:
    store = open_store(database, lease=1.0)
    node = World(store).node()
    with LeaseTicker(store):
        if database.dialect.name == "sqlite":
            refuse_writes(database, True)
            time.sleep(1.2)
            with pytest.raises(Unavailable, match="read-only"):
                report(store, node)
            assert is_alive(store, node)
            refuse_writes(database, False)
        until(lambda: not is_alive(store, node), 10.0)


def refuse_writes(engine: Engine, refuse: bool) -> None:
    """Have SQLite refuse writes in every connection, as with a disk that is read-only."""
    pragma = f"PRAGMA query_only = {int(refuse)}"

    def prepare(connection: sqlite3.Connection, _record: Any) -> None:
        connection.execute(pragma)

    engine.dispose()
    event.listen(engine, "connect", prepare)


def test_the_clock_of_a_new_database_starts_with_the_time_of_day(store: Store) -> None:
    with store.read() as tx:
        assert abs(tx.now - time.time()) < 60.0
        assert abs(tx.wall - time.time()) < 60.0
