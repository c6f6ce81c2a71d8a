"""Fixtures: a store on each kind of database, empty for every test. Import them in a conftest:

    from tests.harness.databases import database, postgres, sqlite_template, store

A test that uses `store` (or `database`, its engine) runs on both. Migrations run once per session.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from linkspan.core.state.status import LEASE
from linkspan.store import migrate
from linkspan.store.database import engine as engines
from linkspan.store.envelopes import Keyring
from linkspan.store.store import Store
from tests.harness.postgres import Server, server

__all__ = ["KEY", "Clock", "database", "open_store", "postgres", "sqlite_template", "store"]

KEY = bytes(range(32))


class Clock:
    """A clock that advances only by `pass_`."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        """Advance the clock."""
        self.now += seconds


def open_store(engine: Engine, on_commit: Callable[[dict[str, int]], None] | None = None, **more: Any) -> Store:
    """Open a store with a known key on an engine."""
    if on_commit is not None:
        more["on_commit"] = on_commit
    return Store(engine, Keyring({"test": KEY}), **{"lease": LEASE} | more)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server for the session."""
    with server() as running:
        yield running


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with all tables, empty."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    engine = engines.connect(f"sqlite:///{path}")
    migrate.upgrade(engine)
    engine.dispose()  # closing the last connection checkpoints the WAL into the file
    return path


def _hurry(connection: sqlite3.Connection, _record: Any) -> None:
    # Durability matters only in a power failure.
    connection.execute("PRAGMA synchronous = OFF")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An engine on a fresh database with all tables, of each kind."""
    if request.param == "sqlite":
        template: Path = request.getfixturevalue("sqlite_template")
        path = template.with_name("linkspan.db")
        for file in template.parent.glob(f"{path.name}*"):  # of the test before, with its log
            file.unlink()
        shutil.copy(template, path)
        engine = engines.connect(f"sqlite:///{path}")
        event.listen(engine, "connect", _hurry)
        yield engine
        engine.dispose()
        return
    running: Server = request.getfixturevalue("postgres")
    engine = engines.connect(running.current())
    yield engine
    engine.dispose()


@pytest.fixture
def store(database: Engine) -> Store:
    """A store on an empty database of each kind."""
    return open_store(database)
