"""A gateway of the agent below the API: its worker, the drivers of this machine, and a desired state from the test.

It stands in for `Ours` where a test is about what the node does with its desired state. Peers attach to its external
network as to that of the laboratory.
"""

from __future__ import annotations

import re
import secrets
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import vici

from linkspan.agent.convergence import Desired
from linkspan.agent.gateway_worker import GatewayWorker, Stop
from linkspan.agent.outbox import Outbox
from linkspan.core.secret import Secret
from linkspan.core.state.desired import (
    Connection,
    Dpd,
    Gateway,
    Gone,
    IkePolicy,
    InsideInterface,
    IpsecPolicy,
    OutsideInterface,
)
from linkspan.core.state.observed import ConnectionReport, GatewayReport
from linkspan.core.tunnel.sas import UNNAMED, IkeSa
from linkspan.drivers.charon.daemon import StrongswanCharon
from linkspan.drivers.local import LocalDrivers, sweep
from linkspan.lab import fabric
from linkspan.lab.fabric import Ping, ping
from tests.harness.peer import Peer, decoded, vici_session
from tests.harness.world import all_rekeyed, ping_with_retry, until

INTERNET, INSIDE = "11111111-0000-4000-8000-000000000000", "22222222-0000-4000-8000-000000000000"
ADDRESS, NETWORK = "198.51.100.1", "10.1.0.0/24"


class AgentSite:
    """The gateway under test. `v4`: its outside address; `lab`: what peers need to attach."""

    def __init__(self) -> None:
        self.instance = f"t{secrets.token_hex(3)}"
        self.v4 = ADDRESS
        self.state = Path(tempfile.mkdtemp(prefix="ls-agent-"))
        home = fabric.make_fabric(self.instance)
        self.lab: dict[str, Any] = {
            "instance": self.instance,
            "fabric": home,
            "internet": {"network_id": INTERNET},
        }
        self.drivers = LocalDrivers(self.instance, "node-a", self.state, home)
        self.gateway = Gateway(
            id=str(uuid.uuid4()),
            revision=1,
            generation=1,
            outside=OutsideInterface(INTERNET, "internet", (f"{ADDRESS}/24",), ()),
            inside=(InsideInterface(INSIDE, ("10.1.0.1/24",)),),
        )
        self.namespace = self.drivers.namespaces.name(self.gateway.id)
        self.reports: dict[str, GatewayReport | ConnectionReport] = {}
        self.connections: dict[str, Connection] = {}
        self._revision = 1
        self.start_agent()
        self.apply()
        until(lambda: self._report(self.gateway.id) == "ready", 20.0, lambda: str(self.reports))
        host = fabric.make_host(self.instance, "inside", INSIDE, ("10.1.0.10/24",), ("10.1.0.1",))
        self.host = host.namespace

    # -- the agent -------------------------------------------------------------------------------------------------

    def start_agent(self) -> None:
        """Start the worker, as a restarted agent does."""
        self.outbox = Outbox()
        self.worker = GatewayWorker(self.gateway, self.drivers, self.outbox)
        self.worker.start()

    def restart_agent(self) -> None:
        """End the worker without touching anything, and start another one."""
        self.worker.send(Stop(teardown=False))
        self.worker.join(10.0)
        self.reports.clear()
        self.start_agent()
        self.apply()

    def apply(self, *gone: Gone) -> None:
        """Give the worker the whole desired state."""
        self.worker.send(Desired(self.gateway, dict(self.connections), gone))

    def _report(self, id: str) -> str:
        batch = self.outbox.take(0)
        self.reports.update({report.id: report for report in batch.gateways})
        self.reports.update({report.id: report for report in batch.connections})
        return self.reports[id].state if id in self.reports else ""

    def report(self, id: str) -> ConnectionReport | None:
        """Return the newest report of a connection."""
        self._report(id)
        report = self.reports.get(id)
        return report if isinstance(report, ConnectionReport) else None

    # -- connections -----------------------------------------------------------------------------------------------

    def connect(self, peer: Peer, **changes: Any) -> Link:
        """Create a connection to a peer: the certificates or key, identities and policies of the test."""
        ike = changes.pop("ike", {})
        id = str(uuid.uuid4())
        base = Connection(
            id=id,
            gateway_id=self.gateway.id,
            revision=self._next(),
            enabled=True,
            local_address=ADDRESS,
            local_id="gw.example.org",
            peer_address=peer.v4,
            peer_id="peer.example.org",
            local_cidrs=(NETWORK,),
            peer_cidrs=(peer.net4,),
            mtu=1400,
            initiator="bi-directional",
            dpd=Dpd("hold", 30, 120),
            auth_mode="certs",
            psk=Secret(""),
            psk_ref="",
            ike=msgspec.structs.replace(IkePolicy("v2", "main", "aes-128", "sha256", "group14", 3600), **ike),
            ipsec=IpsecPolicy("esp", "tunnel", "aes-128", "sha256", "group14", "seconds", 3600),
        )
        self.connections[id] = msgspec.structs.replace(base, **changes)
        self.apply()
        return Link(self, peer, id)

    def _next(self) -> int:
        self._revision += 1
        return self._revision

    def change(self, id: str, **changes: Any) -> None:
        """Edit a connection: a new revision with these changes."""
        changed = msgspec.structs.replace(self.connections[id], revision=self._next(), **changes)
        self.connections[id] = changed
        self.apply()

    def give(self, id: str, **changes: Any) -> None:
        """Change what belongs to a connection without an edit of its own, as a revocation list does."""
        self.connections[id] = msgspec.structs.replace(self.connections[id], **changes)
        self.apply()

    def delete(self, id: str) -> None:
        """Delete a connection."""
        if self.connections.pop(id, None):
            self.apply(Gone(kind="connection", id=id, gateway_id=self.gateway.id, revision=self._next()))

    def clear(self) -> None:
        """Delete every connection, and wait until the gateway has nothing left."""
        for id in list(self.connections):
            self.delete(id)
        # An attempt that a peer has abandoned stays half open for 30 s, without a name, and is in nobody's way.
        until(lambda: not [sa for sa in self.sas() if sa.name != UNNAMED], 20.0, lambda: str(self.sas()))
        with self.charon() as charon:
            # The agent does so some seconds after a tunnel is up, and tests are faster.
            charon.forget_peers()

    # -- the machine -----------------------------------------------------------------------------------------------

    @contextmanager
    def charon(self) -> Iterator[StrongswanCharon]:
        """Open a session of its own with the gateway's charon."""
        directory = self.state / "gateways" / self.gateway.id
        charon = StrongswanCharon(directory, self.namespace, self.drivers.backend)
        try:
            yield charon
        finally:
            charon.detach()

    @contextmanager
    def session(self) -> Iterator[vici.Session]:
        """Open a raw VICI session with the gateway's charon."""
        with vici_session(self.state / "gateways" / self.gateway.id / "charon.vici") as session:
            yield session

    def sas(self) -> tuple[IkeSa, ...]:
        """Return the IKE SAs of the gateway."""
        with self.charon() as charon:
            return charon.sas()

    @property
    def log(self) -> str:
        """The log of the gateway's charon."""
        return (self.state / "gateways" / self.gateway.id / "charon.log").read_text(errors="replace")

    def close(self) -> None:
        """Nothing of it stays."""
        self.worker.send(Stop(teardown=True))
        self.worker.join(20.0)
        sweep(self.instance)
        shutil.rmtree(self.state, ignore_errors=True)


