"""Engines: durable, one process per SQLite file, and errors in two kinds."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Engine

from linkspan.core.schema.resources import IKE_POLICY
from linkspan.store import migrate
from linkspan.store.database import engine as engines
from linkspan.store.database.engine import DatabaseLocked
from linkspan.store.rows import reading as stored_reading
from linkspan.store.rows import writing as stored_writing
from linkspan.store.store import Store, Unavailable, Unwritable
from tests.harness.databases import open_store

HOLD = """
import sys, time
from linkspan.store.database import engine
held = engine.lock(engine.connect(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/state/linkspan.db"


def test_sqlite_is_durable(url: str) -> None:
    engine = engines.connect(url)
    with engine.connect() as connection:
        said = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert said == ["wal", 2, 1]
    engine.dispose()


def test_a_second_process_is_told_so(url: str, tmp_path: Path) -> None:
    engine = engines.connect(url)
    other = subprocess.Popen([sys.executable, "-c", HOLD, url], stdout=subprocess.PIPE)
    assert other.stdout is not None
    assert other.stdout.readline() == b"held\n"
    with pytest.raises(DatabaseLocked) as caught:
        engines.lock(engine)
    assert str(caught.value) == (
        f"another linkspan api uses {tmp_path}/state/linkspan.db: stop it, or use PostgreSQL for several"
    )
    other.kill()
    other.wait()
    other.stdout.close()
    held = engines.lock(engine)  # the kernel let go
    assert held is not None
    held.release()
    held.release()
    engine.dispose()


def test_several_may_share_postgresql() -> None:
    engine = engines.connect("postgresql://nobody@/nowhere?host=/nonexistent")
    assert engines.lock(engine) is None
    with pytest.raises(Unavailable) as caught:
        open_store(engine)
    assert "does not answer" in str(caught.value)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://localhost/x"])
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="give sqlite"):
        engines.connect(url)


def fill(store: Store) -> None:
    for _ in range(200):
        with store.write() as tx:
            stored_writing.insert(tx, IKE_POLICY, {"project_id": "blue", "description": "x" * 200})


def test_a_full_disk_is_unavailable_and_recovers(url: str) -> None:
    engine = engines.connect(url, pool=1)
    migrate.upgrade(engine)
    store = open_store(engine)
    with engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(Unwritable, match="The disk of the database is full: what exists works on"):
        fill(store)
    with store.read() as tx:
        before = len(stored_reading.find(tx, IKE_POLICY))
    with engine.connect() as connection:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages * 100}")
    with store.write() as tx:
        stored_writing.insert(tx, IKE_POLICY, {"project_id": "blue"})
        assert len(stored_reading.find(tx, IKE_POLICY)) == before + 1
    engine.dispose()


def test_a_read_only_database_is_unwritable_and_can_be_read(url: str) -> None:
    engine = engines.connect(url, pool=1)
    migrate.upgrade(engine)
    store = open_store(engine)
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA query_only = ON")
    with pytest.raises(Unwritable, match="its file or its disk is read-only"):
        fill(store)
    with store.read() as tx:
        assert stored_reading.find(tx, IKE_POLICY) == []
    engine.dispose()


def test_a_write_locks_from_its_beginning(url: str) -> None:
    engine = engines.connect(url)
    migrate.upgrade(engine)
    store = open_store(engine)
    other = sqlite3.connect(str(engines.database_file(engine)), timeout=0, isolation_level=None)
    with store.read() as tx:
        stored_reading.find(tx, IKE_POLICY)
        other.execute("BEGIN IMMEDIATE")  # negative control: a read locks nothing
        other.execute("ROLLBACK")
    with store.write(), pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("BEGIN IMMEDIATE")
    other.close()
    engine.dispose()


def test_a_read_sees_one_moment(database: Engine) -> None:
    store = open_store(database)
    with store.read() as reading:
        assert stored_reading.find(reading, IKE_POLICY) == []
        with store.write() as writing:
            stored_writing.insert(writing, IKE_POLICY, {"project_id": "blue"})
        assert stored_reading.find(reading, IKE_POLICY) == []
    with store.read() as reading:
        assert len(stored_reading.find(reading, IKE_POLICY)) == 1
