"""The timeline beside what charon logs and what is on the wire, while each process is killed."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any

import pytest

from linkspan.cli import timeline
from linkspan.cli.client import CliError
from linkspan.drivers.charon.vici import CharonAbsent
from linkspan.drivers.ports import DriverError
from linkspan.lab.fabric import ping
from tests.agent.told_histories import Change, was
from tests.harness.world import World, until

pytestmark = [pytest.mark.wire, pytest.mark.root]

CONNECTIONS = "/v2.0/vpn/ipsec-site-connections"
ENVIRONMENT = {"LINKSPAN_API_TIMELINE_EVENTS": "60"}
MOST = 60


class Left:
    """The connection of the left site, and what is known of it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.id: str = world.lab["sites"]["left"]["connection_id"]
        self.path = f"{CONNECTIONS}/{self.id}"

    def events(self, *kinds: str, after: str = "0") -> list[dict[str, Any]]:
        """The events, the oldest one first; none while the API is away."""
        query: list[tuple[str, Any]] = [("kind", kind) for kind in kinds] + [("after", after)]
        try:
            return list(timeline.events(self.world.user, f"{self.path}/events", query, None))
        except CliError:
            return []

    def kinds(self, after: str = "0") -> list[str]:
        return [event["kind"] for event in self.events(after=after)]

    @property
    def newest(self) -> str:
        until(lambda: bool(self.events()), 20.0)
        return str(self.events()[-1]["id"])

    def has_child(self) -> bool:
        """True if charon has a child that carries traffic. It has none while it is started anew."""
        with suppress(CharonAbsent, DriverError, OSError):
            return bool(self.world.spis("left", self.id))
        return False

    def is_up(self) -> bool:
        """True if charon has a child that carries traffic, and it does."""
        return self.has_child() and ping(self.world.host("left"), "10.2.0.10", 1).received == 1

    def last_way(self) -> str:
        ways = self.events("up", "down")
        return str(ways[-1]["kind"]) if ways else ""

    def set(self, **values: Any) -> None:
        self.world.user.request("PUT", self.path, {"ipsec_site_connection": values})

    def set_at_the_peer(self, **values: Any) -> None:
        right = self.world.lab["sites"]["right"]["connection_id"]
        self.world.user.request("PUT", f"{CONNECTIONS}/{right}", {"ipsec_site_connection": values})


@pytest.fixture
def left(world: World) -> Left:
    return Left(world)


def kill(world: World, word: str) -> None:
    """SIGKILL, and wait for the next process of that name."""
    pid = world.child_pid(word)
    os.kill(pid, signal.SIGKILL)
    until(lambda: world.child_pid(word) not in (0, pid), 20.0)


def kill_agent(world: World) -> None:
    """The same for the agent; the next one has adopted both charons then."""
    log = world.state / "logs" / "node-1.log"
    before = log.read_text().count("charon adopted")
    kill(world, "agent")
    until(lambda: log.read_text().count("charon adopted") >= before + 2, 20.0)


def kill_api(world: World) -> None:
    """The same for the API; the next one answers then."""
    kill(world, "api")
    until(lambda: is_healthy(world), 20.0)


def is_healthy(world: World) -> bool:
    try:
        world.user.request("GET", "/healthz")
    except CliError:
        return False
    return True


def test_ups_and_downs_are_told_with_their_causes_and_revisions(left: Left) -> None:
    left.world.wait_status(left.id, "ACTIVE")
    until(lambda: left.last_way() == "up", 20.0)
    begin = left.newest
    left.set_at_the_peer(admin_state_up=False)
    until(lambda: left.last_way() == "down", 30.0)
    left.set_at_the_peer(admin_state_up=True)
    until(lambda: left.last_way() == "up", 30.0)
    down, *_, up = left.events("up", "down", after=begin)
    assert down["status_code"] == "PEER_DELETED", down
    assert down["node"] == up["node"] == "node-1"
    assert down["at"] < up["at"]
    left.set(description="a revision")
    until(lambda: "revision" in left.kinds(begin), 20.0)
    (edit,) = left.events("revision", after=begin)
    assert (edit["revision"]["user_name"], edit["revision"]["fields"]) == ("demo", ["description"])


def rekey(left: Left) -> None:
    with left.world.charon("left") as charon:
        (child,) = [child for sa in charon.sas() for child in sa.children if child.state == "INSTALLED"]
        charon.rekey(child.unique_id)


