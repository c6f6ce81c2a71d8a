"""A peer that is away for an hour: one worker of the agent with a clock that runs 120 times as fast, real charons.

Every deadline, attempt and wait of the agent's takes its seconds on that clock; what charon, the kernel and the wire do
takes its real time. So an hour of absence with all that the agent does in it is lived through in half a minute.
Nothing passes the tunnel before it: charon tells the age of inbound ESP in real seconds.
"""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest

from linkspan.agent.gateway_worker import Desired, GatewayWorker, Stop
from linkspan.agent.outbox import Outbox
from linkspan.core.ipsec.selectors import pairs
from linkspan.core.state.desired import Dpd
from linkspan.core.tunnel.lifecycle import ATTEMPT, BACKOFF
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
    """What the worker said of a connection last."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self.said: dict[str, tuple[str, str]] = {}

    def state(self, id: str) -> str:
        self.said.update({one.id: (one.state, one.reason) for one in self._outbox.take(0).connections})
        return self.said.get(id, ("", ""))[0]


def test_restart_finds_a_peer_that_was_away_for_an_hour(tmp_path: Path) -> None:
    need_charon()
    with isolated_machine(tmp_path) as here:
        drivers = here.drivers()
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
            namespace, there = (drivers.namespaces.name(gateway(number).id) for number in (1, 2))
            run(there, "nft", CUT)
            assert isinstance(far.charon, StrongswanCharon)
            os.kill(far.charon.pid, signal.SIGKILL)
            gone = clock()
            eventually(lambda: reports.state(near.id) == "down", 12.0)
            noticed = clock()
            assert 0.7 * 600 <= noticed - gone <= 1.3 * 600
            while clock() < gone + HOUR:
                time.sleep(0.1)
            assert reports.state(near.id) == "down"
            (log,) = tmp_path.glob(f"**/{gateway(1).id}/charon.log")
            attempts = len(re.findall("initiating IKE_SA", log.read_text())) - 1
            patience = ATTEMPT + 1.25 * BACKOFF[-1]
            print(f"{attempts} attempts in {(clock() - noticed) / 60:.0f} minutes")
            assert attempts > 0.4 * HOUR / patience, "it never stops trying"

            assert far.charon.start()
            far.load()
            run(there, "nft", "delete", "table", "inet", "cut")
            back = clock()
            eventually(lambda: reports.state(near.id) == "up", 10.0)
            print(f"up {clock() - back:.0f} s after the peer was back")
            assert ping(namespace, "10.2.0.1", "10.1.0.1") == 3
        finally:
            worker.send(Stop(teardown=True))
            worker.join(20.0)
