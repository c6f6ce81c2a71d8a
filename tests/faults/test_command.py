"""`linkspan lab fault NAME` breaks a tunnel of the laboratory, shows what both ends say, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from linkspan.drivers.linux import netns
from linkspan.lab import plain_gateway
from tests.harness.ours import CONNECTIONS, VPN
from tests.harness.world import World, until
from tests.wire.conftest import need_charon

pytestmark = [pytest.mark.wire, pytest.mark.root, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    need_charon()
    world = World(tmp_path_factory.mktemp("lab") / "state")
    try:
        yield world
    finally:
        world.stop()


def fault(world: World, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "linkspan.bootstrap", "lab", "fault", *arguments, "--state", str(world.state)]


def assert_whole(world: World) -> None:
    """The laboratory is as before: its tunnel is up, and nothing of a fault is left."""
    for side in world.lab["sites"].values():
        world.wait_status(side["connection_id"], "ACTIVE", 40.0)
    names = [each["name"] for each in world.user.request("GET", f"{VPN}/{CONNECTIONS}")[CONNECTIONS.replace("-", "_")]]
    assert sorted(names) == ["left-to-right", "right-to-left"]
    assert "fault" not in world.inside(world.lab["fabric"], "nft", "list", "tables")
    assert not [name for name in netns.names() if name.endswith(f"{world.lab['instance']}-host-{plain_gateway.NAME}")]


def test_a_fault_is_shown_and_taken_away(world: World) -> None:
    done = subprocess.run(
        fault(world, "cert-expired", "--once"), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the far certificate has expired" in done.stdout
    assert "CERT_EXPIRED" in done.stdout
    assert "near right (right: CERT_EXPIRED)" in " ".join(done.stdout.split())
    assert_whole(world)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_a_fault_stays_until_it_is_ended(world: World, tmp_path: Path, end: signal.Signals) -> None:
    output = tmp_path / "output"
    with output.open("wb") as stream:
        command = fault(world, "udp-4500-blocked", "--peer", "ours")
        environment = os.environ | {"PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(command, stdout=stream, stderr=stream, env=environment, start_new_session=True)
    try:
        until(lambda: "Ctrl-C takes the fault away" in output.read_text(), 60.0, output.read_text)
        assert "fault" in world.inside(world.lab["fabric"], "nft", "list", "tables")
        assert world.connection(world.lab["sites"]["left"]["connection_id"])["status"] == "DOWN"
        process.send_signal(end)
        process.wait(30.0)
    finally:
        process.kill()
        process.wait()
    assert_whole(world)


def test_a_fault_that_was_killed_is_taken_away_by_the_next(world: World, tmp_path: Path) -> None:
    output = tmp_path / "output"
    with output.open("wb") as stream:
        environment = os.environ | {"PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(
            fault(world, "udp-4500-blocked", "--peer", "plain"), stdout=stream, stderr=stream, env=environment
        )
    try:
        until(lambda: "near" in output.read_text(), 60.0, output.read_text)
    finally:
        process.kill()
        process.wait()
    command = fault(world, "psk", "--ike", "v2", "--peer", "plain", "--once")
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    assert "the pre-shared keys differ" in done.stdout
    assert_whole(world)
