"""The API as a separate process without agents, for measurements of its CPU, memory and latency."""

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


class ApiProcess(msgspec.Struct, frozen=True):
    """A running API: its port and its pid."""

    port: int
    pid: int

    def client(self, user: str) -> httpx.Client:
        """Return a client that is authenticated as a user of a `Crowds`."""
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", headers=credentials(user), timeout=60.0)


def credentials(user: str) -> dict[str, str]:
    """Return the authentication header of a user of a `Crowds`."""
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{PASSWORD}".encode()).decode()}


@contextmanager
def filled_store(url: str, key_file: Path) -> Iterator[Store]:
    """Open a store on a migrated database, to fill it before an API uses it."""
    engine = engines.connect(url)
    migrate.upgrade(engine)
    try:
        yield Store(engine, envelopes.load_keyring(key_file), lease=LEASE)
    finally:
        engine.dispose()
    analyze(url)


def analyze(url: str) -> None:
    """Update PostgreSQL's statistics at once, as autovacuum would do later. SQLite plans without statistics."""
    engine = engines.connect(url)
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE"))
    engine.dispose()


@contextmanager
def running_api(
    state: Path, database: str, key_file: Path, files: int = 0, per_address: int = 0
) -> Iterator[ApiProcess]:
    """Start an API; stop it with SIGTERM afterwards. `files`: how many open files it may have, 0: the usual number;
    `per_address`: connections from one address, 0: any number, since all clients of a test have the same one."""
    port = free_port()
    config = state / f"api-{port}.toml"
    api = settings.ApiSettings(port=port, database=database, key_file=key_file)
    # A crowd exceeds the default quotas of a project.
    quota = settings.QuotaSettings(**dict.fromkeys(settings.QuotaSettings.__struct_fields__, -1))
    limits = settings.LimitSettings(connections_per_address=per_address)
    log = settings.LogSettings(level="error")
    config.write_text(settings.to_toml(Settings(state=state, api=api, log=log, quota=quota, limits=limits)))
    limit = ["prlimit", f"--nofile={files}:{files}"] if files else []
    process = subprocess.Popen([*limit, sys.executable, "-m", "linkspan.bootstrap", "api", "--config", str(config)])
    try:
        _wait(process, port)
        yield ApiProcess(port, process.pid)
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
