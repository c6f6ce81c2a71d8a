"""The whole service as its users meet it: API, agent and laboratory as real processes, in a state directory of its own.

Made once for several tests. Whatever a test does to it, `stop` leaves nothing on the machine.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from linkspan.cli.client import Client, load_cloud
from linkspan.core.tunnel.sas import ChildSa
from linkspan.drivers.charon.daemon import StrongswanCharon
from linkspan.drivers.linux import esp_backend, interface_names, netns
from linkspan.lab.fabric import Ping
from linkspan.lab.packet_counter import PacketCounter

READY = 60.0
INSIDE = ("10.1.0.0/24", "10.2.0.0/24", "fd00:1::/64", "fd00:2::/64")


class World:
    """`lab` is what `linkspan lab show` tells; `user` and `admin` are clients of the API.

    `environment` is given to all of its processes, beside the test's own.
    """

    def __init__(self, state: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        self.state = state
        self.port = free_port()
        self._output = state.parent / f"{state.name}.out"
        command = [
            sys.executable,
            "-m",
            "linkspan.bootstrap",
            "run",
            "--state",
            str(state),
            "--port",
            str(self.port),
        ]
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [*command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env=os.environ | (environment or {}),
            )
        self._wait_until_built()
        self.lab: dict[str, Any] = json.loads((state / "lab.json").read_text())
        self.user = self.client("demo")
        self.admin = self.client("admin")

    @property
    def output(self) -> str:
        """The output of the service so far."""
        return self._output.read_text(errors="replace")

    def _wait_until_built(self) -> None:
        until(lambda: "0 % loss" in self.output or self.process.poll() is not None, READY, lambda: self.output)
        until(lambda: (self.state / "lab.json").exists() or self.process.poll() is not None, 5.0)
        if self.process.poll() is not None:
            raise AssertionError(f"the service ended with {self.process.returncode}:\n{self.output}")

    def last_words(self, lines: int = 60) -> str:
        """The ends of the logs of agents and charons: what a test that failed wants to tell."""
        files = [*self.state.glob("logs/node-*.log"), *self.state.glob("nodes/*/gateways/*/charon.log")]
        tails = ("\n".join(file.read_text(errors="replace").splitlines()[-lines:]) for file in files)
        return "\n".join(f"--- {file.relative_to(self.state)}\n{tail}" for file, tail in zip(files, tails, strict=True))

    def client(self, name: str) -> Client:
        """The API as one of the users of the first start: admin, demo, reader, other."""
        return Client(load_cloud(f"linkspan-{name}", self.state / "clouds.yaml"))

    def stop(self) -> None:
        """End the service as Ctrl-C does, and wait for it."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(40.0)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    # -- the API -------------------------------------------------------------------------------------------------

    def connection(self, id: str) -> dict[str, Any]:
        """A connection as its user sees it."""
        found: dict[str, Any] = self.user.request("GET", f"/v2.0/vpn/ipsec-site-connections/{id}")
        body: dict[str, Any] = found["ipsec_site_connection"]
        return body

    def other_node(self, name: str) -> str:
        """The token of a node that nothing is assigned to."""
        file = self.state.parent / f"{name}.token"
        command = [
            sys.executable,
            "-m",
            "linkspan.bootstrap",
            "node",
            "create",
            name,
            "--token-file",
            str(file),
        ]
        subprocess.run([*command, "--state", str(self.state)], check=True, capture_output=True)
        return file.read_text().strip()

    def wait_status(self, id: str, status: str, seconds: float = 20.0) -> dict[str, Any]:
        """Wait until a connection reads this status; the connection."""
        until(lambda: self.connection(id)["status"] == status, seconds, lambda: str(self.connection(id)))
        return self.connection(id)

    # -- the machine ---------------------------------------------------------------------------------------------

    @property
    def agent_pid(self) -> int:
        """The process of the first agent."""
        return self.child_pid("agent")

    def child_pid(self, word: str) -> int:
        """The service's child process whose command has this word in it; 0 while there is none."""
        for entry in Path("/proc").iterdir():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == self.process.pid and word in (entry / "cmdline").read_bytes().decode().split("\0"):
                    return int(entry.name)
            except (OSError, ValueError):
                continue
        return 0

    def charon_pid(self, side: str) -> int:
        """The charon of a site's gateway."""
        for pid in netns.processes(self.gateway(side)):
            if Path(f"/proc/{pid}/exe").readlink().name.startswith("charon"):
                return pid
        raise AssertionError(f"no charon in gateway {side}")

    def charon(self, side: str) -> AbstractContextManager[StrongswanCharon]:
        """A session of our own with the charon of a site's gateway."""
        return self.charon_of(self.lab["sites"][side]["router_id"], self.gateway(side))

    @contextmanager
    def charon_of(self, router_id: str, namespace: str) -> Iterator[StrongswanCharon]:
        """The same of any router's gateway."""
        (directory,) = self.state.glob(f"**/gateways/{router_id}")
        charon = StrongswanCharon(directory, namespace, "user-space")
        try:
            yield charon
        finally:
            charon.detach()

    def rekeyed(self, *sides: str) -> bool:
        """True if the first rekey is over at these sites (see `rekeyed` below)."""
        for side in sides or ("left", "right"):
            with self.charon(side) as charon:
                if not rekeyed([child for sa in charon.sas() for child in sa.children]):
                    return False
        return True

    def spis(self, side: str, connection: str = "") -> list[tuple[str, str]]:
        """SPIs, in and out, of the installed children at a site, or of those of one connection."""
        with self.charon(side) as charon:
            children = [child for sa in charon.sas() for child in sa.children if child.name.startswith(connection)]
        return sorted((child.spi_in, child.spi_out) for child in children if child.state == "INSTALLED")

    def one_tunnel(self) -> bool:
        """Both ends are at rest with the same one pair of SPIs."""
        left, right = self.spis("left"), self.spis("right")
        return self.rekeyed() and len(left) == 1 and [(out, into) for into, out in left] == right

    def gateway(self, side: str) -> str:
        """The namespace of a site's gateway."""
        name: str = self.lab["sites"][side]["gateway"]["namespace"]
        return name

    def host(self, side: str) -> str:
        """The namespace of a site's host."""
        name: str = self.lab["sites"][side]["host"]["namespace"]
        return name

    def inside(self, namespace: str, *command: str) -> str:
        """Runs a command inside a namespace and returns its output."""
        done = netns.run_inside(
            namespace, lambda: subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def wire(self) -> PacketCounter:
        """A witness on the wire between the gateways."""
        return PacketCounter(self.lab["fabric"], self.lab["internet"]["bridge"], INSIDE)

    @contextmanager
    def next_hop(self) -> Iterator[None]:
        """A router on the external network, so that a packet that leaves a gateway in plaintext reaches a host."""
        bridge = self.lab["internet"]["bridge"]
        addresses = ("198.51.100.1/24", "2001:db8:ffff::1/64")
        self.inside(self.lab["fabric"], "sysctl", "-q", f"net.ipv6.conf.{bridge}.disable_ipv6=0")
        for address in addresses:
            self.inside(self.lab["fabric"], "ip", "address", "add", address, "dev", bridge, *nodad(address))
        try:
            yield
        finally:
            for address in addresses:
                self.inside(self.lab["fabric"], "ip", "address", "del", address, "dev", bridge)


def nodad(address: str) -> tuple[str, ...]:
    """An IPv6 address is usable at once only without duplicate address detection."""
    return ("nodad",) if ":" in address else ()


def rekeyed(children: Sequence[ChildSa]) -> bool:
    """True if every child has keys of its own exchange, and none is being replaced.

    The first rekey follows an instant after a tunnel is up. The child that it replaced stays listed, deleted, for some
    seconds.
    """
    there = [child for child in children if child.state != "DELETED"]
    return bool(there) and all(child.group and child.state == "INSTALLED" for child in there)


def steady(send: Callable[[], Ping]) -> Ping:
    """The result of pings through a tunnel that is at rest.

    In user space a rekey may cost charon a packet that is on its way, and that says nothing about whether packets pass:
    there they are sent once more.
    """
    answer = send()
    again = answer.received < answer.sent and esp_backend.detect() == "user-space"
    return send() if again else answer


def freeze(pid: int) -> None:
    """Stop a process, all of its threads: a signal is on its way for a moment, and they may act until it is there."""
    os.kill(pid, signal.SIGSTOP)
    threads = list(Path(f"/proc/{pid}/task").glob("*/status"))
    until(lambda: all("\nState:\tT" in thread.read_text() for thread in threads), 10.0)


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Nothing happens in a process meanwhile."""
    freeze(pid)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def until(condition: Callable[[], bool], seconds: float, tell: Callable[[], str] = str) -> float:
    """Wait for a condition, seconds it took; fail with what `tell` says."""
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > seconds:
            raise AssertionError(f"not within {seconds} s: {tell()}")
        time.sleep(0.02)
    return time.monotonic() - start


def free_port() -> int:
    """A TCP port of the loopback that no process listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def leftovers(instance: str) -> list[str]:
    """Namespaces of an instance, and processes inside them."""
    prefix = interface_names.namespace_prefix(instance)
    return [name for name in netns.names() if name.startswith(prefix)]
