"""A second agent with the token of a node changes nothing of its gateways, whether it is started or stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from linkspan.core.state.observed import HOLDER_HEADER, Hello
from linkspan.lab.fabric import ping
from tests.api.world import encode
from tests.harness.world import World, frozen, until
from tests.wire.conftest import need_charon

pytestmark = [pytest.mark.wire, pytest.mark.root]

AGENT = [sys.executable, "-m", "linkspan.bootstrap", "agent"]
LEASE = 4.0


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A service with a short lease."""
    need_charon()
    environment = {"LINKSPAN_API_LEASE": str(LEASE)}
    world = World(tmp_path_factory.mktemp("holders") / "state", environment=environment)
    try:
        yield world
    finally:
        world.stop()


def status(world: World) -> str:
    """The status of the left connection."""
    shown: str = world.connection(world.lab["sites"]["left"]["connection_id"])["status"]
    return shown


def assert_works(world: World, spis: object) -> None:
    """The tunnel is the same as before, carries pings and reads ACTIVE."""
    assert (world.spis("left"), world.spis("right")) == spis
    assert ping(world.host("left"), "10.2.0.10", 5, 0.02).received == 5
    assert status(world) == "ACTIVE"


def log(world: World) -> str:
    """The log of the node's own agent."""
    return (world.state / "logs" / "node-1.log").read_text()


def test_a_second_agent_with_the_same_directory_is_refused_at_once(world: World) -> None:
    until(world.one_tunnel, 30.0)
    spis = world.spis("left"), world.spis("right")
    second = subprocess.run(
        [*AGENT, "--config", str(world.state / "run" / "node-1.toml")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert second.returncode == 1
    assert f"the agent of node node-1 already runs here (process {world.agent_pid})" in second.stderr
    assert_works(world, spis)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_second_agent_with_another_directory_is_refused_and_touches_nothing(
    world: World, tmp_path: Path, end: signal.Signals
) -> None:
    until(world.one_tunnel, 30.0)
    spis = world.spis("left"), world.spis("right")
    config = tmp_path / "second.toml"
    first = (world.state / "run" / "node-1.toml").read_text()
    token = world.state / "nodes" / "node-1.token"
    assert f'state = "{world.state}"' in first
    other = first.replace(f'state = "{world.state}"', f'state = "{tmp_path / "state"}"')
    config.write_text(other.replace("[agent]\n", f'[agent]\ntoken_file = "{token}"\n', 1))
    output = tmp_path / "second.log"
    with output.open("wb") as sink:
        second = subprocess.Popen([*AGENT, "--config", str(config), "--teardown"], stdout=sink, stderr=sink)
    try:
        until(lambda: "held by another agent" in output.read_text(), 30.0, output.read_text)
        time.sleep(LEASE)  # the first renews its lease meanwhile
        assert_works(world, spis)
        assert "joined" not in output.read_text()
    finally:
        second.send_signal(end)
        second.wait(30.0)
    assert_works(world, spis)


def test_an_agent_that_lost_its_node_lets_go_and_takes_it_again(world: World) -> None:
    until(world.one_tunnel, 30.0)
    spis = world.spis("left"), world.spis("right")
    token = (world.state / "nodes" / "node-1.token").read_text().strip()
    headers = {"authorization": f"Bearer {token}", HOLDER_HEADER: "elsewhere/1"}
    url = f"http://127.0.0.1:{world.port}/agent/v1/hello"
    hello = encode(Hello("user-space", "1.0", "6.0"))

    def take_over() -> bool:
        return httpx.post(url, headers=headers, content=hello).status_code == 200

    joined = log(world).count('"joined"')
    assert not take_over(), "the agent holds the node"
    with frozen(world.agent_pid):
        until(take_over, 3 * LEASE)
    until(lambda: "held by another agent, on host elsewhere" in log(world), 2 * LEASE)
    assert (world.spis("left"), world.spis("right")) == spis
    until(lambda: log(world).count('"joined"') > joined, 4 * LEASE)
    until(lambda: status(world) == "ACTIVE", 4 * LEASE)
    assert_works(world, spis)


def test_an_agent_that_was_killed_holds_its_node_again_at_once(world: World) -> None:
    until(lambda: status(world) == "ACTIVE", 3 * LEASE)
    pid, joined = world.agent_pid, log(world).count('"joined"')
    os.kill(pid, signal.SIGKILL)
    until(lambda: log(world).count('"joined"') > joined, 10.0)
    assert status(world) == "ACTIVE"
