"""Fixtures of the client tests: one kind of database is enough, what differs here is the client."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from linkspan.store import engine as engines
from tests.harness.databases import sqlite_template

__all__ = ["database", "sqlite_template"]


@pytest.fixture
def database(tmp_path: Path, sqlite_template: Path) -> Iterator[Engine]:
    """A fresh SQLite database."""
    path = tmp_path / "linkspan.db"
    shutil.copy(sqlite_template, path)
    engine = engines.connect(f"sqlite:///{path}")
    yield engine
    engine.dispose()
