"""CPU time of the API process per request, on both databases, relative to a bare Starlette endpoint with equal bodies.

CPU time is measured because the machine is shared. Load of other processes can double even that, and bounds in
milliseconds hold on a quiet machine only; so only rounds count in which the bare endpoint cost about its minimum. Both
are processes of their own behind uvicorn; the client sends one request at a time over one connection.
"""

from __future__ import annotations

import http.client
import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from bench import databases
from bench.databases import ADMIN, Filled
from bench.measure import Result, cpu_seconds, median
from tests.harness.api_process import credentials, running_api
from tests.harness.crowd import Crowd
from tests.harness.world import free_port

CONNECTIONS: Final = "/v2.0/vpn/ipsec-site-connections"
POLICIES: Final = "/v2.0/vpn/ikepolicies"
ROUNDS: Final = 11
QUIET: Final = 1.15
"""A round is quiet if its bare request cost at most this multiple of the minimum of all rounds."""
SAME: Final = 1.25
"""The cost of a page may differ by ± 25 % between numbers of rows."""


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of request. `count`: requests per measurement; `limits`: milliseconds by database."""

    name: str
    user: str
    path: str
    method: str = "GET"
    body: Callable[[], bytes | None] = lambda: None
    count: int
    limits: Mapping[str, float] = {}


def run(quick: bool) -> list[Result]:
    """Return milliseconds of CPU per request: medians of quiet rounds; each round alternates both for every case."""
    results: list[Result] = []
    for database in databases.filled(quick):
        cases = list(_cases(database))
        ours, bare = _measured(database, cases, 2 if quick else ROUNDS)
        results += [
            Result(
                name=f"{database.name}: {case.name}",
                ours=median(ours[case.name]),
                bare=median(bare[case.name]),
                unit="ms",
                limit=case.limits.get(database.name),
            )
            for case in cases
        ]
        results += _pages(database, ours)
    return results


def _cases(database: Filled) -> Iterator[Case]:
    few, full, big, huge = database.few, database.full, database.big, database.huge
    number = itertools.count()
    create = {"SQLite": 0.9, "PostgreSQL": 1.6}
    page, same_page = dict.fromkeys(create, 2.5), f"{CONNECTIONS}?limit=100"
    yield Case(
        name="show a connection",
        user="few",
        path=f"{CONNECTIONS}/{few.connections[500]}",
        count=300,
        limits={"SQLite": 0.3, "PostgreSQL": 0.6},
    )
    for siblings, user, crowd in ((10, "few", few), (90, "full", full)):
        yield Case(
            name=f"create beside {siblings} others",
            user=user,
            path=CONNECTIONS,
            method="POST",
            body=lambda crowd=crowd: crowd.body(next(number)),  # type: ignore[misc]
            count=100,
            limits=create,
        )
    yield Case(name="list 1,000", user="few", path=CONNECTIONS, count=20, limits=dict.fromkeys(create, 15.0))
    for crowd, user in ((big, "big"), (huge, "huge")):
        yield Case(name=_page(crowd), user=user, path=same_page, count=60, limits=page)
        late = crowd.connections[len(crowd.connections) // 2]
        yield Case(
            name=f"{_page(crowd)}, the middle", user=user, path=f"{same_page}&marker={late}", count=60, limits=page
        )
    yield Case(name="page of 100 as an admin", user=ADMIN, path=same_page, count=60, limits=page)
    yield Case(name="list by name", user="huge", path=f"{CONNECTIONS}?name=site-000007", count=200)
    policy = b'{"ikepolicy": {"name": "new-policy"}}'
    yield Case(name="create an IKE policy", user="few", path=POLICIES, method="POST", body=lambda: policy, count=200)
    for uses, user, crowd in ((1, "single", database.single), (90, "shared", database.shared)):
        yield Case(
            name=f"edit an IKE policy of {uses}",
            user=user,
            path=f"{POLICIES}/{crowd.ike}",
            method="PUT",
            body=lambda: b'{"ikepolicy": {"lifetime": {"value": %d}}}' % (3600 + next(number)),
            count=40,
        )


def _page(crowd: Crowd) -> str:
    return f"page of 100 out of {len(crowd.connections):,}"


def _pages(database: Filled, ours: Mapping[str, list[float]]) -> Iterator[Result]:
    """Compare the cost of a page out of many rows with the cost out of ten times as many."""
    for tail in ("", ", the middle"):
        few, many = (median(ours[_page(crowd) + tail]) for crowd in (database.big, database.huge))
        size = len(database.huge.connections)
        yield Result(
            name=f"{database.name}: out of {size:,}, not 10,000{tail}",
            ours=many,
            bare=few,
            unit="ms",
            most=SAME,
            least=1 / SAME,
        )


Figures = dict[str, list[float]]


def _measured(database: Filled, cases: list[Case], rounds: int) -> tuple[Figures, Figures]:
    ours: Figures = {case.name: [] for case in cases}
    bare: Figures = {case.name: [] for case in cases}
    with (
        running_api(database.state, database.url, database.key_file) as api,
        tempfile.TemporaryDirectory(prefix="linkspan-bench-") as answers,
    ):
        client = http.client.HTTPConnection("127.0.0.1", api.port)
        for place, case in enumerate(cases):
            (Path(answers) / str(place)).write_bytes(_send(client, case, case.path))
        with _bare(answers) as (pid, port):
            other = http.client.HTTPConnection("127.0.0.1", port)
            for _ in range(rounds):
                for place, case in enumerate(cases):
                    ours[case.name].append(_cpu(api.pid, client, case, case.path))
                    bare[case.name].append(_cpu(pid, other, case, f"/{place}"))
                database.tidy()
    for case in cases:
        ours[case.name], bare[case.name] = _quiet(ours[case.name], bare[case.name])
    return ours, bare


def _quiet(ours: list[float], bare: list[float]) -> tuple[list[float], list[float]]:
    """Return both costs of the quiet rounds."""
    most = QUIET * min(bare)
    kept = [pair for pair in zip(ours, bare, strict=True) if pair[1] <= most]
    return [cost for cost, _ in kept], [cost for _, cost in kept]


def _cpu(pid: int, client: http.client.HTTPConnection, case: Case, path: str) -> float:
    """Return the milliseconds of CPU of a process per request."""
    for _ in range(1 + case.count // 10):
        _send(client, case, path)
    before = cpu_seconds(pid)
    for _ in range(case.count):
        _send(client, case, path)
    return (cpu_seconds(pid) - before) / case.count * 1000


def _send(client: http.client.HTTPConnection, case: Case, path: str) -> bytes:
    headers = credentials(case.user) | {"Content-Type": "application/json"}
    client.request(case.method, path, body=case.body(), headers=headers)
    response = client.getresponse()
    content = response.read()
    if response.status >= 300:
        raise RuntimeError(f"{case.method} {path}: {response.status} {content[:300]!r}")
    return content


@contextmanager
def _bare(answers: str) -> Iterator[tuple[int, int]]:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "bench.bare", str(port), answers])
    client = http.client.HTTPConnection("127.0.0.1", port)
    try:
        for _ in range(200):
            try:
                client.request("GET", "/0")
                client.getresponse().read()
                break
            except OSError:
                client.close()
                time.sleep(0.05)
        yield process.pid, port
    finally:
        process.terminate()
        process.wait()
