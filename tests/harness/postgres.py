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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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


def programs() -> Path | None:
    """Return the folder with initdb and postgres of the newest version, or None."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if programs:
        return programs[-1].parent
    path = shutil.which("initdb")
    return Path(path).resolve().parent if path else None


class Server:
    """A running server."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count()
        self._ready = False

    def url(self, name: str) -> str:
        """Return the URL of a database, for `engine.connect`."""
        return f"postgresql://postgres@/{name}?host={self._folder}"

    def run(self, statement: str) -> None:
        """Run a statement in the database `postgres`."""
        with psycopg.connect(host=str(self._folder), user="postgres", dbname="postgres", autocommit=True) as connection:
            connection.execute(statement.encode())

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
            for table in reversed(METADATA.sorted_tables):
                connection.execute(table.delete())
        engine.dispose()
        self._ready = True
        return url


@contextmanager
def server() -> Iterator[Server]:
    """Start a server; remove it afterwards. Skips the test if PostgreSQL is not installed."""
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
        initdb = subprocess.run(
            [
                *prefix,
                where / "initdb",
                f"--pgdata={data}",
                "--username=postgres",
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--no-sync",
                "--no-instructions",
            ],
            capture_output=True,
            text=True,
            cwd=folder,
            check=False,
        )
        if initdb.returncode:
            raise RuntimeError(f"initdb failed: {initdb.stderr.strip()}")
        options = [f"--{name}={value}" for name, value in _SETTINGS.items()]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [*prefix, where / "postgres", "-D", data, "-k", folder, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
            )
        try:
            _wait(process, folder)
            yield Server(folder)
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
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
