"""Requests per second of 32 concurrent clients relative to those of one: more clients must not get less.

The load comes from a cheap process (`bench.clients`). The API runs on SQLite, on PostgreSQL, and on PostgreSQL with two
API processes that share the clients. All processes share the machine's cores. In the table 32 clients are listed under
"linkspan", one client under "bare".
"""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import sys
from collections.abc import Iterator, Sequence

import msgspec

from bench import databases
from bench.api import CONNECTIONS
from bench.databases import Filled
from bench.measure import Result, median, ratio_error
from tests.harness.api_process import ApiProcess, credentials, running_api

MANY = 32
PREPARED = 4000
"""Requests prepared for a measurement, and so the most connections that it can create."""


def run(quick: bool) -> list[Result]:
    """Return medians of requests per second; one client and many alternate."""
    rounds, seconds = (2, 0.5) if quick else (7, 1.5)
    results: list[Result] = []
    for database in databases.filled(True):
        for processes in (1,) if database.name == "SQLite" else (1, 2):
            with contextlib.ExitStack() as stack:
                apis = [
                    stack.enter_context(running_api(database.state, database.url, database.key_file))
                    for _ in range(processes)
                ]
                name = database.name if processes == 1 else f"{database.name}, {processes} processes"
                for kind, requests in (("show", _shows(database)), ("create", _creates(database))):
                    results.append(_measured(f"{name}: {kind}", database, apis, requests, rounds, seconds))
    return results


def _measured(
    name: str, database: Filled, apis: Sequence[ApiProcess], requests: Iterator[bytes], rounds: int, seconds: float
) -> Result:
    rates: dict[int, list[float]] = {1: [], MANY: []}
    for number in range(rounds + 1):
        # The order alternates: a create compares with all existing connections, so that later ones cost more.
        for clients in sorted(rates, reverse=number % 2 == 0):
            rate = _rate(database, apis, requests, clients, seconds)
            database.tidy()
            # The first round is a warm-up.
            if number:
                rates[clients].append(rate)
    many, one = rates[MANY], rates[1]
    return Result(
        name=f"{name}, {MANY} clients beside 1",
        ours=median(many),
        bare=median(one),
        unit="1/s",
        least=1.0,
        note=f"ratio ± {ratio_error(many, one):.3f}",
    )


def _rate(
    database: Filled, apis: Sequence[ApiProcess], requests: Iterator[bytes], clients: int, seconds: float
) -> float:
    file = database.state / "requests"
    file.write_bytes(msgspec.msgpack.encode(list(itertools.islice(requests, PREPARED))))
    command = [sys.executable, "-m", "bench.clients", str(file), str(clients), str(seconds)]
    ports = [str(api.port) for api in apis]
    return float(subprocess.run([*command, *ports], check=True, stdout=subprocess.PIPE, text=True, timeout=60).stdout)


def _shows(database: Filled) -> Iterator[bytes]:
    for id in itertools.cycle(database.big.connections):
        yield _request("GET", "big", f"{CONNECTIONS}/{id}")


def _creates(database: Filled) -> Iterator[bytes]:
    for number in itertools.count():
        yield _request("POST", "few", CONNECTIONS, database.few.body(number))


def _request(method: str, user: str, path: str, body: bytes = b"") -> bytes:
    lines = (
        f"{method} {path} HTTP/1.1",
        "Host: localhost",
        f"Authorization: {credentials(user)['Authorization']}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "",
        "",
    )
    return "\r\n".join(lines).encode() + body
