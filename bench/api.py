"""CPU that the API process uses for one request, beside a bare Starlette endpoint with the same body.

CPU and not time: the machine is shared, and CPU is what a request costs wherever it runs. Both are processes of their
own behind uvicorn; the client sends one request after the other over one connection.
"""

from __future__ import annotations

import http.client
import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from bench.measure import Result, cpu_seconds, median
from linkspan.cli.client import load_cloud
from tests.harness.world import World, free_port, frozen

PATH = "/v2.0/vpn/ipsec-site-connections"
ROUNDS = 5
MOST = 80
"""Connections made in a round: a gateway has a limit, and what a round made goes before the next."""


def run(quick: bool) -> list[Result]:
    """Milliseconds of CPU for a request: median of rounds, ours and bare in turn."""
    count = 50 if quick else 300
    with tempfile.TemporaryDirectory(prefix="linkspan-bench-") as folder:
        world = World(Path(folder) / "state")
        try:
            return [
                _measure(world, Path(folder), *case, count=min(count, MOST) if "connection" in case[0] else count)
                for case in _cases(world)
            ]
        finally:
            world.stop()


def _cases(world: World) -> Iterator[tuple[str, str, str, Callable[[], bytes | None]]]:
    site = world.lab["sites"]["left"]
    template = world.connection(site["connection_id"])
    number = itertools.count()

    def body() -> bytes:
        n = next(number)
        peer = f"203.0.{113 + n // 250}.{n % 250 + 1}"
        values = {key: template[key] for key in ("vpnservice_id", "ikepolicy_id", "ipsecpolicy_id", "psk")}
        values |= {
            "name": f"bench-{n}",
            "peer_address": peer,
            "peer_id": peer,
            "peer_cidrs": [f"10.{20 + n // 250}.{n % 250}.0/24"],
            "admin_state_up": False,
        }
        return msgspec.json.encode({"ipsec_site_connection": values})

    yield "show a connection", "GET", f"{PATH}/{template['id']}", lambda: None
    yield "list by name", "GET", f"{PATH}?name=left-to-right", lambda: None
    yield "create an IKE policy", "POST", "/v2.0/vpn/ikepolicies", lambda: b'{"ikepolicy": {"name": "bench"}}'
    yield "create a connection", "POST", PATH, body


def _measure(
    world: World, folder: Path, name: str, method: str, path: str, body: Callable[[], bytes | None], count: int
) -> Result:
    ours_client = http.client.HTTPConnection("127.0.0.1", world.port)
    headers = load_cloud("linkspan-demo", world.state / "clouds.yaml").headers | {"Content-Type": "application/json"}
    answer = folder / "answer.json"
    answer.write_bytes(_send(ours_client, method, path, body(), headers))
    ours, bare = [], []
    api = world.child_pid("api")
    with _bare(answer) as (pid, port):
        bare_client = http.client.HTTPConnection("127.0.0.1", port)
        for _ in range(ROUNDS):
            # What the agent then asks costs the API too, but is no part of this request.
            with frozen(world.agent_pid):
                ours.append(_cpu(api, lambda: _send(ours_client, method, path, body(), headers), count))
            bare.append(_cpu(pid, lambda: _send(bare_client, method, "/", body(), headers), count))
            _tidy(world)
    return Result(name=f"{name}, CPU", ours=median(ours), bare=median(bare), unit="ms")


def _tidy(world: World) -> None:
    for one in world.user.request("GET", PATH)["ipsec_site_connections"]:
        if one["name"].startswith("bench-"):
            world.user.request("DELETE", f"{PATH}/{one['id']}")


def _cpu(pid: int, request: Callable[[], Any], count: int) -> float:
    """Milliseconds of CPU of a process for one request."""
    for _ in range(count // 10):
        request()
    before = cpu_seconds(pid)
    for _ in range(count):
        request()
    return (cpu_seconds(pid) - before) / count * 1000


def _send(client: http.client.HTTPConnection, method: str, path: str, body: bytes | None, headers: Any) -> bytes:
    client.request(method, path, body=body, headers=headers)
    response = client.getresponse()
    content = response.read()
    if response.status >= 300:
        raise RuntimeError(f"{method} {path}: {response.status} {content[:300]!r}")
    return content


@contextmanager
def _bare(answer: Path) -> Iterator[tuple[int, int]]:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "bench.bare", str(port), str(answer)])
    try:
        for _ in range(200):
            try:
                _send(http.client.HTTPConnection("127.0.0.1", port), "GET", "/", None, {})
                break
            except OSError:
                time.sleep(0.05)
        yield process.pid, port
    finally:
        process.terminate()
        process.wait()
