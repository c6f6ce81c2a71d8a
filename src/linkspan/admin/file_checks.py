"""Checks of the files that a process trusts: refused if somebody else could read a secret, or change what it obeys.

Their owner has to be the user of the process, or root, or whoever called sudo. Each failure is one line that names the
remedy.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import click

_WRITABLE: Final = stat.S_IWGRP | stat.S_IWOTH
_OTHERS: Final = stat.S_IRWXO
_SUFFIXES: Final = ("", "-wal", "-shm", "-journal")


def check_secret(path: Path | None, what: str) -> None:
    """Checks a file with a secret, if there is one. Its group may read it, as that of a TLS key does on Debian. Raises
    ClickException."""
    status = _status(path)
    if path is None or status is None:
        return
    _check_owner(path, what, status)
    if status.st_mode & (_OTHERS | _WRITABLE):
        raise click.ClickException(f"others can use the {what} {path}: run 'chmod g-w,o= {path}'")


def check_trusted(path: Path | None, what: str) -> None:
    """Checks a file or folder that everybody may read, if there is one. Raises ClickException."""
    status = _status(path)
    if path is None or status is None:
        return
    _check_owner(path, what, status)
    if status.st_mode & _WRITABLE:
        raise click.ClickException(f"others can change the {what} {path}: run 'chmod go-w {path}'")


def check_state(state: Path, folders: Iterable[str] = ("keys", "nodes", "run")) -> None:
    """Checks a state directory and the folders in it. Raises ClickException."""
    check_trusted(state, "state directory")
    for name in folders:
        check_trusted(state / name, "folder")


def check_database(file: Path) -> None:
    """Checks a SQLite file and those beside it: others may read it only if its folder keeps them out. Raises
    ClickException."""
    folder = _status(file.parent)
    is_open = folder is not None and bool(folder.st_mode & stat.S_IXOTH)
    for suffix in _SUFFIXES:
        path = file.with_name(file.name + suffix)
        if is_open:
            check_secret(path, "database")
        else:
            check_trusted(path, "database")


def _status(path: Path | None) -> os.stat_result | None:
    try:
        return None if path is None else os.stat(path)
    except OSError:
        return None  # whoever needs it says so


def _check_owner(path: Path, what: str, status: os.stat_result) -> None:
    user = os.geteuid()
    if status.st_uid not in (0, user) and str(status.st_uid) != os.environ.get("SUDO_UID"):
        raise click.ClickException(
            f"the {what} {path} belongs to the user {status.st_uid}: run 'chown {user} {path}', or this as that user"
        )
