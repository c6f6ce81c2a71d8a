"""Edits under traffic: a policy in use is rolled out to both ends without a gap, and nobody else is disturbed."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from linkspan.core.tunnel.sas import IkeSa
from linkspan.drivers.linux import esp_backend
from linkspan.lab.fabric import ping
from tests.harness.world import World, until

pytestmark = [pytest.mark.wire, pytest.mark.root]

COUNT, INTERVAL = 1500, 0.002
LOST = 2 if esp_backend.detect() == "kernel" else 10
"""The most pings that a roll-out may cost. In user space a packet can be at the other end before its SA is, which takes
as long as that charon has to wait for a processor: 20 ms are allowed."""


def sas(world: World, side: str) -> tuple[IkeSa, ...]:
    with world.charon(side) as charon:
        return charon.sas()


def children(world: World, side: str) -> list[str]:
    return sorted(child.name for sa in sas(world, side) for child in sa.children if child.state == "INSTALLED")


def edit(world: World, path: str, singular: str, id: str, **values: Any) -> None:
    world.user.request("PUT", f"/v2.0/vpn/{path}/{id}", {singular: values})


def settled(world: World) -> bool:
    """Both ends are ACTIVE in their newest version, with one child each, which is renewed."""
    ids = [site["connection_id"] for site in world.lab["sites"].values()]
    return (
        all(world.connection(id)["status"] == "ACTIVE" for id in ids)
        and all(len(children(world, side)) == 1 for side in ("left", "right"))
        and world.rekeyed()
    )


@pytest.mark.parametrize(
    ("path", "singular", "key", "values"),
    [
        ("ipsecpolicies", "ipsecpolicy", "ipsec_policy_id", {"encryption_algorithm": "aes-256"}),
        ("ipsecpolicies", "ipsecpolicy", "ipsec_policy_id", {"auth_algorithm": "sha512", "pfs": "group19"}),
        ("ikepolicies", "ikepolicy", "ike_policy_id", {"encryption_algorithm": "aes-256", "pfs": "group31"}),
    ],
)
def test_a_policy_in_use_is_rolled_out_without_a_gap(
    world: World, path: str, singular: str, key: str, values: dict[str, Any]
) -> None:
    until(lambda: settled(world), 20.0)
    before = children(world, "left"), children(world, "right")
    with ThreadPoolExecutor(1) as pool, world.wire() as wire:
        pinging = pool.submit(ping, world.host("left"), "10.2.0.10", COUNT, INTERVAL)
        time.sleep(0.5)
        edit(world, path, singular, world.lab[key], **values)
        answer = pinging.result()
    until(lambda: settled(world), 20.0)
    after = children(world, "left"), children(world, "right")
    assert before[0] != after[0]
    assert before[1] != after[1]
    assert wire.tally.plaintext == 0
    assert wire.tally.protected >= answer.received * 2, "without ESP on the wire, few lost would say nothing"
    print(f"{values}: {answer.sent - answer.received} of {answer.sent} lost, one every {INTERVAL * 1000:.0f} ms")
    assert answer.sent - answer.received <= LOST


def test_a_name_reaches_nobody(world: World) -> None:
    until(lambda: settled(world), 20.0)
    until(lambda: world.rekeyed("left"), 20.0)
    before = world.spis("left")
    edit(world, "ikepolicies", "ikepolicy", world.lab["ike_policy_id"], name="renamed", description="x")
    time.sleep(1.0)
    assert world.spis("left") == before


def test_another_key_needs_another_authentication(world: World) -> None:
    until(lambda: settled(world), 20.0)
    left, right = (world.lab["sites"][side]["connection_id"] for side in ("left", "right"))
    edit(world, "ipsec-site-connections", "ipsec_site_connection", left, psk="another key")
    # Either end may be the one that initiates: one reads that the peer's key is wrong, the other that ours is.
    until(lambda: all("pre-shared key" in (world.connection(id)["status_reason"] or "") for id in (left, right)), 10.0)
    assert world.connection(left)["status"] == "PENDING_UPDATE"
    assert world.connection(right)["status"] == "DOWN", "it was up in this version, so there is no grace"
    edit(world, "ipsec-site-connections", "ipsec_site_connection", right, psk="another key")
    until(lambda: settled(world), 20.0)
