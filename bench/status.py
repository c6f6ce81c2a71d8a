"""A tunnel that flaps: charon's event → the status that the API shows; and a diagnosis through another API process.

The peer ends and initiates the tunnel of a response-only connection. `ours` is the time from the event of the gateway's
charon (VICI) until a GET that a watcher repeats has another status: through the agent, its report, the API and the
database. `bare` is one such GET. Each flap has to be one DOWN and one ACTIVE for the watcher.

A diagnosis is asked of a second API process on the same database, while the node is connected to the first one; then
with a frozen agent. `bare` is the diagnosis through the first one.
"""

from __future__ import annotations

import http.client
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import msgspec

from bench.measure import Result
from linkspan.cli.client import Client
from tests.harness.ours import CONNECTIONS, VPN, Link, Ours
from tests.harness.peer import Peer, vici_session
from tests.harness.postgres import server
from tests.harness.world import World, frozen, until

POLL = 0.002
LONGEST = 20.0
LIMIT = 300.0
"""Milliseconds from an event to the API, for 99 of 100."""
ANOTHER, FROZEN = 1000.0, 3000.0
"""Milliseconds of a diagnosis through another process, and of one of a frozen node."""


def run(quick: bool) -> list[Result]:
    """Return milliseconds."""
    flaps, diagnoses = (20, 5) if quick else (1000, 50)
    with tempfile.TemporaryDirectory(prefix="linkspan-bench-") as folder, ExitStack() as stack:
        database = stack.enter_context(server()).current()
        world = World(Path(folder) / "state", environment={"LINKSPAN_API_DATABASE": database})
        ours = Ours(world)
        peer = Peer(world)
        try:
            peer.load(ours.v4, ours.psk, proposals=["aes128-sha256-ecp256"])
            link = ours.connect(peer, ike={"pfs": "group19"}, initiator="response-only")
            until(lambda: _is_initiated(peer), LONGEST)
            link.wait("ACTIVE")
            return [*_flaps(link, flaps), *_diagnoses(link, diagnoses)]
        finally:
            ours.clear()
            peer.close()
            world.stop()


def _is_initiated(peer: Peer) -> bool:
    """True once the gateway has loaded the connection and taken the peer's attempt."""
    with peer.session() as session:
        try:
            list(session.initiate({"ike": "ours", "child": "net", "timeout": "3000"}))
        except Exception:  # refused until it is loaded
            return False
    return True


class Change(msgspec.Struct, frozen=True):
    """A status that the watcher has seen, and when."""

    at: float
    status: str


class Watcher:
    """Reads the status of a connection again and again. `took`: seconds of each GET."""

    def __init__(self, client: Client, id: str) -> None:
        self.changes: list[Change] = []
        self.took: list[float] = []
        self._client = client
        self._path = f"{VPN}/{CONNECTIONS}/{id}?fields=status"
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watcher:
        self._thread.start()
        until(lambda: bool(self.changes), LONGEST)
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def wait(self, count: int) -> Change:
        """Return a change by its number, once it is there."""
        until(lambda: len(self.changes) > count, LONGEST, lambda: str(self.changes[-3:]))
        return self.changes[count]

    def _watch(self) -> None:
        host = self._client.cloud.url.removeprefix("http://")
        connection = http.client.HTTPConnection(host)
        while not self._end.wait(POLL):
            started = time.monotonic()
            connection.request("GET", self._path, headers=self._client.cloud.headers)
            status = json.loads(connection.getresponse().read())["ipsec_site_connection"]["status"]
            now = time.monotonic()
            self.took.append(now - started)
            if not self.changes or self.changes[-1].status != status:
                self.changes.append(Change(now, status))


class Events:
    """Listens to a charon: when it has said for the first time since `clear` that a child is up, or down."""

    def __init__(self, socket: Path, id: str) -> None:
        self._socket, self._id = socket, id
        self._at: dict[bool, float] = {}
        self._ready = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()
        assert self._ready.wait(LONGEST)

    def clear(self) -> None:
        """Forget what was said."""
        self._at.clear()

    def wait(self, up: bool) -> float:
        """Return the time of the event, once it is there."""
        until(lambda: up in self._at, LONGEST)
        return self._at[up]

    def _listen(self) -> None:
        # It ends with its charon.
        with suppress(OSError), vici_session(self._socket) as session:
            events = session.listen(["child-updown"], timeout=0.5)
            self._ready.set()
            for _, message in events:
                if message and self._id.encode() in repr(message).encode():
                    self._at.setdefault("up" in message, time.monotonic())


def _flaps(link: Link, count: int) -> list[Result]:
    (directory,) = link.ours.world.state.glob(f"**/gateways/{link.ours.router_id}")
    events = Events(directory / "charon.vici", link.id)
    down: list[float] = []
    up: list[float] = []
    with Watcher(link.ours.user, link.id) as watcher:
        for number in range(count):
            for took, is_up, act in ((down, False, link.peer.terminate), (up, True, link.peer.initiate)):
                events.clear()
                act()
                happened = events.wait(is_up)
                took.append(watcher.wait(len(down) + len(up) + 1).at - happened)
            if number % 100 == 99:
                print(f"    {number + 1} flaps, p99 {_percentile(down + up, 0.99) * 1000:.0f} ms", flush=True)
        time.sleep(1.0)  # what comes late would be a change too many
    expected = ["ACTIVE", *["DOWN", "ACTIVE"] * count]
    if [change.status for change in watcher.changes] != expected:
        raise RuntimeError(f"{count} flaps were not {count} DOWN and ACTIVE: {watcher.changes}")
    get = statistics.median(watcher.took) * 1000
    note = f"{count} flaps: each one DOWN and one ACTIVE for the watcher"
    return [
        Result(
            name=f"charon's event → API, {name}, p99",
            ours=_percentile(values, 0.99) * 1000,
            bare=get,
            unit="ms",
            limit=LIMIT,
            note=f"p50 {statistics.median(values) * 1000:.0f} ms, slowest {max(values) * 1000:.0f} ms; {note}",
        )
        for name, values in (("DOWN", down), ("ACTIVE", up))
    ]


def _diagnoses(link: Link, count: int) -> list[Result]:
    here = link.ours.user
    with link.ours.world.another_api() as there:
        # Each process checks a password once.
        there.request("GET", f"{VPN}/{CONNECTIONS}/{link.id}")
        near = [_timed(lambda: _diagnosed(here, link.id, live=True)) for _ in range(count)]
        far = [_timed(lambda: _diagnosed(there, link.id, live=True)) for _ in range(count)]
        with frozen(link.ours.world.agent_pid):
            ice = [_timed(lambda: _diagnosed(there, link.id, live=False)) for _ in range(3)]
    bare = statistics.median(near)
    note = f"p50 {statistics.median(far):.0f} ms, the slowest of {count}"
    return [
        Result(name="diagnosis through another process", ours=max(far), bare=bare, unit="ms", limit=ANOTHER, note=note),
        Result(name="diagnosis of a frozen node", ours=max(ice), bare=bare, unit="ms", limit=FROZEN),
    ]


def _diagnosed(client: Client, id: str, live: bool) -> None:
    diagnosis: dict[str, Any] = client.request("GET", f"{VPN}/{CONNECTIONS}/{id}/diagnosis")["diagnosis"]
    if (diagnosis["live"] is not None) != live:
        raise RuntimeError(f"the node has {'not ' if live else ''}answered: {diagnosis['verdict']}")


def _timed(function: Callable[[], None]) -> float:
    started = time.perf_counter()
    function()
    return (time.perf_counter() - started) * 1000


def _percentile(values: list[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
