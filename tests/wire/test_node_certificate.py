"""Renewing a node's certificate loses no packet of its tunnels, and neither does the change from a token to one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from linkspan.agent.node_identity import IdentityFile
from linkspan.lab.fabric import Ping, ping
from tests.harness.world import World, free_port, until
from tests.wire.conftest import need_charon

pytestmark = [pytest.mark.wire, pytest.mark.root]

COUNT = 1000
LINKSPAN = [sys.executable, "-m", "linkspan.bootstrap"]
PATH = "/v2.0/linkspan/nodes"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A service with a listener for nodes."""
    need_charon()
    state = tmp_path_factory.mktemp("joined") / "state"
    world = World(state, environment={"LINKSPAN_API_NODE_PORT": str(free_port())})
    try:
        yield world
    finally:
        world.stop()


def local(world: World, *arguments: str, check: bool = True, **more: Any) -> str:
    """The output of a command on the machine."""
    command = [*LINKSPAN, *arguments, "--state", str(world.state)]
    output: str = subprocess.run(command, check=check, capture_output=True, text=True, timeout=60, **more).stdout
    return output


def node(world: World) -> dict[str, Any]:
    """The node as an admin sees it."""
    nodes = world.admin.request("GET", PATH)["nodes"]
    shown: dict[str, Any] = next(node for node in nodes if node["name"] == "node-1")
    return shown


def test_renewals_of_the_certificate_lose_no_packet(world: World) -> None:
    until(world.one_tunnel, 30.0)
    spis = world.spis("left"), world.spis("right")
    # From the token of `linkspan run` to a certificate: the next agent adopts what runs.
    settings = (world.state / "run" / "api.toml").read_text()
    port = next(line.partition(" = ")[2] for line in settings.splitlines() if line.startswith("node_port"))
    local(world, "node", "join", f"https://127.0.0.1:{port}", input=local(world, "node", "join-token", "node-1"))
    assert node(world)["credential"] == "certificate"
    token = (world.state / "nodes" / "node-1.token").read_text().strip()
    first = world.agent_pid
    os.kill(first, signal.SIGTERM)
    until(lambda: world.agent_pid not in (0, first), 30.0)
    until(lambda: '"joined"' in log(world).partition('"agent stopped"')[2], 30.0, lambda: log(world))

    identity = IdentityFile(world.state / "nodes" / "node-1.pem")
    keys = [identity.read().key]
    answers: list[Ping] = []
    pinging = threading.Thread(target=lambda: answers.append(ping(world.host("left"), "10.2.0.10", COUNT, 0.002, 2)))
    with world.wire() as counter:
        pinging.start()
        while pinging.is_alive():
            world.admin.request("PUT", f"{PATH}/{node(world)['id']}/rotate")
            until(lambda: identity.read().key != keys[-1], 20.0)
            keys.append(identity.read().key)
        pinging.join()
    assert (answers[0].sent, answers[0].received) == (COUNT, COUNT)
    assert len(keys) > 1, "no renewal was under the pings"
    assert counter.tally.plaintext == 0
    assert counter.tally.protected >= 2 * COUNT
    assert (world.spis("left"), world.spis("right")) == spis
    assert world.agent_pid not in (0, first)
    assert known(world, token) == 401, "the first use of the certificate ended the token"

    # The control: what is revoked gets no news, and its tunnel carries on.
    world.admin.request("PUT", f"{PATH}/{node(world)['id']}/revoke")
    until(lambda: "was revoked" in log(world), 60.0, lambda: log(world))
    assert ping(world.host("left"), "10.2.0.10", 5, 0.02).received == 5
    assert (world.spis("left"), world.spis("right")) == spis
    local(world, "node", "join", f"https://127.0.0.1:{port}", input=local(world, "node", "join-token", "node-1"))
    until(lambda: node(world)["credential"] == "certificate" and node(world)["alive"], 60.0)
    # The exit code is about the machine: its strongSwan may have flaws.
    doctor = local(world, "doctor", check=False)
    assert ["ok", "API", "answers"] in [line.split() for line in doctor.splitlines()], doctor


def log(world: World) -> str:
    """The log of the agent."""
    return (world.state / "logs" / "node-1.log").read_text()


def known(world: World, token: str) -> int:
    """The status of a request of the agents' protocol with a token."""
    import httpx

    url = f"http://127.0.0.1:{world.port}/agent/v1/desired"
    return httpx.get(url, headers={"authorization": f"Bearer {token}"}).status_code
