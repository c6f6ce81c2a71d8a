"""A PostgreSQL server for a test session, in a temporary folder, reached by a unix socket, removed afterwards.

It is Debian's package, run as user `postgres` if the tests run as root, which the server refuses. Nothing is synced to
disk, since these tests do not need durability.
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from linkspan.store import migrate
from linkspan.store.database import engine as engines
from linkspan.store.database.tables import METADATA

INSTALL = "PostgreSQL is not installed, so its tests are skipped: run 'apt-get install postgresql'"
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "listen_addresses": "",
    "shared_buffers": "32MB",
    "max_connections": "100",
    "autovacuum": "off",
    "max_wal_senders": "0",
    "wal_level": "minimal",
}

# One statement, since each one of its own would be a turn of two processes.
_EMPTY = f"DO $$BEGIN {''.join(f'DELETE FROM {table};' for table in reversed(METADATA.sorted_tables))} END$$"


def programs() -> Path | None:
    """Return the folder with initdb and postgres of the newest version, or None."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if programs:
        return programs[-1].parent
    path = shutil.which("initdb")
    return Path(path).resolve().parent if path else None


class Server:
    """A running server."""

    def __init__(self, folder: Path, command: list[Any]) -> None:
        self.folder = folder
        self._command = command
        self._numbers = itertools.count()
        self._ready = False

    def url(self, name: str) -> str:
        """Return the URL of a database, for `engine.connect`."""
        return f"postgresql://postgres@/{name}?host={self.folder}"

    def run(self, statement: str) -> None:
        """Run a statement in the database `postgres`."""
        with psycopg.connect(host=str(self.folder), user="postgres", dbname="postgres", autocommit=True) as connection:
            connection.execute(statement.encode())

    def processes(self) -> list[int]:
        """Return the pids of the postmaster and its children: the backends are among them."""
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *map(int, children)]

    def backends(self) -> list[int]:
        """Return the pids of the processes that serve a connection to `linkspan`."""
        return [pid for pid in self.processes() if b": postgres linkspan" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    def signal(self, number: signal.Signals, pids: list[int] | None = None) -> None:
        """Send a signal to these or to all processes; SIGSTOP makes the server hang."""
        for pid in self.processes() if pids is None else pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def start(self) -> None:
        """Start the server, and wait until it takes connections."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder
            )
        _wait(self._process, self.folder)

    def stop(self) -> None:
        """End the server, also if it hangs."""
        if self._process.poll() is None:
            self.signal(signal.SIGCONT)
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def promote(self) -> None:
        """Make a standby the primary."""
        self.run("SELECT pg_promote()")

    @contextmanager
    def empty(self) -> Iterator[str]:
        """Create a database without tables; yield its URL."""
        name = f"test_{next(self._numbers)}"
        self.run(f"CREATE DATABASE {name} TEMPLATE template0")
        try:
            yield self.url(name)
        finally:
            self.run(f"DROP DATABASE {name} WITH (FORCE)")

    def current(self) -> str:
        """Return the URL of the shared database with all tables, emptied.

        Emptying it is much faster than copying a template.
        """
        url = self.url("linkspan")
        if not self._ready:
            self.run("CREATE DATABASE linkspan TEMPLATE template0")
        engine = engines.connect(url)
        migrate.upgrade(engine)
        with engine.begin() as connection:
            connection.exec_driver_sql(_EMPTY)
        engine.dispose()
        self._ready = True
        return url


@contextmanager
def server(settings: Mapping[str, str] = _SETTINGS) -> Iterator[Server]:
    """Start a server; remove it afterwards. Skips the test if PostgreSQL is not installed."""
    initdb = ["initdb", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
    with _started([*initdb, "--no-instructions"], settings) as running:
        yield running


REPLICATED = _SETTINGS | {"max_wal_senders": "4", "wal_level": "replica"}
"""Settings of a primary with standbys."""


@contextmanager
def standby(primary: Server) -> Iterator[Server]:
    """Start a hot standby of a server with the settings `REPLICATED`."""
    copy = ["pg_basebackup", f"--host={primary.folder}", "--username=postgres", "--write-recovery-conf"]
    with _started([*copy, "--checkpoint=fast", "--no-sync"], REPLICATED) as running:
        yield running


@contextmanager
def _started(create: list[str], settings: Mapping[str, str]) -> Iterator[Server]:
    """Create the folder of a server with a command that takes `--pgdata`, and start it."""
    where = programs()
    if where is None:
        pytest.skip(INSTALL)
    folder = Path(tempfile.mkdtemp(prefix="linkspan-pg-", dir="/tmp"))
    try:
        become: list[str] = []
        if os.geteuid() == 0:
            account = pwd.getpwnam("postgres")
            os.chown(folder, account.pw_uid, account.pw_gid)
            become = [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--init-groups"]
        # If this process is killed, the server is stopped too.
        prefix = ["setpriv", "--pdeathsig", "INT", *become, "--"]
        data = folder / "data"
        command = [*prefix, str(where / create[0]), f"--pgdata={data}", *create[1:]]
        created = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
        if created.returncode:
            raise RuntimeError(f"{create[0]} failed: {created.stderr.strip()}")
        options = [f"--{name}={value}" for name, value in settings.items()]
        running = Server(folder, [*prefix, where / "postgres", "-D", data, "-k", folder, *options])
        try:
            running.start()
            yield running
        finally:
            running.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait(process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        try:
            psycopg.connect(host=str(folder), user="postgres", dbname="postgres").close()
        except psycopg.OperationalError:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError(f"PostgreSQL did not start: {(folder / 'log').read_text()[-2000:]}")
