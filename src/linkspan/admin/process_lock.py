"""Locks that one process holds at a time. The kernel releases them when the process ends, however it ends."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import click


class ProcessLock:
    """An exclusive lock on a file, which tells the pid of the process that holds it."""

    def __init__(self, path: Path, refusal: str) -> None:
        """Raises ClickException with `refusal` if another process holds the lock; `{holder}` in it is its pid."""
        self._file = _open(path)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._file, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._file)
            raise click.ClickException(refusal.replace("{holder}", holder)) from None
        self._write_pid()

    def _write_pid(self) -> None:
        # The pid is only for people: a full disk does not refuse the lock.
        try:
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)
        except OSError:
            return

    def release(self) -> None:
        """Releases the lock."""
        os.close(self._file)


def _open(path: Path) -> int:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # a lock needs no more


def lock_node(directory: Path, name: str) -> ProcessLock:
    """Locks a node's directory for one agent at a time. Raises ClickException."""
    return ProcessLock(
        directory / "lock",
        f"the agent of node {name} already runs here (process {{holder}}): stop it, or give each agent a node and a "
        "token of its own with 'linkspan node create NAME'",
    )


def lock_state(state: Path) -> ProcessLock:
    """Locks a state directory for one supervisor at a time. Raises ClickException."""
    return ProcessLock(
        state / "run" / "lock",
        f"linkspan already runs with the state directory {state} (process {{holder}}): stop it, or give "
        "another directory with --state DIR and another port with --port",
    )