def test_each_rekey_of_charon_is_told_and_no_other(left: Left) -> None:
    left.world.wait_status(left.id, "ACTIVE")
    until(left.world.one_tunnel, 40.0)
    (log,) = left.world.state.glob(f"nodes/*/gateways/{left.world.lab['sites']['left']['router_id']}/charon.log")
    begin, logged = left.newest, log.stat().st_size
    for number in range(1, 4):
        rekey(left)
        until(lambda number=number: len(left.events("rekey", after=begin)) >= number, 20.0)  # type: ignore[misc]
        until(lambda: len(left.world.spis("left", left.id)) == 1, 20.0)
    # A new child has one line; a rekeyed one has a line for each direction.
    lines = re.findall(rf"outbound CHILD_SA {left.id}\S+ established", log.read_text()[logged:])
    assert len(left.events("rekey", after=begin)) == len(lines) == 3
    assert left.events("up", "down", after=begin) == []


class Recorder:
    """Looks at what charon has of a connection all the time: `changes`."""

    def __init__(self, left: Left) -> None:
        self._left = left
        self._ended = threading.Event()
        self.changes: list[Change] = []
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        pid = 0
        while not self._ended.wait(0.05):
            before = pid
            with suppress(OSError, AssertionError):
                pid = self._left.world.charon_pid("left")
            is_up = self._left.has_child()
            if pid != before:
                # It was started anew: a question to the one before may have taken longer than that.
                self._note(False)
            self._note(is_up)

    def _note(self, is_up: bool) -> None:
        if is_up != (self.changes[-1].is_up if self.changes else False):
            self.changes.append(Change(time.time(), is_up))

    def end(self) -> list[Change]:
        self._ended.set()
        self._thread.join(20.0)
        return self.changes


HISTORIES, SAMPLE, ACTS, LAG = 51, 3, 4, 5.0
PARTS = [range(first, first + SAMPLE) for first in range(0, HISTORIES, SAMPLE)]


