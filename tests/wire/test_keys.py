"""Keys are rotated under traffic, and a machine that was lost comes back from its backup with its tunnels."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from linkspan.drivers.linux import esp_backend
from linkspan.lab.fabric import ping
from linkspan.settings import instance_id
from tests.harness.world import World, until

pytestmark = [pytest.mark.wire, pytest.mark.root]

PINGS, INTERVAL = 1000, 0.002


def linkspan(state: Path, *arguments: str) -> str:
    """Run a command on the machine with this state directory; return its output."""
    command = [sys.executable, "-m", "linkspan.bootstrap", *arguments, "--state", str(state)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_rotation_touches_no_tunnel(service: World) -> None:
    until(service.one_tunnel, 40.0)
    before = service.spis("left"), service.spis("right")
    id = service.lab["sites"]["left"]["connection_id"]
    shown = service.connection(id)
    with ThreadPoolExecutor(1) as pool, service.wire() as wire:
        pinging = pool.submit(ping, service.host("left"), "10.2.0.10", PINGS, INTERVAL)
        linkspan(service.state, "key", "rotate", "--remove-old")
        answer = pinging.result()
    assert (answer.sent, answer.received) == (PINGS, PINGS)
    assert wire.tally.plaintext == 0
    assert wire.tally.protected >= 2 * PINGS, "the pings were not carried by ESP"
    assert (service.spis("left"), service.spis("right")) == before
    assert service.connection(id) == shown
    assert len(json.loads(linkspan(service.state, "key", "list", "-f", "json"))) == 1
    print(f"{PINGS} of {PINGS} pings at 2 ms ({esp_backend.detect()}), {wire.tally.protected} ESP packets")


def test_tunnels_come_back_from_a_backup(service: World, tmp_path: Path) -> None:
    """Restored into an empty state directory: the same connections, up, with the same keys. It has another instance, so
    that it shares nothing with the machine that the backup is of."""
    passphrase, backup, state = tmp_path / "passphrase", tmp_path / "backup", tmp_path / "restored"
    passphrase.write_text("a passphrase of some length\n")
    ids = {side: site["connection_id"] for side, site in service.lab["sites"].items()}
    before = {side: service.connection(id)["psk"] for side, id in ids.items()}
    linkspan(service.state, "db", "backup", str(backup), "--passphrase-file", str(passphrase))
    assert instance_id(state) != instance_id(service.state)
    linkspan(state, "db", "restore", str(backup), "--passphrase-file", str(passphrase))
    again = World(state)
    try:
        assert {side: site["connection_id"] for side, site in again.lab["sites"].items()} == ids
        assert {side: again.connection(id)["psk"] for side, id in ids.items()} == before
        for id in ids.values():
            again.wait_status(id, "ACTIVE")
        # Both ends come back at once and initiate: one of two IKE SAs is deleted while the connections are ACTIVE.
        until(again.one_tunnel, 40.0)
        with again.wire() as wire:
            answer = ping(again.host("left"), "10.2.0.10", 20, 0.02)
        assert answer.received == answer.sent == 20
        assert wire.tally.plaintext == 0
        assert wire.tally.protected >= 40
    finally:
        again.stop()
