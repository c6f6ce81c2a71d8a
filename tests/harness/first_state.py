"""A state directory as the first start of `linkspan run` leaves it: with its database, users, keys and clouds.yaml.

It is made once for each process, since migrations and hashes of passwords take longer than all else of a start. Its
passwords have argon2's lowest cost. tests/test_run.py tests first starts.
"""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Final

import pytest
from argon2 import PasswordHasher

from linkspan.admin.initial_state import bootstrap_state
from linkspan.bootstrap import wiring
from linkspan.settings import load
from linkspan.store import migrate
from linkspan.store.identity import users

QUICK: Final = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
"""Hashes passwords with argon2's lowest cost, for tests that do not test the cost."""


def write(state: Path) -> None:
    """Writes the files of a first start into a state directory, which is created."""
    state.mkdir(mode=0o700, parents=True)
    for name, (mode, content) in _files().items():
        file = state / name
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.touch(mode)
        file.write_bytes(content)


@functools.cache
def _files() -> dict[str, tuple[int, bytes]]:
    """Returns mode and content of each file."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(users, "_hasher", lambda: QUICK)
        state = Path(folder) / "state"
        settings = load(environment={}, overrides={"state": state})
        with wiring.open_database(settings, exclusive=True) as engine:
            migrate.upgrade(engine)
            # The start itself replaces the URL.
            nodes = {"node-1": state / "nodes" / "node-1.token"}
            bootstrap_state(wiring.create_store(engine, settings), state, "http://127.0.0.1:1", nodes)
        files = [path for path in state.rglob("*") if path.is_file() and path.suffix != ".lock"]
        return {str(path.relative_to(state)): (path.stat().st_mode & 0o777, path.read_bytes()) for path in files}
