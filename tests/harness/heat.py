"""OpenStack's orchestration service, Heat, in its own process and folder, for a running Linkspan with its identity."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.harness import environments


@contextmanager
def running(folder: Path, database: str, identity: str, account: tuple[str, str, str]) -> Iterator[str]:
    """Start a Heat in an empty folder, for the users of an identity service; yield its URL and kill it afterwards.

    `database`: URL of an empty database in PostgreSQL; with SQLite the engine's threads would lock each other out.
    `account`: user, project and password of an admin, who validates the tokens of Heat's users.
    """
    driver = database.replace("postgresql://", "postgresql+psycopg://")
    with environments.serving("heat", folder, "/", driver, identity, *account) as url:
        yield url
