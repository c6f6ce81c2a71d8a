"""A certificate of a project's own CA is renewed by itself, beside the one that is in use, and no ping is lost."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from linkspan.api.resources import certificate_renewal
from linkspan.drivers.linux import esp_backend
from linkspan.lab.fabric import ping
from tests.harness.certified import comes_up
from tests.harness.ours import VPN, Ours, raw_charon
from tests.harness.own_ca import OwnCa, connect, load
from tests.harness.peer import Peer
from tests.harness.world import until

pytestmark = [pytest.mark.wire, pytest.mark.root]

PINGS, INTERVAL = 6000, 0.005
LOST = 0 if esp_backend.detect() == "kernel" else 3
"""Pings that user-space ESP may lose when a child is replaced."""


def age(ours: Ours, certificate: str) -> None:
    """Let a certificate be as old as one that is due, as far as the database knows."""
    start = datetime.now(UTC) - timedelta(days=3 * 365)
    with sqlite3.connect(ours.world.state / "linkspan.db", timeout=20.0) as connection:
        connection.execute(
            "UPDATE certificate SET not_before = ? WHERE id = ?", (start.strftime("%Y-%m-%dT%H:%M:%SZ"), certificate)
        )
    connection.close()


@pytest.mark.parametrize("initiator", ["bi-directional", "response-only"])
def test_a_certificate_is_renewed_beside_the_one_in_use(ours: Ours, peer: Peer, initiator: str) -> None:
    ca = OwnCa(ours)
    load(ours, peer, ca.peer, ca.pem)
    link = connect(ours, peer, ca.certificate, ca.anchor, initiator=initiator)
    if initiator == "response-only":
        link.wait_reason("waits for the peer")
        until(lambda: comes_up(peer), 20.0, lambda: str(link.shown))
    link.wait_rekeyed(30.0)
    link.assert_pings()

    def shown() -> tuple[str, str]:
        found = ours.user.request("GET", f"{VPN}/certificates/{ca.certificate}")["certificate"]
        return found["fingerprint"], found["not_after"]

    def names() -> set[str]:
        return {child["ike"]["name"] for child in link.listed()}

    before, versions = shown(), names()
    with ThreadPoolExecutor(1) as pool, peer.recorder() as seen:
        pinging = pool.submit(ping, ours.host, peer.in4, PINGS, INTERVAL)
        age(ours, ca.certificate)
        until(lambda: shown() != before, certificate_renewal.INTERVAL + 10.0)
        # Its key is the same, and so is the end to a day: it is the certificate that makes the version.
        until(lambda: len(names()) == 1 and names() != versions, 20.0, lambda: f"{names()} {link.shown}")
        answer = pinging.result()
    link.wait("ACTIVE")
    print(f"{initiator}: {answer.sent - answer.received} of {answer.sent} pings lost, {seen.esp} ESP packets")
    assert seen.plaintext == 0
    assert answer.sent - answer.received <= LOST
    assert seen.esp >= 2 * answer.received, "the pings were not carried by ESP"
    with raw_charon(ours) as session:
        assert len(session.get_keys()["keys"]) == 1
