"""The whole service: API, agent and laboratory as real processes, with their own state directory.

Started once for several tests. `stop` removes everything from the machine, whatever a test did.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, Final

import msgspec

from linkspan.cli.client import Client, CliError, load_cloud
from linkspan.core.tunnel.sas import ChildSa
from linkspan.drivers.charon.daemon import StrongswanCharon
from linkspan.drivers.charon.vici import CharonAbsent
from linkspan.drivers.linux import esp_backend, interface_names, netns
from linkspan.lab.fabric import Ping
from linkspan.lab.packet_counter import PacketCounter
from tests.harness import first_state
from tests.harness.delayed_link import DelayedLink
from tests.harness.recorder import Packet

READY = 60.0
INSIDE = ("10.1.0.0/24", "10.2.0.0/24", "fd00:1::/64", "fd00:2::/64")


class World:
    """A running service. `lab`: the output of `linkspan lab show`; `user` and `admin`: clients of the API.

    `environment`: additional environment variables of all processes. `started`: all of them, the oldest first. A state
    directory that does not exist begins as after a first start (`first_state`), unless the database is another one.
    """

    started: ClassVar[list[World]] = []

    def __init__(self, state: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        self.state = state
        if not state.exists() and "LINKSPAN_API_DATABASE" not in (environment or {}):
            first_state.write(state)
        self.words_at_end = ""
        self.port = free_port()
        self.output_file = state.parent / f"{state.name}.out"
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
        with self.output_file.open("wb") as output:
            self.process = subprocess.Popen(
                [*command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env=os.environ | (environment or {}),
            )
        World.started.append(self)
        self._wait_until_built()
        self.lab: dict[str, Any] = json.loads((state / "lab.json").read_text())
        self.user = self.client("demo")
        self.admin = self.client("admin")
        # Both ends initiate. An attempt of which a packet was lost comes up later, and would replace the tunnel.
        until(lambda: not self.is_negotiating(), 15.0)

    @property
    def output(self) -> str:
        """The output of the service so far."""
        return self.output_file.read_text(errors="replace")

    def _wait_until_built(self) -> None:
        until(lambda: bool(self._losses) or self.process.poll() is not None, READY, lambda: self.output)
        until(lambda: (self.state / "lab.json").exists() or self.process.poll() is not None, 5.0)
        if self.process.poll() is not None:
            raise AssertionError(f"the service ended with {self.process.returncode}:\n{self.output}")
        # A packet may be lost by a rekey, with user-space ESP; a tunnel through which nothing passes is not built.
        if 100 in self._losses:
            raise AssertionError(f"no ping passed:\n{self.output}")

    @property
    def _losses(self) -> list[int]:
        """The lost pings in per cent that the laboratory has reported, for each direction."""
        return [int(loss) for loss in re.findall(r" (\d+) % loss", self.output)]

    def last_words(self, lines: int = 60) -> str:
        """Return the ends of the logs of agents and charons, for the report of a failed test. Those of a service that
        has ended are as they were before its end, which removes them."""
        if self.words_at_end:
            return self.words_at_end
        files = [*self.state.glob("logs/node-*.log"), *self.state.glob("nodes/*/gateways/*/charon.log")]
        tails = ("\n".join(file.read_text(errors="replace").splitlines()[-lines:]) for file in files)
        return "\n".join(f"--- {file.relative_to(self.state)}\n{tail}" for file, tail in zip(files, tails, strict=True))

    def client(self, name: str) -> Client:
        """Return a client as one of the users of the first start: admin, demo, reader, other."""
        return Client(load_cloud(f"linkspan-{name}", self.state / "clouds.yaml"))

    def stop(self) -> None:
        """Stop the service as Ctrl-C does, and wait for its end."""
        if self.process.poll() is None:
            self.words_at_end = self.last_words()
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(40.0)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    @contextmanager
    def another_api(self) -> Iterator[Client]:
        """Run another API process on the same database; yield a client of it as the user demo."""
        port = free_port()
        command = [sys.executable, "-m", "linkspan.bootstrap", "api", "--config", str(self.state / "run" / "api.toml")]
        output = self.state.parent / f"{self.state.name}-api-{port}.out"
        with output.open("wb") as out:
            process = subprocess.Popen(
                [*command, "--port", str(port)], stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
        client = self.client("demo")
        client.cloud = msgspec.structs.replace(client.cloud, url=f"http://127.0.0.1:{port}")

        def answers() -> bool:
            assert process.poll() is None, output.read_text()
            try:
                client.request("GET", "/healthz")
            except CliError:
                return False
            return True

        try:
            until(answers, READY, output.read_text)
            yield client
        finally:
            process.terminate()
            process.wait(20.0)

    # -- the API -------------------------------------------------------------------------------------------------

    def connection(self, id: str) -> dict[str, Any]:
        """Return a connection as its user sees it."""
        response: dict[str, Any] = self.user.request("GET", f"/v2.0/vpn/ipsec-site-connections/{id}")
        body: dict[str, Any] = response["ipsec_site_connection"]
        return body

    def other_node(self, name: str) -> str:
        """Create a node without gateways; return its token."""
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
        """Wait until a connection has this status; return the connection."""
        until(lambda: self.connection(id)["status"] == status, seconds, lambda: str(self.connection(id)))
        return self.connection(id)

    # -- the machine ---------------------------------------------------------------------------------------------

    @property
    def agent_pid(self) -> int:
        """The pid of the first agent."""
        return self.child_pid("agent")

    def child_pid(self, word: str) -> int:
        """Return the pid of the service's child process with this word in its command line; 0 if there is none."""
        for entry in Path("/proc").iterdir():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == self.process.pid and word in (entry / "cmdline").read_bytes().decode().split("\0"):
                    return int(entry.name)
            except (OSError, ValueError):
                continue
        return 0

    def charon_pid(self, side: str) -> int:
        """Return the pid of the charon of a site's gateway."""
        for pid in netns.processes(self.gateway(side)):
            if Path(f"/proc/{pid}/exe").readlink().name.startswith("charon"):
                return pid
        raise AssertionError(f"no charon in gateway {side}")

    def kill_charon(self, side: str) -> None:
        """SIGKILL the charon of a site's gateway, once the agent has started one."""

        def kill() -> bool:
            with suppress(AssertionError, ProcessLookupError, FileNotFoundError):
                os.kill(self.charon_pid(side), signal.SIGKILL)
                return True
            return False

        until(kill, 20.0, self.last_words)

    def charon_answers(self, side: str) -> bool:
        """True if the charon of a site's gateway answers on its socket."""
        try:
            with self.charon(side) as charon:
                charon.sas()
        except CharonAbsent:
            return False
        return True

    def charon(self, side: str) -> AbstractContextManager[StrongswanCharon]:
        """Open a session with the charon of a site's gateway."""
        return self.charon_of(self.lab["sites"][side]["router_id"], self.gateway(side))

    @contextmanager
    def charon_of(self, router_id: str, namespace: str) -> Iterator[StrongswanCharon]:
        """Open a session with the charon of any router's gateway."""
        (directory,) = self.state.glob(f"**/gateways/{router_id}")
        charon = StrongswanCharon(directory, namespace, "user-space")
        try:
            yield charon
        finally:
            charon.detach()

    def rekeyed(self, *sides: str) -> bool:
        """True if the first rekey of all children at these sites is over (see `all_rekeyed`)."""
        for side in sides or ("left", "right"):
            with self.charon(side) as charon:
                if not all_rekeyed([child for sa in charon.sas() for child in sa.children]):
                    return False
        return True

    def spis(self, side: str, connection: str = "") -> list[tuple[str, str]]:
        """Return the SPIs, in and out, of the installed children at a site, or of those of one connection."""
        with self.charon(side) as charon:
            children = [child for sa in charon.sas() for child in sa.children if child.name.startswith(connection)]
        return sorted((child.spi_in, child.spi_out) for child in children if child.state == "INSTALLED")

    def carrying(self, side: str) -> set[tuple[str, str]]:
        """Return the SPIs, in and out, of the children at a site that carry traffic, rekeyed ones too."""
        with self.charon(side) as charon:
            children = [child for sa in charon.sas() for child in sa.children]
        return {(child.spi_in, child.spi_out) for child in children if child.carries}

    def have_common_tunnel(self) -> bool:
        """True if both ends have a child that carries traffic."""
        return bool({(spi_out, spi_in) for spi_in, spi_out in self.carrying("left")} & self.carrying("right"))

    def one_tunnel(self) -> bool:
        """True if both ends have one and the same pair of SPIs, the first rekey is over, and no other IKE SA is being
        negotiated, which would replace the tunnel."""
        left, right = self.spis("left"), self.spis("right")
        same = len(left) == 1 and [(spi_out, spi_in) for spi_in, spi_out in left] == right
        return same and self.rekeyed() and not self.is_negotiating()

    def is_negotiating(self) -> bool:
        """True if an IKE SA of the two sites is neither up nor gone."""
        for side in ("left", "right"):
            with self.charon(side) as charon:
                if any(sa.state != "ESTABLISHED" for sa in charon.sas()):
                    return True
        return False

    def gateway(self, side: str) -> str:
        """Return the namespace of a site's gateway."""
        name: str = self.lab["sites"][side]["gateway"]["namespace"]
        return name

    def host(self, side: str) -> str:
        """Return the namespace of a site's host."""
        name: str = self.lab["sites"][side]["host"]["namespace"]
        return name

    def inside(self, namespace: str, *command: str) -> str:
        """Run a command inside a namespace; return its output."""
        done = netns.run_inside(
            namespace, lambda: subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def wire(self) -> PacketCounter:
        """Return a packet counter for the wire between the gateways."""
        return PacketCounter(self.lab["fabric"], self.lab["internet"]["bridge"], INSIDE)

    def delayed(self, delay: Callable[[Packet], float]) -> DelayedLink:
        """Return a link that delays the packets between the gateways, by the seconds that `delay` says."""
        fabric, bridge = self.lab["fabric"], self.lab["internet"]["bridge"]
        port = self.inside(fabric, "ip", "-o", "link", "show", "master", bridge).split()[1].partition("@")[0]
        return DelayedLink(fabric, bridge, port, delay)

    @contextmanager
    def next_hop(self) -> Iterator[None]:
        """Provide a router on the external network, a next hop for packets that leave a gateway in plaintext."""
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
    """Return the option that makes an IPv6 address usable at once, without duplicate address detection."""
    return ("nodad",) if ":" in address else ()


def all_rekeyed(children: Sequence[ChildSa]) -> bool:
    """True if every child has been rekeyed and no rekey is in progress. The agent rekeys the first child right after a
    tunnel is up; the replaced child stays listed for some seconds as DELETED."""
    current = [child for child in children if child.state != "DELETED"]
    return bool(current) and all(child.group and child.state == "INSTALLED" for child in current)


def ping_with_retry(send: Callable[[], Ping]) -> Ping:
    """Send pings; with user-space ESP send them once more if some are lost.

    With user-space ESP a rekey may lose a packet that charon is processing.
    """
    answer = send()
    retry = answer.received < answer.sent and esp_backend.detect() == "user-space"
    return send() if retry else answer


def freeze(pid: int) -> None:
    """Stop a process and wait until all of its threads are stopped, since the signal takes effect a moment later."""
    os.kill(pid, signal.SIGSTOP)
    threads = list(Path(f"/proc/{pid}/task").glob("*/status"))
    until(lambda: all("\nState:\tT" in thread.read_text() for thread in threads), 10.0)


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Stop a process during the block."""
    freeze(pid)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


PATIENCE: Final = 4.0 if os.environ.get("VM_GUEST") else 1.0
"""Factor of the time that a condition has; with it, no test needs one of its own for user-mode Linux, which is slow."""


def until(condition: Callable[[], bool], seconds: float, tell: Callable[[], str] = str) -> float:
    """Wait for a condition; return the seconds waited. Fails with the text that `tell` returns."""
    start, seconds = time.monotonic(), seconds * PATIENCE
    while not condition():
        if time.monotonic() - start > seconds:
            raise AssertionError(f"not within {seconds} s: {tell()}")
        time.sleep(0.02)
    return time.monotonic() - start


def free_port() -> int:
    """Return an unused TCP port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def leftovers(instance: str) -> list[str]:
    """Return the names of an instance's namespaces."""
    prefix = interface_names.namespace_prefix(instance)
    return [name for name in netns.names() if name.startswith(prefix)]
