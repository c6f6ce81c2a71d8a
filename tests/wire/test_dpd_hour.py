"""A peer that is unreachable for an hour: a gateway worker whose clock runs 120 times as fast, and real charons.

The agent's deadlines and waits use that clock; charon and the kernel run in real time. So an hour takes half a minute.
No traffic passes the tunnel before, since charon reports the age of inbound ESP in real seconds.
"""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest

from linkspan.agent.convergence import Desired
from linkspan.agent.gateway_worker import GatewayWorker, Stop
from linkspan.agent.outbox import Outbox
from linkspan.core.ipsec.selectors import pairs
from linkspan.core.state.desired import Dpd
from linkspan.core.tunnel.attempts import ATTEMPT, BACKOFF
from linkspan.drivers.charon.daemon import StrongswanCharon
from tests.drivers.conftest import RunningGateway
from tests.drivers.machine import connection, eventually, gateway, isolated_machine, ping, run
from tests.harness.peer import CUT
from tests.wire.conftest import need_charon

pytestmark = [pytest.mark.wire, pytest.mark.root]

PACE = 120
HOUR = 3600.0


def clock() -> float:
    return time.monotonic() * PACE


class Reports:
    """The worker's last report of each connection."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self.last: dict[str, tuple[str, str]] = {}

    def state(self, id: str) -> str:
        self.last.update({report.id: (report.state, report.reason) for report in self._outbox.take(0).connections})
        return self.last.get(id, ("", ""))[0]


def test_restart_reconnects_to_a_peer_after_an_hour(tmp_path: Path) -> None:
    need_charon()
    with isolated_machine(tmp_path) as isolated:
        drivers = isolated.drivers()
        far = RunningGateway(drivers, 2, 1, dpd=Dpd("disabled", 1, 600))
        drivers.leak_guard.apply(far.gateway, pairs(far.connection))
        outbox = Outbox()
        reports = Reports(outbox)
        near = connection(1, 2, dpd=Dpd("restart", 1, 600))
        worker = GatewayWorker(gateway(1), drivers, outbox, clock)
        worker.start()
        try:
            worker.send(Desired(gateway(1), {near.id: near}, ()))
            eventually(lambda: reports.state(near.id) == "up")
            namespace, far_namespace = (drivers.namespaces.name(gateway(number).id) for number in (1, 2))
            run(far_namespace, "nft", CUT)
            assert isinstance(far.charon, StrongswanCharon)
            os.kill(far.charon.pid, signal.SIGKILL)
            cut_at = clock()
            eventually(lambda: reports.state(near.id) == "down", 12.0)
            detected_at = clock()
            assert 0.7 * 600 <= detected_at - cut_at <= 1.3 * 600
            while clock() < cut_at + HOUR:
                time.sleep(0.1)
            assert reports.state(near.id) == "down"
            (log,) = tmp_path.glob(f"**/{gateway(1).id}/charon.log")
            attempts = len(re.findall("initiating IKE_SA", log.read_text())) - 1
            patience = ATTEMPT + 1.25 * BACKOFF[-1]
            print(f"{attempts} attempts in {(clock() - detected_at) / 60:.0f} minutes")
            assert attempts > 0.4 * HOUR / patience, "the agent stopped initiating"

            assert far.charon.start()
            far.load()
            run(far_namespace, "nft", "delete", "table", "inet", "cut")
            back_at = clock()
            eventually(lambda: reports.state(near.id) == "up", 10.0)
            print(f"up {clock() - back_at:.0f} s after the peer was reachable again")
            assert ping(namespace, "10.2.0.1", "10.1.0.1") == 3
        finally:
            worker.send(Stop(teardown=True))
            worker.join(20.0)
