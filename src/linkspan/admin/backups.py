"""Makes and restores backups of a database with its keys, and of the tokens in the state directory of this machine."""

from __future__ import annotations

import os
import re
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

import click
import msgspec

from linkspan.admin.operator import operator
from linkspan.admin.owner import act_as_operator
from linkspan.core.secret import SHORTEST, Secret
from linkspan.store import audit, backup, backup_file
from linkspan.store.backup_file import BackupError
from linkspan.store.envelopes import load_keyring
from linkspan.store.key_file import KeyFile
from linkspan.store.store import Store

_FILES: Final = ("instance", "clouds.yaml", "curl.conf")
"""Files of the state directory that its database goes with, beside those in `nodes`."""
_NAME: Final = re.compile(r"(nodes/)?[A-Za-z0-9_-][A-Za-z0-9._-]*")


class BackupSummary(msgspec.Struct, frozen=True):
    """The contents of a backup."""

    made_at: float
    rows: int
    kept: tuple[str, ...] = ()


def make(store: Store, key_file: KeyFile, state: Path, target: Path, passphrase: Secret) -> int:
    """Writes a backup and returns its size. Raises BackupError; the target is whole or not there."""
    with _target(target) as stream, store.read() as tx:
        tx.now  # noqa: B018 # the snapshot begins before the keys are read
        keys = key_file.read()
        files = {backup.KEY_FILE: key_file.path.read_bytes(), **dict(_state_files(state))}
        return backup_file.write(stream, passphrase, backup.dump(tx, files, keys.by_id))


def _state_files(state: Path) -> Iterator[tuple[str, bytes]]:
    for path in [*(state / name for name in _FILES), *sorted((state / "nodes").glob("*"))]:
        name = str(path.relative_to(state))
        if path.is_file() and not path.is_symlink() and _NAME.fullmatch(name):
            yield name, path.read_bytes()


@contextmanager
def _target(path: Path) -> Iterator[IO[bytes]]:
    if str(path) == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with act_as_operator():
        if path.exists():
            raise BackupError(f"{path} exists already: move it away, or name another file")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        with act_as_operator():
            draft.replace(path)
    finally:
        with act_as_operator():
            draft.unlink(missing_ok=True)


def read_passphrase(file: Path | None, descriptor: int | None, *, new: bool) -> Secret:
    """Reads the passphrase of a backup from a file, a file descriptor, or the terminal. Raises ClickException."""
    if file is not None and descriptor is not None:
        raise click.UsageError("give --passphrase-file or --passphrase-fd, not both")
    try:
        if descriptor is not None:
            with os.fdopen(descriptor, encoding="utf-8") as stream:
                text = stream.read()
        elif file is not None:
            text = file.read_text(encoding="utf-8")
        else:
            text = click.prompt("Passphrase", hide_input=True, confirmation_prompt=new, err=True)
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"cannot read the passphrase: {error}") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if len(text) < SHORTEST and new:
        raise click.ClickException(f"the passphrase is too short: give at least {SHORTEST} characters")
    return Secret(text)


def restore(
    engine: backup.Database,
    lease: float,
    key_file: KeyFile,
    state: Path,
    source: Path,
    passphrase: Secret,
    *,
    force: bool,
) -> BackupSummary:
    """Restores a backup. Raises BackupError, and then nothing has changed.

    `force`: what is in the database is replaced; a key file is kept beside the new one.
    """
    if count := backup.users(engine):
        raise BackupError(f"{count} connections of linkspan use the database: stop every API process first")
    if not force and not backup.is_empty(engine):
        raise BackupError("the database is not empty: name another one, or replace everything in it with --force")
    with _source(source) as stream:
        content = backup.parse(backup_file.read(stream, passphrase))
        undo: Callable[[], None] = _nothing
        try:
            # The keys last, when everything was found to be genuine and whole.
            with backup.restored(engine, content) as rows:
                undo = _restore_keys(key_file, content.files, force=force)
        except BaseException:
            undo()
            raise
    kept = tuple(_restore_files(state, content.files))
    store = Store(engine, load_keyring(key_file), lease=lease)
    with store.write() as tx:
        audit.record(tx, operator(), "restore", "database", "")
    return BackupSummary(content.header.made_at, rows, kept)


@contextmanager
def _source(path: Path) -> Iterator[IO[bytes]]:
    if str(path) == "-":
        yield sys.stdin.buffer
        return
    with path.open("rb") as stream:
        yield stream


def _nothing() -> None:
    """Undoes nothing."""


def _restore_keys(key_file: KeyFile, files: dict[str, bytes], *, force: bool) -> Callable[[], None]:
    """Puts the key file in place; returns what undoes that."""
    content = files.get(backup.KEY_FILE)
    if content is None:
        raise BackupError("the backup has no keys: take another copy of it")
    path = key_file.path
    if not path.exists():
        _write(path, content, 0o400)
        return path.unlink
    if path.read_bytes() == content:
        return _nothing
    if key_file.is_credential:
        raise BackupError(f"the credential {path} is not the key file of the backup: see docs/security.md")
    if not force:
        raise BackupError(f"there is another key file at {path}: move it away, or replace it with --force")
    # Never destroyed: it may be the only copy of the keys of another backup.
    kept = path.with_name(f"{path.name}.{int(time.time())}.replaced")
    path.rename(kept)
    _write(path, content, 0o400)

    def undo() -> None:
        kept.replace(path)

    return undo


def _restore_files(state: Path, files: dict[str, bytes]) -> Iterator[str]:
    """Writes the files of the state directory that are missing; those that are there and differ are named."""
    for name, content in files.items():
        if name == backup.KEY_FILE or not _NAME.fullmatch(name):
            continue
        path = state / name
        if not path.exists():
            _write(path, content, 0o400 if name.startswith("nodes/") else 0o600)
        elif path.read_bytes() != content:
            yield name


def _write(path: Path, content: bytes, mode: int) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