@pytest.mark.parametrize("seeds", [PARTS[0], *(pytest.param(part, marks=pytest.mark.whole) for part in PARTS[1:])])
def test_generated_histories_say_what_charon_had(left: Left, seeds: range) -> None:
    """Ends of both charons, the peer's edits, and killed processes in any order; a recorder lists charon's SAs."""
    for seed in seeds:
        left.world.wait_status(left.id, "ACTIVE", 40.0)
        until(lambda: left.last_way() == "up" and left.is_up(), 40.0)
        begin, chance, recorder = left.newest, random.Random(seed), Recorder(left)
        until(lambda recorder=recorder: bool(recorder.changes), 10.0)  # type: ignore[misc]
        acts = [chance.choice(list(DEEDS)) for _ in range(ACTS)]
        for act in acts:
            DEEDS[act](left)
            time.sleep(chance.random())
        left.set_at_the_peer(admin_state_up=True)
        until(lambda: left.last_way() == "up" and left.is_up(), 40.0, lambda acts=acts: str(acts))  # type: ignore[misc]
        carried = recorder.end()
        told = [Change(seconds(event), event["kind"] == "up") for event in left.events("up", "down", after=begin)]
        untrue = [change for change in told if not was(carried, change.is_up, change.at - LAG, change.at + LAG)]
        ends = [change.at for change in carried[1:]] + [time.time()]
        untold = [
            change
            for change, end in zip(carried, ends, strict=True)
            if end - change.at > LAG and not was([carried[0], *told], change.is_up, change.at, change.at + LAG)
        ]
        assert (untrue, untold) == ([], []), (seed, acts, told, carried)
        assert [change.is_up for change in told] == [False, True] * (len(told) // 2), (seed, acts, told)


def seconds(event: dict[str, Any]) -> float:
    return datetime.fromisoformat(event["at"]).timestamp()


def end_at_the_peer(left: Left) -> None:
    left.set_at_the_peer(admin_state_up=False)
    until(lambda: not left.has_child(), 20.0)


DEEDS: dict[str, Callable[[Left], None]] = {
    "end at the peer": end_at_the_peer,
    "begin at the peer": lambda left: left.set_at_the_peer(admin_state_up=True),
    "kill charon": lambda left: left.world.kill_charon("left"),
    "kill the peer's charon": lambda left: left.world.kill_charon("right"),
    "kill the agent": lambda left: kill_agent(left.world),
    "kill the API": lambda left: kill_api(left.world),
    "edit": lambda left: left.set(description=f"at {time.time()}"),
}


def test_an_agent_that_is_killed_tells_nothing_that_was_so_all_the_time(left: Left) -> None:
    left.world.wait_status(left.id, "ACTIVE")
    until(left.world.one_tunnel, 40.0)
    begin = left.newest
    before = left.world.spis("left", left.id)
    kill_agent(left.world)
    assert left.world.spis("left", left.id) == before
    # What it tells of the connection comes before what happens next.
    rekey(left)
    until(lambda: "rekey" in left.kinds(begin), 20.0)
    assert left.events("up", "down", "lost", after=begin) == []


def test_what_happens_while_the_api_and_then_the_agent_is_away_is_told(left: Left) -> None:
    """Events wait in the agent, which is killed before it could deliver them."""
    left.world.wait_status(left.id, "ACTIVE")
    until(lambda: left.last_way() == "up", 20.0)
    begin = left.newest
    api = left.world.child_pid("api")
    os.kill(api, signal.SIGSTOP)
    try:
        os.kill(left.world.charon_pid("left"), signal.SIGKILL)
        file = next(left.world.state.glob("nodes/*/timeline.jsonl"))
        until(lambda: told_in(file.read_text(), left.id)[-2:] == ["down", "up"], 30.0, lambda: file.read_text()[-2000:])
        kill(left.world, "agent")
    finally:
        os.kill(api, signal.SIGCONT)
    until(lambda: [event["kind"] for event in left.events("up", "down", after=begin)] == ["down", "up"], 30.0)
    down, up = left.events("up", "down", after=begin)
    assert down["status_code"] == "IKE_DAEMON_DOWN", down
    assert down["at"] < up["at"] < up["recorded_at"]
    assert left.is_up()


def told_in(text: str, id: str) -> list[str]:
    lines = [json.loads(line) for line in text.splitlines()]
    events = [line["event"] for line in lines if line["type"] == "event"]
    return [event["kind"] for event in events if event["connection_id"] == id]


def test_an_api_that_is_killed_loses_and_doubles_nothing(left: Left) -> None:
    """Another client follows the stream by the command line meanwhile."""
    left.world.wait_status(left.id, "ACTIVE")
    until(lambda: left.last_way() == "up", 20.0)
    heard: list[dict[str, Any]] = []
    command = [sys.executable, "-m", "linkspan.bootstrap", "connection", "events", left.id, "--follow", "-f", "json"]
    follower = subprocess.Popen(
        [*command, "--limit", "1", "--state", str(left.world.state)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert follower.stdout is not None
    output = follower.stdout
    reader = threading.Thread(target=lambda: heard.extend(json.loads(line) for line in output), daemon=True)
    reader.start()
    try:
        until(lambda: bool(heard), 20.0)
        begin = heard[0]["id"]
        for number in range(3):
            left.set(description=f"number {number}")
        kill_api(left.world)
        left.set_at_the_peer(admin_state_up=False)
        until(lambda: left.last_way() == "down", 30.0)
        kill_api(left.world)
        left.world.wait_status(left.id, "DOWN", 30.0)
        left.set_at_the_peer(admin_state_up=True)
        until(lambda: left.last_way() == "up", 30.0)
        events = left.events(after=begin)
        until(lambda: len(heard) >= 1 + len(events), 20.0, lambda: f"{heard} {events}")
    finally:
        follower.kill()
        reader.join(20.0)
        output.close()
        follower.wait()
    assert [event["kind"] for event in events if event["kind"] == "revision"] == ["revision"] * 3
    assert [event["id"] for event in heard[1 : 1 + len(events)]] == [event["id"] for event in events]


def test_a_timeline_stays_within_its_bound(left: Left) -> None:
    begin = left.newest
    for number in range(MOST + 20):
        left.set(description=f"number {number}")
    left.set(mtu=1400)
    until(lambda: fields(left, begin)[-1:] == [["mtu"]], 20.0)
    assert MOST - MOST // 10 <= len(left.events()) <= MOST


def fields(left: Left, after: str) -> list[list[str]]:
    return [event["revision"]["fields"] for event in left.events("revision", after=after)]
