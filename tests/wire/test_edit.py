"""Updates under traffic: a policy in use is rolled out at both ends without a gap."""

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
"""The pings that a roll-out may lose. With user-space ESP a packet can arrive before the other end has its SA,
which takes as long as its charon waits for a processor: 20 ms are allowed."""


def sas(world: World, side: str) -> tuple[IkeSa, ...]:
    with world.charon(side) as charon:
        return charon.sas()


def children(world: World, side: str) -> list[str]:
    return sorted(child.name for sa in sas(world, side) for child in sa.children if child.state == "INSTALLED")


def edit(world: World, path: str, singular: str, id: str, **values: Any) -> None:
    world.user.request("PUT", f"/v2.0/vpn/{path}/{id}", {singular: values})


def settled(world: World) -> bool:
    """True if both ends are ACTIVE in their newest version, each with one child that has been rekeyed."""
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
    assert wire.tally.protected >= answer.received * 2, "the pings were not carried by ESP"
    print(f"{values}: {answer.sent - answer.received} of {answer.sent} lost, one every {INTERVAL * 1000:.0f} ms")
    assert answer.sent - answer.received <= LOST


def test_a_changed_name_changes_no_sa(world: World) -> None:
    until(lambda: settled(world), 20.0)
    until(lambda: world.rekeyed("left"), 20.0)
    before = world.spis("left")
    edit(world, "ikepolicies", "ikepolicy", world.lab["ike_policy_id"], name="renamed", description="x")
    time.sleep(1.0)
    assert world.spis("left") == before
