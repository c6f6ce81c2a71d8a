"""Backup and restoration of a database with its keys, as lines of JSON for `store.backup_file`.

A backup is what one read transaction sees, so nobody waits for it. It names columns and holds values, not what a
database makes of them: a backup of SQLite can be restored into PostgreSQL, and the other way round. A restoration is
one transaction, from the empty schema of the backup's version to the newest one.
"""

from __future__ import annotations

import base64
import itertools
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import msgspec
from sqlalchemy import (
    Boolean,
    Connection,
    Engine,
    LargeBinary,
    MetaData,
    Table,
    bindparam,
    case,
    delete,
    insert,
    inspect,
    select,
    text,
    update,
)

import linkspan
from linkspan.store import migrate
from linkspan.store.backup_file import BackupError
from linkspan.store.database.engine import wait_for_ever, writer
from linkspan.store.database.errors import translated
from linkspan.store.database.statements import Statement
from linkspan.store.database.tables import CHANGE, COMMIT_MARKER, METADATA, NODE, OBSERVED
from linkspan.store.migrations import HEAD
from linkspan.store.rows import encryption_keys
from linkspan.store.transaction import Transaction

Database = Engine
"""A database to restore into."""
ROWS: Final = 500
"""Rows that are written at a time."""
KEY_FILE: Final = "keys"
"""The name of the key file among the files of a backup."""
_LEFT_OUT: Final = frozenset({OBSERVED.name, COMMIT_MARKER.name})
# What a database has that nobody has used yet.
_OF_ITSELF: Final = frozenset(
    {"alembic_version", "lease_clock", "encryption_key", "audit", "audit_head", "commit_marker"}
)


class BackupHeader(msgspec.Struct, frozen=True):
    """The first line of a backup."""

    schema: str
    made_at: float
    program: str


class File(msgspec.Struct, frozen=True, tag="file"):
    """A file beside the database."""

    name: str
    content: bytes


class Rows(msgspec.Struct, frozen=True, tag="rows"):
    """Rows of a table, with these columns."""

    table: str
    columns: tuple[str, ...]
    rows: list[list[Any]]


class End(msgspec.Struct, frozen=True, tag="end"):
    """The last line: how many rows there are."""

    rows: int


_encode: Final = msgspec.json.Encoder().encode
_decode_header: Final = msgspec.json.Decoder(BackupHeader).decode
_decode_line: Final = msgspec.json.Decoder(File | Rows | End).decode


# --- backup -------------------------------------------------------------------------------------------------------


def dump(tx: Transaction, files: Mapping[str, bytes], key_ids: Iterable[str]) -> Iterator[bytes]:
    """The lines of a backup. `key_ids`: the keys in `files`, read after the transaction began. Raises `BackupError`."""
    wait_for_ever(tx.connection)
    lacking = {key.id for key in encryption_keys.known_keys(tx) if key.sealed} - set(key_ids)
    if lacking:
        raise BackupError(f"key {', '.join(sorted(lacking))} was removed meanwhile: begin the backup again")
    yield _line(BackupHeader(HEAD, tx.wall, linkspan.__version__))
    for name, content in files.items():
        yield _line(File(name, content))
    count = 0
    for table in METADATA.sorted_tables:
        if table.name in _LEFT_OUT:
            continue
        columns = [column for column in table.columns if column.computed is None]
        names = tuple(str(column.name) for column in columns)
        # SQLite has no booleans.
        booleans = [at for at, column in enumerate(columns) if isinstance(column.type, Boolean)]
        for part in Statement(select(*columns)).parts(tx.connection, ROWS):
            rows = [list(row) for row in part]
            for row in rows:
                for at in booleans:
                    row[at] = None if row[at] is None else bool(row[at])
            count += len(rows)
            yield _line(Rows(str(table.name), names, rows))
    yield _line(End(count))


def _line(value: Any) -> bytes:
    return _encode(value) + b"\n"


# --- restoration --------------------------------------------------------------------------------------------------


class Content(msgspec.Struct, frozen=True):
    """The beginning of a backup, and the lines that follow."""

    header: BackupHeader
    files: dict[str, bytes]
    lines: Iterator[Any]


