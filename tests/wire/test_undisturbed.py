"""Editing one connection never disturbs another on the same gateway: not one ping lost, not one SPI changed."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest

from linkspan.lab.fabric import ping
from tests.harness.world import World, until

pytestmark = [pytest.mark.wire, pytest.mark.root]

COUNT, INTERVAL = 700, 0.002
CONNECTION = "ipsec-site-connections", "ipsec_site_connection"
IKE = "ikepolicies", "ikepolicy"
IPSEC = "ipsecpolicies", "ipsecpolicy"

SAMPLE: list[tuple[tuple[str, str], dict[str, Any]]] = [
    (CONNECTION, {"psk": "another key"}),
    (CONNECTION, {"dpd": {"action": "restart", "interval": 5, "timeout": 20}}),
    (CONNECTION, {"mtu": 1300}),
    (CONNECTION, {"admin_state_up": False}),
    (IPSEC, {"encryption_algorithm": "aes-256-gcm-16"}),
]
REST: list[tuple[tuple[str, str], dict[str, Any]]] = [
    (CONNECTION, {"name": "other", "description": "words"}),
    (CONNECTION, {"peer_address": "198.51.100.77"}),
    (CONNECTION, {"peer_id": "somebody@example.org"}),
    (CONNECTION, {"local_id": "keyid:one of us"}),
    (CONNECTION, {"initiator": "response-only"}),
    (CONNECTION, {"peer_ep_group_id": "group"}),
    (IKE, {"auth_algorithm": "sha512"}),
    (IKE, {"encryption_algorithm": "aes-256"}),
    (IKE, {"pfs": "group19"}),
    (IKE, {"ike_version": "v1"}),
    (IKE, {"phase1_negotiation_mode": "aggressive"}),
    (IKE, {"lifetime": {"value": 7200}}),
    (IPSEC, {"auth_algorithm": "sha384"}),
    (IPSEC, {"pfs": "group20"}),
    (IPSEC, {"lifetime": {"units": "kilobytes", "value": 100_000}}),
    (IPSEC, {"transform_protocol": "ah"}),
    (IPSEC, {"encapsulation_mode": "transport"}),
]


class Neighbour(msgspec.Struct, frozen=True):
    """A connection beside the laboratory's, on the same two gateways, with identities and policies of its own."""

    ids: dict[str, str]
    groups: dict[str, str]


def create(world: World, kind: tuple[str, str], **values: Any) -> str:
    id: str = world.user.request("POST", f"/v2.0/vpn/{kind[0]}", {kind[1]: values})[kind[1]]["id"]
    return id


@pytest.fixture(scope="module")
def neighbour(world: World) -> Neighbour:
    policies = {"ikepolicies": create(world, IKE, name="a"), "ipsecpolicies": create(world, IPSEC, name="a")}
    group = ("endpoint-groups", "endpoint_group")
    made: dict[str, str] = {}
    for side, other in (("left", "right"), ("right", "left")):
        here, there = world.lab["sites"][side], world.lab["sites"][other]
        cidr = {"left": "fd00:1::/64", "right": "fd00:2::/64"}[other]
        made[side] = create(
            world,
            CONNECTION,
            name=f"a-{side}",
            vpnservice_id=create(world, ("vpnservices", "vpnservice"), name=f"a-{side}", router_id=here["router_id"]),
            ikepolicy_id=policies["ikepolicies"],
            ipsecpolicy_id=policies["ipsecpolicies"],
            peer_address=there["gateway"]["outside_address"],
            peer_id=f"a-{other}",
            local_id=f"a-{side}",
            local_ep_group_id=create(world, group, type="subnet", endpoints=[here["subnet_ids"][1]]),
            peer_ep_group_id=create(world, group, type="cidr", endpoints=[cidr]),
            psk="a key of its own",
        )
    for id in made.values():
        world.wait_status(id, "ACTIVE")
    elsewhere = create(world, group, type="cidr", endpoints=["fd00:9::/64"])
    return Neighbour({"ipsec-site-connections": made["left"], **policies}, {"group": elsewhere})


def spis(world: World) -> list[tuple[str, str]]:
    """The SPIs of the laboratory's own connection at the left gateway."""
    id = world.lab["sites"]["left"]["connection_id"]
    with world.charon("left") as charon:
        children = [child for sa in charon.sas() for child in sa.children]
    mine = [child for child in children if child.name.startswith(id) and child.state == "INSTALLED"]
    return sorted((child.spi_in, child.spi_out) for child in mine)


def one_each(world: World) -> bool:
    return (
        world.renewed("left")
        and len(spis(world)) == 1
        and world.connection(world.lab["sites"]["left"]["connection_id"])["status"] == "ACTIVE"
    )


@pytest.mark.parametrize(
    ("kind", "values"),
    [*SAMPLE, *(pytest.param(*case, marks=pytest.mark.whole) for case in REST)],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else value[1],
)
def test_an_edit_of_one_leaves_the_other_alone(
    world: World, neighbour: Neighbour, kind: tuple[str, str], values: dict[str, Any]
) -> None:
    path, singular = kind
    url = f"/v2.0/vpn/{path}/{neighbour.ids[path]}"
    values = {
        key: neighbour.groups.get(value, value) if isinstance(value, str) else value for key, value in values.items()
    }
    until(lambda: one_each(world), 30.0)
    before = spis(world)
    stored = world.user.request("GET", url)[singular]
    with ThreadPoolExecutor(1) as pool, world.wire() as wire:
        pinging = pool.submit(ping, world.host("left"), "10.2.0.10", COUNT, INTERVAL)
        time.sleep(0.3)
        world.user.request("PUT", url, {singular: values})
        time.sleep(0.5)
        world.user.request("PUT", url, {singular: {key: stored[key] for key in values}})
        answer = pinging.result()
    assert (answer.received, answer.sent) == (COUNT, COUNT)
    assert spis(world) == before
    assert wire.tally.protected >= 2 * COUNT, "without ESP on the wire, '0 lost' would say nothing"
    assert wire.tally.clear == 0
