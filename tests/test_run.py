"""`linkspan run` as its users meet it: the proof, and that whatever ends it leaves nothing on the machine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from linkspan.drivers.linux import interface_names, netns
from linkspan.drivers.local import sweep
from tests.harness.world import free_port, until

pytestmark = [pytest.mark.wire, pytest.mark.root, pytest.mark.timeout(180)]

COMMAND = [sys.executable, "-m", "linkspan.bootstrap"]


class Machine(msgspec.Struct, frozen=True):
    """What runs with state directories below one folder have on the machine now; other runs may be beside them."""

    namespaces: frozenset[str] = frozenset()
    links: frozenset[str] = frozenset()
    processes: frozenset[str] = frozenset()
    rules: str = ""
    temporary: frozenset[str] = frozenset()


def machine(folder: Path) -> Machine:
    """What there is of the runs below a folder."""
    instances = [file.read_text().strip() for file in folder.glob("*/instance")]
    namespaces = {
        name for name in netns.names() for i in instances if name.startswith(interface_names.namespace_prefix(i))
    }
    prefixes = tuple(prefix for i in instances for prefix in interface_names.link_prefixes(i))
    return Machine(
        namespaces=frozenset(namespaces),
        links=frozenset(name for name in os.listdir("/sys/class/net") if prefixes and name.startswith(prefixes)),
        processes=frozenset(processes(folder, namespaces)),
        rules=subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout,
        temporary=frozenset(path.name for path in (folder / "tmp").iterdir()),
    )


def processes(folder: Path, namespaces: set[str]) -> Iterator[str]:
    """Processes whose command or directory is below a folder (our children, every charon), or in these namespaces."""
    inside = {pid for name in namespaces for pid in netns.processes(name)}
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
            at = str((entry / "cwd").readlink())
        except OSError:
            continue
        if entry.name.isdigit() and (str(folder) in command + at or int(entry.name) in inside):
            yield f"{entry.name} {command}"


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("needs root for network namespaces: sudo ./dev test tests/test_run.py")
    if shutil.which("charon-systemd", path="/usr/sbin:/sbin") is None:
        pytest.skip("needs charon-systemd: sudo ./dev test installs it")
    directory = tmp_path / "state"
    (tmp_path / "tmp").mkdir()
    yield directory
    if (directory / "instance").exists():
        sweep((directory / "instance").read_text().strip())


class Run:
    """A `linkspan run` in the background, its output in a file."""

    def __init__(self, state: Path, port: int, *arguments: str) -> None:
        self.state = state
        self._output = state.parent / f"{state.name}-{time.monotonic_ns()}.out"
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("LINKSPAN_", "OS_"))}
        environment["TMPDIR"] = str(state.parent / "tmp")
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [*COMMAND, "run", "--state", str(state), "--port", str(port), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
            )

    @property
    def output(self) -> str:
        return self._output.read_text(errors="replace")

    def wait_for(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        until(lambda: condition() or self.process.poll() is not None, seconds, lambda: self.output)
        assert self.process.poll() is None, self.output

    def wait_for_proof(self) -> None:
        self.wait_for(lambda: "Ctrl-C ends it" in self.output)

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(40.0)


def test_once_proves_and_leaves_nothing(state: Path) -> None:
    before = machine(state.parent)
    started = time.monotonic()
    run = Run(state, free_port(), "--once")
    assert run.process.wait(90.0) == 0, run.output
    took = time.monotonic() - started
    for words in ("left-to-right", "right-to-left", "0 % loss", "ESP packets", "0 in plaintext"):
        assert words in run.output
    assert run.output.count("0 % loss") == 2
    assert "Traceback" not in run.output
    assert machine(state.parent) == before
    assert machine(state.parent) == Machine(rules=before.rules)
    assert not (state / "lab.json").exists()
    print(f"run --once took {took:.1f} s")


@pytest.mark.parametrize("nodes", [("1", "1"), ("2", "1")])
def test_a_second_run_goes_on_where_the_first_ended(state: Path, nodes: tuple[str, str]) -> None:
    port = free_port()
    first = Run(state, port, "--once", "--nodes", nodes[0])
    assert first.process.wait(90.0) == 0, first.output
    clouds = (state / "clouds.yaml").read_text()
    # Also with fewer agents: the node that carried a gateway starts too.
    second = Run(state, port, "--once", "--nodes", nodes[1])
    assert second.process.wait(90.0) == 0, second.output
    assert "of the earlier run again" in second.output
    assert (state / "clouds.yaml").read_text() == clouds


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ending_it_leaves_nothing(state: Path, number: signal.Signals) -> None:
    before = machine(state.parent)
    run = Run(state, free_port())
    run.wait_for_proof()
    assert machine(state.parent) != before
    assert run.end(number) == 0, run.output
    assert machine(state.parent) == before
    assert "Traceback" not in run.output


def test_ending_it_while_it_starts_leaves_nothing(state: Path) -> None:
    before = machine(state.parent)
    run = Run(state, free_port())
    run.wait_for(lambda: "API at" in run.output)
    assert run.end(signal.SIGTERM) != 1, run.output
    assert machine(state.parent) == before


def test_a_run_after_a_killed_one_cleans_up_and_works(state: Path) -> None:
    before = machine(state.parent)
    port = free_port()
    first = Run(state, port)
    first.wait_for_proof()
    first.end(signal.SIGKILL)
    second = Run(state, port, "--once")
    assert second.process.wait(90.0) == 0, second.output
    assert second.output.count("0 % loss") == 2
    assert machine(state.parent) == before


def test_everything_killed_at_once_is_cleaned_up_by_sweep(state: Path) -> None:
    before = machine(state.parent)
    run = Run(state, free_port())
    run.wait_for_proof()
    children = json.loads((state / "run" / "children.json").read_text())
    run.end(signal.SIGKILL)
    for child in children:
        os.kill(child["pid"], signal.SIGKILL)
    assert machine(state.parent).namespaces != before.namespaces
    subprocess.run([*COMMAND, "sweep", "--state", str(state)], check=True)
    assert machine(state.parent) == before


def gateways(state: Path) -> dict[str, int]:
    """How many gateways each node carries."""
    command = [*COMMAND, "status", "-f", "json", "--cloud", "linkspan-admin", "--state", str(state)]
    board = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return {node["node"]: node["gateways"] for node in board["nodes"] if node["state"] == "up"}


def test_two_runs_side_by_side_and_two_of_one_state(state: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    before = machine(tmp_path)
    first, second = Run(state, free_port()), Run(other, free_port(), "--nodes", "2")
    first.wait_for_proof()
    second.wait_for_proof()
    assert gateways(other) == {"node-1": 1, "node-2": 1}
    third = Run(state, free_port())
    assert third.process.wait(30.0) == 1
    assert "already runs with the state directory" in third.output
    assert len(third.output.strip().splitlines()) == 1
    assert second.end(signal.SIGTERM) == 0, second.output
    shown = subprocess.run(
        [*COMMAND, "lab", "show", "-f", "json", "--state", str(state)], capture_output=True, check=True
    )
    lab = json.loads(shown.stdout)
    ping = [
        "ip",
        "netns",
        "exec",
        lab["sites"]["left"]["host"]["namespace"],
        "ping",
        "-c",
        "3",
        "-i",
        "0.1",
        "10.2.0.10",
    ]
    assert subprocess.run(ping, capture_output=True, check=False).returncode == 0
    assert first.end(signal.SIGTERM) == 0, first.output
    assert machine(tmp_path) == before


def test_a_child_that_dies_comes_back(state: Path) -> None:
    run = Run(state, free_port(), "--no-lab")
    run.wait_for_proof()
    api = next(c for c in json.loads((state / "run" / "children.json").read_text()) if c["name"] == "api")
    os.kill(api["pid"], signal.SIGKILL)
    run.wait_for(lambda: "api was killed by SIGKILL; it starts again" in run.output, 10.0)
    list_networks = [*COMMAND, "network", "list", "--state", str(state)]
    until(lambda: subprocess.run(list_networks, capture_output=True, check=False).returncode == 0, 20.0)
    assert run.end(signal.SIGTERM) == 0


def test_no_secret_is_among_the_processes(state: Path) -> None:
    run = Run(state, free_port(), "--no-lab")
    run.wait_for_proof()
    token = (state / "nodes" / "node-1.token").read_text().strip().encode()
    password = (state / "curl.conf").read_text().partition("demo:")[2].partition('"')[0].encode()
    assert len(password) > 10
    children = json.loads((state / "run" / "children.json").read_text())
    for pid in (run.process.pid, *(child["pid"] for child in children)):
        for name in ("cmdline", "environ"):
            content = Path(f"/proc/{pid}/{name}").read_bytes()
            assert token not in content
            assert password not in content
    assert run.end(signal.SIGTERM) == 0
