"""Only an intended stop ends tunnels: not a signal to a process of the service, its death, or a disk that cannot be
written. What ended is started again, and what cannot be supervised any more is adopted by the next run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from linkspan.admin.supervisor import ProcessIdentity, leftover_processes
from linkspan.cli.client import ApiError
from linkspan.lab.fabric import ping
from tests.harness.world import World, leftovers, until
from tests.wire.conftest import need_charon

pytestmark = [pytest.mark.wire, pytest.mark.root]


def connection(world: World) -> str:
    id: str = world.lab["sites"]["left"]["connection_id"]
    return id


def is_settled(world: World) -> bool:
    """True if nothing changes for a second: after a start both ends initiate, and one of the IKE SAs goes."""
    before = world.spis("left"), world.spis("right")
    time.sleep(1.0)
    return world.one_tunnel() and (world.spis("left"), world.spis("right")) == before


@contextmanager
def undisturbed(world: World, seconds: float) -> Iterator[None]:
    """The block costs no ping in at least so many seconds, and both ends have the same SAs afterwards."""
    until(lambda: is_settled(world), 20.0)
    before = world.spis("left"), world.spis("right")
    with ThreadPoolExecutor(1) as pool:
        pinging = pool.submit(ping, world.host("left"), "10.2.0.10", int(seconds / 0.02), 0.02)
        time.sleep(0.3)
        yield
        answer = pinging.result()
    assert answer.received == answer.sent
    assert (world.spis("left"), world.spis("right")) == before


ACCIDENTS: dict[str, tuple[tuple[str, signal.Signals], ...]] = {
    "SIGTERM to the agent": (("agent", signal.SIGTERM),),
    "SIGHUP to the agent": (("agent", signal.SIGHUP),),
    "SIGINT to the agent": (("agent", signal.SIGINT),),
    "SIGTERM to the API": (("api", signal.SIGTERM),),
    "the API is killed": (("api", signal.SIGKILL),),
    "API and agent are killed": (("api", signal.SIGKILL), ("agent", signal.SIGKILL)),
}


@pytest.mark.parametrize("accident", ACCIDENTS)
def test_what_a_signal_ended_is_started_again(world: World, accident: str) -> None:
    pids = {word: world.child_pid(word) for word, _ in ACCIDENTS[accident]}
    assert all(pids.values())
    with undisturbed(world, 3.0):
        for word, number in ACCIDENTS[accident]:
            os.kill(pids[word], number)
        until(lambda: all(world.child_pid(word) not in (0, pid) for word, pid in pids.items()), 10.0)
    until(lambda: is_active(world), 20.0)


def is_active(world: World) -> bool:
    """True if the API answers that the connection is ACTIVE."""
    try:
        return bool(world.connection(connection(world))["status"] == "ACTIVE")
    except Exception:
        return False


def test_a_hangup_of_the_terminal_stops_nothing(world: World) -> None:
    with undisturbed(world, 2.0):
        os.kill(world.process.pid, signal.SIGHUP)
        time.sleep(1.0)
    assert world.process.poll() is None
    assert is_active(world)


def test_the_next_run_adopts_what_a_killed_run_left(world: World) -> None:
    """The service runs without its supervisor afterwards, so that only tests that begin anew may follow."""
    with undisturbed(world, 2.0):
        world.process.kill()
        world.process.wait()
    children = leftover_processes(world.state)
    assert {child.name for child in children} == {"api", "node-1"}
    assert is_active(world)
    adopt(world, children).stop()
    assert leftovers(world.lab["instance"]) == []


def adopt(world: World, children: list[ProcessIdentity]) -> World:
    """Start another run with the state of a killed one, whose children these are."""
    with undisturbed(world, 15.0):
        adopter = World(world.state)
    try:
        assert "adopt what an earlier run left running" in adopter.output
        assert not any(child.is_running() for child in children)
        until(lambda: is_active(adopter), 20.0)
    except BaseException:
        adopter.stop()
        raise
    return adopter


def test_the_next_run_adopts_the_gateways_when_every_process_was_killed(world: World) -> None:
    run = World(world.state)
    # Nobody would end what is redundant afterwards.
    until(lambda: is_settled(run), 20.0)
    children = leftover_processes(world.state)
    run.process.kill()
    for child in children:
        child.signal(signal.SIGKILL)
    run.process.wait()
    until(lambda: not leftover_processes(world.state), 5.0)
    adopt(run, children).stop()
    assert leftovers(run.lab["instance"]) == []


def test_a_killed_run_can_be_cleaned_up_instead(world: World) -> None:
    run = World(world.state)
    before = run.spis("left")
    run.process.kill()
    run.process.wait()
    other = World(world.state, "--clean")
    try:
        assert "clean up after an earlier run" in other.output
        assert other.spis("left") != before
    finally:
        other.stop()
    assert leftovers(world.lab["instance"]) == []


# --- a disk that cannot be written ----------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of its own."""
    need_charon()
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Callable[[], None]:
    """Fill the disk to its last byte. Returns a function that makes room again."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (65536, 1):
            try:
                while file.write(b"x" * size):
                    pass
            except OSError:
                continue
    return ballast.unlink


def cover(folder: Path) -> Callable[[], None]:
    """Have the folder's files read-only, as after an error of its file system. Returns a function that undoes it."""
    state = folder / "state"
    subprocess.run(["mount", "--bind", str(state), str(state)], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", str(state)], check=True)

    def uncover() -> None:
        subprocess.run(["umount", "--lazy", str(state)], check=True)

    return uncover


def write(world: World) -> int:
    """Create a policy; return the status of the answer."""
    try:
        world.user.request("POST", "/v2.0/vpn/ikepolicies", {"ikepolicy": {"name": "x" * 200}})
    except ApiError as error:
        return error.status
    return 201


@pytest.mark.parametrize("spoil", [fill, cover])
def test_a_disk_that_cannot_be_written_stops_writes_only(
    small_disk: Path, spoil: Callable[[Path], Callable[[], None]]
) -> None:
    world = World(small_disk / "state")
    try:
        assert write(world) == 201
        with undisturbed(world, 8.0):
            mend = spoil(small_disk)
            assert is_active(world)
            # With a read-only disk SQLite cannot be opened anew.
            pids = {word: world.child_pid(word) for word in (("agent", "api") if spoil is fill else ("agent",))}
            for pid in pids.values():
                os.kill(pid, signal.SIGKILL)
            until(lambda: all(world.child_pid(word) not in (0, pid) for word, pid in pids.items()), 10.0)
            until(lambda: is_active(world), 15.0, lambda: world.output)
        assert world.process.poll() is None
        if spoil is fill:  # files that are open stay writable on what only looks read-only
            assert write(world) == 503
            # The agent that was started without a disk knows its gateways: it starts their charons again.
            os.kill(world.charon_pid("left"), signal.SIGKILL)
            until(lambda: ping(world.host("left"), "10.2.0.10", 1, timeout=1).received == 1, 20.0, world.last_words)
        mend()
        until(lambda: write(world) == 201, 20.0)
        until(lambda: is_active(world), 20.0)
    finally:
        world.stop()
    assert leftovers(world.lab["instance"]) == []


def test_a_sweep_removes_what_a_killed_run_left(tmp_path: Path) -> None:
    need_charon()
    world = World(tmp_path / "state")
    world.process.kill()
    world.process.wait()
    assert leftover_processes(world.state)
    program = [sys.executable, "-m", "linkspan.bootstrap"]
    subprocess.run([*program, "sweep", "--state", str(world.state)], check=True, capture_output=True)
    assert leftovers(world.lab["instance"]) == []
    assert leftover_processes(world.state) == []
    shutil.rmtree(world.state)
