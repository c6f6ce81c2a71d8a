"""The databases for measurements of the API, filled equally: projects with 1,000, 10,000 and 100,000 connections.

SQLite has its usual settings; PostgreSQL is a temporary server that does not sync to disk, since the CPU of the API is
measured.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from sqlalchemy import delete, select

from linkspan.core.schema.resources import CONNECTION, IKE_POLICY
from linkspan.store.database import engine as engines
from linkspan.store.database.tables import CHANGE, TABLES
from tests.harness import postgres
from tests.harness.api_process import analyze, filled_store
from tests.harness.crowd import NEW, Crowd, Crowds

ADMIN = "admin"


class Filled(msgspec.Struct, frozen=True):
    """A database with its crowds: `few` have 10 connections on each gateway, `full` 90, `big` and `huge` 100.

    `single` and `shared` have 1 and 90 connections, each crowd with one policy of each kind.
    """

    name: str
    url: str
    state: Path
    few: Crowd
    full: Crowd
    big: Crowd
    huge: Crowd
    single: Crowd
    shared: Crowd

    @property
    def key_file(self) -> Path:
        """The file with the keys of the envelopes."""
        return self.state / "seal"

    def tidy(self) -> None:
        """Remove the objects that a bench added, without waiting for a node."""
        connection, policy = TABLES[CONNECTION.name], TABLES[IKE_POLICY.name]
        added = select(connection.c.id).where(connection.c.name.startswith(NEW))
        engine = engines.connect(self.url)
        with engines.writer(engine).begin() as tx:
            tx.execute(delete(CHANGE).where(CHANGE.c.object_id.in_(added)))
            for table in (connection, policy):
                tx.execute(delete(table).where(table.c.name.startswith(NEW)))
        engine.dispose()


def filled(quick: bool) -> Iterator[Filled]:
    """Yield a filled database of each kind in turn; `quick`: with 20,000 connections instead of 100,000."""
    with _folder() as state:
        yield _fill("SQLite", f"sqlite:///{state / 'linkspan.db'}", state, quick)
    if postgres.programs() is None:
        raise SystemExit(postgres.INSTALL)
    with _folder() as state, postgres.server() as server, server.empty() as url:
        yield _fill("PostgreSQL", url, state, quick)


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="linkspan-bench-") as folder:
        yield Path(folder)


def _fill(name: str, url: str, state: Path, quick: bool) -> Filled:
    started = time.monotonic()
    with filled_store(url, state / "seal") as store:
        crowds = Crowds(store)
        crowds.add(ADMIN, 10, 10, ("admin",))
        few = crowds.add("few", 1_000, 10)
        analyze(url)
        full = crowds.add("full", 1_800, 90)
        big = crowds.add("big", 10_000, 100)
        huge = crowds.add("huge", 20_000 if quick else 100_000, 100)
        single = crowds.add("single", 1, 1)
        shared = crowds.add("shared", 90, 90)
    print(f"    {name}: filled in {time.monotonic() - started:.0f} s", flush=True)
    return Filled(name, url, state, few, full, big, huge, single, shared)
