"""Requests at a fleet of a million connections on PostgreSQL, beside a fleet of a hundredth.

No statement may grow with the fleet. Milliseconds are those of the client, with one request at a time; the memory is
that of the API process after all of them.
"""

from __future__ import annotations

import http.client
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import msgspec
import psycopg

from bench.measure import Result, median
from linkspan.core.secret import hash_token
from linkspan.core.state.observed import Hello
from linkspan.store import envelopes, migrate
from linkspan.store.database import engine as engines
from linkspan.store.nodes import registry
from linkspan.store.store import Store
from tests.harness import fleet, postgres
from tests.harness.api_process import LEASE, credentials, running_api
from tests.harness.crowd import Crowd
from tests.harness.fleet import ADMIN, Fleet, token

SIZE: Final = 1_000_000
QUICK: Final = 100_000
CONNECTIONS: Final = "/v2.0/vpn/ipsec-site-connections"
SERVICES: Final = "/v2.0/vpn/vpnservices"
PAGE: Final = 50.0
MEMORY: Final = 150.0
RENEWALS: Final = 200
ROUNDS: Final = 15
SETTINGS: Final = {
    "fsync": "off",
    "listen_addresses": "",
    "shared_buffers": "512MB",
    "max_wal_size": "8GB",
    "max_connections": "100",
    "autovacuum": "off",
}


class Case(msgspec.Struct, frozen=True):
    """A request, with its bound in milliseconds."""

    name: str
    path: str
    limit: float
    node: bool = False
    body: bytes | None = None


def run(quick: bool) -> list[Result]:
    """Return milliseconds per request in the large fleet and in the small one."""
    if postgres.programs() is None:
        raise SystemExit(postgres.INSTALL)
    size = QUICK if quick else SIZE
    with postgres.server(SETTINGS) as server:
        small, large = (dict(_figures(server, count)) for count in (size // 100, size))
    limits = {case.name: case.limit for case in _cases(Fleet(0, Crowd("", "", "", [], []), "", "", ""))}
    limits |= {_RENEWALS: 20.0, _MEMORY: MEMORY}
    return [
        Result(
            name=f"{size:,}: {name}",
            ours=figure,
            bare=small[name],
            unit="MB" if name == _MEMORY else "ms",
            limit=limits[name],
        )
        for name, figure in large.items()
    ]


_RENEWALS: Final = f"{RENEWALS} renewals in one statement"
_MEMORY: Final = "memory of the API afterwards"


def _cases(filled: Fleet) -> Iterator[Case]:
    hello = msgspec.json.encode(Hello("kernel", "1.0", "6.0.1"))
    yield Case("hello", "/agent/v1/hello", 20.0, node=True, body=hello)
    yield Case("desired?since=0", "/agent/v1/desired?since=0", 60.0, node=True)
    queries = {
        "page": "",
        "page from the middle": f"&marker={filled.middle}",
        "page backwards": f"&marker={filled.middle}&page_reverse=True",
        "status=DOWN": "&status=DOWN",
        "status=DOWN&status=ERROR": "&status=DOWN&status=ERROR",
        "status=ERROR": "&status=ERROR",
        "status=ACTIVE": "&status=ACTIVE",
        "status=PENDING_UPDATE": "&status=PENDING_UPDATE",
        "status=PENDING_DELETE": "&status=PENDING_DELETE",
        "status=DOWN by created_at": "&status=DOWN&sort_key=created_at&sort_dir=desc",
        "vpnservice_id": f"&vpnservice_id={filled.service}",
        "vpnservice_id and status=ACTIVE": f"&vpnservice_id={filled.service}&status=ACTIVE",
        "ikepolicy_id of all": f"&ikepolicy_id={filled.crowd.ike}",
        "peer_address": f"&peer_address={filled.peer_address}",
        "peer_id": f"&peer_id={filled.peer_address}",
        "name": "&name=site-0000500",
    }
    queries |= {
        f"by {key} {way}": f"&sort_key={key}&sort_dir={way}"
        for key in ("name", "id", "peer_address", "peer_id", "created_at", "updated_at")
        for way in ("asc", "desc")
    }
    for name, query in queries.items():
        yield Case(f"connections, {name}", f"{CONNECTIONS}?limit=100{query}", PAGE)
    for name, query in {"page": "", "status=DOWN": "&status=DOWN", "status=ACTIVE": "&status=ACTIVE"}.items():
        yield Case(f"services, {name}", f"{SERVICES}?limit=100{query}", PAGE)


def _figures(server: postgres.Server, size: int) -> Iterator[tuple[str, float]]:
    """Yield each case with its median."""
    with TemporaryDirectory(prefix="linkspan-bench-") as folder, server.empty() as url:
        state, started = Path(folder), time.monotonic()
        engine = engines.connect(url)
        migrate.upgrade(engine)
        store = Store(engine, envelopes.load_keyring(state / "seal"), lease=LEASE)
        filled = fleet.fill(store, engine, size)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")
        print(f"    {size:,} connections: filled in {time.monotonic() - started:.0f} s", flush=True)
        with running_api(state, url, state / "seal") as api:
            client = http.client.HTTPConnection("127.0.0.1", api.port)
            for case in _cases(filled):
                figures = [_send(client, case) for _ in range(ROUNDS + 2)][2:]
                yield case.name, median(figures)
            yield _MEMORY, _resident(api.pid)
        yield _RENEWALS, median([_renew(store) for _ in range(ROUNDS)])
        engine.dispose()


def _send(client: http.client.HTTPConnection, case: Case) -> float:
    headers = {"Authorization": f"Bearer {token(5)}"} if case.node else credentials(ADMIN)
    started = time.perf_counter()
    client.request("GET" if case.body is None else "POST", case.path, body=case.body, headers=headers)
    response = client.getresponse()
    content = response.read()
    took = (time.perf_counter() - started) * 1000
    if response.status != 200:
        raise RuntimeError(f"{case.path}: {response.status} {content[:300]!r}")
    return took


def _renew(store: Store) -> float:
    """Return the milliseconds of a transaction that renews the leases of many nodes."""
    nodes = [hash_token(token(number).encode()) for number in range(RENEWALS)]
    started = time.perf_counter()
    with store.write(repeatable=True) as tx:
        registry.renew(tx, nodes)
        if tx.statements != 1:
            raise RuntimeError(f"{tx.statements} statements")
    return (time.perf_counter() - started) * 1000


def _resident(pid: int) -> float:
    """Return the resident memory of a process in megabytes."""
    return int(subprocess.check_output(["ps", "-o", "rss=", "-p", str(pid)])) / 1024