class Link:
    """A connection of the gateway under test to a peer."""

    def __init__(self, site: AgentSite, peer: Peer, id: str) -> None:
        self.site = site
        self.peer = peer
        self.id = id

    @property
    def state(self) -> str:
        """The state in the newest report: up, down, error; empty without a report."""
        report = self.site.report(self.id)
        return report.state if report else ""

    @property
    def reason(self) -> str:
        """The reason in the newest report."""
        report = self.site.report(self.id)
        return report.reason if report else ""

    def wait(self, state: str, seconds: float = 20.0) -> None:
        """Wait for a state."""
        until(lambda: self.state == state, seconds, self.tell)

    def wait_reason(self, words: str, seconds: float = 20.0) -> str:
        """Wait until the reason contains these words, a regular expression; return it."""
        until(lambda: bool(re.search(words, self.reason)), seconds, self.tell)
        return self.reason

    def tell(self) -> str:
        """Return what explains a failure: the report, and the ends of both logs."""
        return f"{self.site.report(self.id)}\n{self.site.log[-4000:]}\n--- peer\n{self.peer.log[-2500:]}"

    def children(self) -> list[tuple[str, int]]:
        """Return the installed children: the names of their IKE SAs, and these SAs' unique ids."""
        return [
            (sa.name, sa.unique_id)
            for sa in self.site.sas()
            for child in sa.children
            if child.name.startswith(self.id) and child.state == "INSTALLED"
        ]

    def is_rekeyed(self) -> bool:
        """True once the first rekey is over, after which SPIs stay."""
        children = [child for sa in self.site.sas() for child in sa.children if child.name.startswith(self.id)]
        return all_rekeyed(children)

    def wait_applied(self, seconds: float = 20.0) -> None:
        """Wait until the newest revision is up."""
        revision = self.site.connections[self.id].revision
        until(lambda: (r := self.site.report(self.id)) is not None and r.revision == revision, seconds, self.tell)
        self.wait("up")

    def settle(self) -> None:
        """Wait until the tunnel is up and its first rekey is over."""
        self.wait("up")
        until(self.is_rekeyed, 20.0, self.tell)

    def ping(self, count: int = 5, interval: float = 0.05, timeout: int = 1) -> Ping:
        """Ping the peer from the host behind the gateway."""
        return ping(self.site.host, self.peer.in4, count, interval, timeout)

    def assert_pings(self, count: int = 5) -> None:
        """Assert that pings pass, as ESP and never in plaintext. Waits for the first rekey, which may lose a packet."""
        end = time.monotonic() + 4.0
        while not self.is_rekeyed() and time.monotonic() < end:
            time.sleep(0.05)
        with self.peer.recorder() as recorded:
            answer = ping_with_retry(lambda: self.ping(count))
        assert (answer.received, recorded.plaintext) == (count, 0), (answer, self.tell())
        assert recorded.esp >= 2 * count, "the pings were not carried by ESP"

    def listed(self) -> list[dict[str, Any]]:
        """Return the IKE SAs that carry the connection, with all fields that VICI lists."""
        with self.site.session() as session:
            messages = [decoded(message) for message in session.list_sas()]
        return [
            sa | {"name": name}
            for message in messages
            for name, sa in message.items()
            if any(child["name"].startswith(self.id) for child in sa.get("child-sas", {}).values())
        ]
