"""The API as a process of its own, without agents: what its CPU, its memory and its patience are measured on."""

from __future__ import annotations

import base64
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import msgspec
from sqlalchemy import text

from linkspan import settings
from linkspan.settings import Settings
from linkspan.store import envelopes, migrate
from linkspan.store.database import engine as engines
from linkspan.store.store import Store
from tests.harness.crowd import PASSWORD
from tests.harness.world import free_port

LEASE = 86_400.0
START = 30.0


class Alone(msgspec.Struct, frozen=True):
    """A running API: where it listens, and its process."""

    port: int
    pid: int

    def client(self, user: str) -> httpx.Client:
        """Requests as one of the users of a `Crowds`."""
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", headers=credentials(user), timeout=60.0)


def credentials(user: str) -> dict[str, str]:
    """The header of a user of a `Crowds`."""
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{PASSWORD}".encode()).decode()}


@contextmanager
def filling(url: str, key_file: Path) -> Iterator[Store]:
    """A store on a database with all tables, to fill it before an API has it."""
    engine = engines.connect(url)
    migrate.upgrade(engine)
    try:
        yield Store(engine, envelopes.load_keyring(key_file), lease=LEASE)
    finally:
        engine.dispose()
    analyze(url)


def analyze(url: str) -> None:
    """Does at once what PostgreSQL's autovacuum does a minute after many rows came. SQLite plans without statistics."""
    engine = engines.connect(url)
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE"))
    engine.dispose()


@contextmanager
def alone(state: Path, database: str, key_file: Path) -> Iterator[Alone]:
    """Starts an API, and ends it with SIGTERM."""
    port = free_port()
    config = state / f"api-{port}.toml"
    api = settings.ApiSettings(port=port, database=database, key_file=key_file)
    # Its crowds are larger than what a project may have by default.
    quota = settings.QuotaSettings(ipsec_site_connection=-1)
    config.write_text(
        settings.to_toml(Settings(state=state, api=api, log=settings.LogSettings(level="error"), quota=quota))
    )
    process = subprocess.Popen([sys.executable, "-m", "linkspan.bootstrap", "api", "--config", str(config)])
    try:
        _wait(process, port)
        yield Alone(port, process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError(f"the API did not start ({process.poll()})")