def parse(parts: Iterable[bytes]) -> Content:
    """Reads a backup as far as its files. Raises `BackupError`."""
    lines = _lines(parts)
    try:
        header = _decode_header(next(lines, b""))
        if header.schema > HEAD:
            raise BackupError(f"the backup is of a newer version, {header.program}: upgrade linkspan")
        decoded = map(_decode_line, lines)
        files: dict[str, bytes] = {}
        for line in decoded:
            if not isinstance(line, File):
                return Content(header, files, itertools.chain([line], decoded))
            files[line.name] = line.content
    except msgspec.DecodeError as error:
        raise BackupError(f"the backup has a line that this version does not know: {error}") from None
    raise BackupError("the backup has no end: take another copy of it")


def _lines(parts: Iterable[bytes]) -> Iterator[bytes]:
    pending = b""
    for part in parts:
        *whole, pending = (pending + part).split(b"\n")
        yield from whole
    if pending:
        raise BackupError("the backup has no end: take another copy of it")


def is_empty(engine: Engine) -> bool:
    """True if a database has no tables, or nothing that somebody made."""
    with translated(engine.dialect.loaded_dbapi), engine.connect() as connection:
        names = set(inspect(connection).get_table_names()) - _OF_ITSELF
        return all(
            connection.execute(text(f'SELECT 1 FROM "{name}" LIMIT 1')).first() is None  # noqa: S608 # its own names
            for name in names
        )


def users(engine: Engine) -> int:
    """The number of other connections of linkspan to a PostgreSQL database; SQLite has a lock for that."""
    if engine.dialect.name != "postgresql":
        return 0
    query = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name = 'linkspan' AND pid <> pg_backend_pid()"
    )
    with translated(engine.dialect.loaded_dbapi), engine.connect() as connection:
        return int(connection.execute(query).scalar_one())


@contextmanager
def restored(engine: Engine, content: Content) -> Iterator[int]:
    """Replaces everything in a database by a backup, and commits after the block; yields how many rows.

    Raises `BackupError`, and then nothing has changed.
    """
    with translated(engine.dialect.loaded_dbapi), writer(engine).begin() as connection:
        wait_for_ever(connection)
        found = MetaData()
        found.reflect(connection)
        found.drop_all(connection)
        migrate.upgrade_connection(connection, content.header.schema)
        count = _insert(connection, content.lines)
        migrate.upgrade_connection(connection, HEAD)
        _begin_anew(connection)
        yield count


def _insert(connection: Connection, lines: Iterator[Any]) -> int:
    tables = MetaData()
    tables.reflect(connection)
    for table in reversed(tables.sorted_tables):
        if table.name != "alembic_version":
            connection.execute(delete(table))  # what migrations have put in
    count = 0
    try:
        for line in lines:
            if isinstance(line, End):
                if line.rows != count or next(lines, None) is not None:
                    break
                return count
            if not isinstance(line, Rows) or line.table not in tables.tables:
                break
            _insert_rows(connection, tables.tables[line.table], line)
            count += len(line.rows)
    except msgspec.DecodeError as error:
        raise BackupError(f"the backup has a line that this version does not know: {error}") from None
    raise BackupError("the backup does not have the rows that its end names: take another copy of it")


def _insert_rows(connection: Connection, table: Table, rows: Rows) -> None:
    if not set(rows.columns) <= set(table.c.keys()):
        raise BackupError(f"the backup has columns of {rows.table} that its version does not have")
    binary = [at for at, name in enumerate(rows.columns) if isinstance(table.c[name].type, LargeBinary)]
    for row in rows.rows:
        for at in binary:
            row[at] = None if row[at] is None else base64.b64decode(row[at])
    values = [dict(zip(rows.columns, row, strict=True)) for row in rows.rows]
    if values:
        connection.execute(insert(table), values)


def _begin_anew(connection: Connection) -> None:
    """Has every node read everything again, and its next agent hold it at once.

    Revisions go on where no agent has been: what was written after the backup had numbers too, and a node that knows
    one of them must not take the same number for the same state. A clock that counts milliseconds is ahead of them,
    also at the next restoration of the same backup.
    """
    floor = int(time.time() * 1000)
    nodes = connection.execute(select(NODE.c.id, NODE.c.revision)).all()
    for id, revision in nodes:
        newest = max(floor, revision + 1)
        connection.execute(
            update(CHANGE)
            .where(CHANGE.c.node_id == id)
            .values(
                revision=CHANGE.c.revision + bindparam("by", newest - revision),
                settled=case((CHANGE.c.deleted, CHANGE.c.settled)),
            )
        )
        connection.execute(update(NODE).where(NODE.c.id == id).values(revision=newest, holder=None))
