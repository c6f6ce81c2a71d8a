"""Updating a connection never disturbs another on the same gateway: no ping is lost and no SPI changes."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest

from linkspan.core.schema.resources import VPN
from linkspan.lab.fabric import ping
from tests.harness.world import World, until

pytestmark = [pytest.mark.wire, pytest.mark.root]

COUNT, INTERVAL = 700, 0.002
CONNECTION = "ipsec-site-connections", "ipsec_site_connection"
IKE = "ikepolicies", "ikepolicy"
IPSEC = "ipsecpolicies", "ipsecpolicy"
SERVICE = "vpnservices", "vpnservice"
GROUP = "endpoint-groups", "endpoint_group"
LEGACY = "ipsec-site-connections", "ipsec_site_connection", "of a service with a subnet"

SAMPLE: list[tuple[tuple[str, ...], dict[str, Any]]] = [
    (CONNECTION, {"psk": "another key"}),
    (CONNECTION, {"dpd": {"action": "restart", "interval": 5, "timeout": 20}}),
    (CONNECTION, {"mtu": 1300}),
    (CONNECTION, {"admin_state_up": False}),
    (IPSEC, {"encryption_algorithm": "aes-256-gcm-16"}),
]
REST: list[tuple[tuple[str, ...], dict[str, Any]]] = [
    (CONNECTION, {"name": "other", "description": "words"}),
    (CONNECTION, {"peer_address": "198.51.100.77"}),
    (CONNECTION, {"peer_id": "somebody@example.org"}),
    (CONNECTION, {"local_id": "keyid:one of us"}),
    (CONNECTION, {"initiator": "response-only"}),
    (CONNECTION, {"peer_ep_group_id": "peer group"}),
    (CONNECTION, {"local_ep_group_id": "local group", "peer_ep_group_id": "peer group of v4"}),
    (LEGACY, {"peer_cidrs": ["10.77.1.0/24"]}),
    (SERVICE, {"name": "other", "description": "words"}),
    (SERVICE, {"admin_state_up": False}),
    (GROUP, {"name": "other", "description": "words"}),
    (IKE, {"name": "other", "description": "words"}),
    (IKE, {"auth_algorithm": "sha512"}),
    (IKE, {"encryption_algorithm": "aes-256"}),
    (IKE, {"pfs": "group19"}),
    (IKE, {"ike_version": "v1"}),
    (IKE, {"phase1_negotiation_mode": "aggressive"}),
    (IKE, {"lifetime": {"value": 7200}}),
    (IKE, {"crypto_profile": "cnsa1"}),
    (IPSEC, {"crypto_profile": "recommended"}),
    (IPSEC, {"name": "other", "description": "words"}),
    (IPSEC, {"auth_algorithm": "sha384"}),
    (IPSEC, {"pfs": "group20"}),
    (IPSEC, {"lifetime": {"units": "kilobytes", "value": 100_000}}),
    (IPSEC, {"transform_protocol": "ah"}),
    (IPSEC, {"encapsulation_mode": "transport"}),
    (CONNECTION, {"local_certificate_id": "certificate", "trust_anchor_id": "anchor", "auth_mode": "certs"}),
    (CONNECTION, {"peer_certificates": "peer certificates"}),
    (CONNECTION, {"ppk_id": "a", "ppk": "a key", "ppk_required": True}),
]
WITHOUT_CASES = {"certificate", "trust_anchor"}
"""Resources that no connection here uses: what is changed of them, and reaches whom, is tested at the API."""


class Neighbour(msgspec.Struct, frozen=True):
    """Connections beside the laboratory's, with their own identities and policies: ids by the updated resource.

    One is up between the same two gateways, with endpoint groups; the other, of a service with a subnet, has a peer
    that never answers. `groups`: endpoint groups that an update may reference.
    """

    ids: dict[tuple[str, ...], str]
    groups: dict[str, str]


def create(world: World, kind: tuple[str, str], **values: Any) -> str:
    id: str = world.user.request("POST", f"/v2.0/vpn/{kind[0]}", {kind[1]: values})[kind[1]]["id"]
    return id


@pytest.fixture(scope="module")
def neighbour(world: World) -> Neighbour:
    policies = {"ikepolicy_id": create(world, IKE, name="a"), "ipsecpolicy_id": create(world, IPSEC, name="a")}
    left = world.lab["sites"]["left"]
    connections: dict[str, str] = {}
    services: dict[str, str] = {}
    local: dict[str, str] = {}
    for side, other in (("left", "right"), ("right", "left")):
        site, peer_site = world.lab["sites"][side], world.lab["sites"][other]
        cidr = {"left": "fd00:1::/64", "right": "fd00:2::/64"}[other]
        services[side] = create(world, SERVICE, name=f"a-{side}", router_id=site["router_id"])
        local[side] = create(world, GROUP, type="subnet", endpoints=[site["subnet_ids"][1]])
        connections[side] = create(
            world,
            CONNECTION,
            name=f"a-{side}",
            vpnservice_id=services[side],
            **policies,
            peer_address=peer_site["gateway"]["outside_address"],
            peer_id=f"a-{other}",
            local_id=f"a-{side}",
            local_ep_group_id=local[side],
            peer_ep_group_id=create(world, GROUP, type="cidr", endpoints=[cidr]),
            psk="a key of its own",
        )
    legacy = create(
        world,
        CONNECTION,
        vpnservice_id=left["service_id"],
        **policies,
        peer_address="198.51.100.77",
        peer_id="nobody",
        peer_cidrs=["10.77.0.0/24"],
        psk="nobody's key",
    )
    anchor = create(world, ("trust-anchors", "trust_anchor"), source="generated")
    names = {"issuer_id": anchor, "subject_alt_names": ["a-left"]}
    certificate = create(world, ("certificates", "certificate"), source="generated", **names)
    for id in connections.values():
        world.wait_status(id, "ACTIVE")
    return Neighbour(
        {
            CONNECTION: connections["left"],
            IKE: policies["ikepolicy_id"],
            IPSEC: policies["ipsecpolicy_id"],
            SERVICE: services["left"],
            GROUP: local["left"],
            LEGACY: legacy,
        },
        {
            "peer group": create(world, GROUP, type="cidr", endpoints=["fd00:9::/64"]),
            "peer group of v4": create(world, GROUP, type="cidr", endpoints=["10.9.0.0/24"]),
            "local group": create(world, GROUP, type="subnet", endpoints=[left["subnet_ids"][0]]),
            "certificate": certificate,
            "anchor": anchor,
            "peer certificates": world.user.request("GET", f"/v2.0/vpn/certificates/{certificate}")["certificate"][
                "certificate"
            ],
        },
    )


def spis(world: World) -> list[tuple[str, str]]:
    """Return the SPIs of the laboratory's own connection at the left gateway."""
    id = world.lab["sites"]["left"]["connection_id"]
    return world.spis("left", id)


def one_each(world: World) -> bool:
    return (
        world.rekeyed("left")
        and len(spis(world)) == 1
        and world.connection(world.lab["sites"]["left"]["connection_id"])["status"] == "ACTIVE"
    )


@pytest.mark.parametrize(
    ("kind", "values"),
    [*SAMPLE, *(pytest.param(*case, marks=pytest.mark.whole) for case in REST)],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else value[1],
)
def test_an_update_of_one_connection_does_not_disturb_another(
    world: World, neighbour: Neighbour, kind: tuple[str, ...], values: dict[str, Any]
) -> None:
    path, singular = kind[:2]
    url = f"/v2.0/vpn/{path}/{neighbour.ids[kind]}"
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
    assert wire.tally.protected >= 2 * COUNT, "the pings were not carried by ESP"
    assert wire.tally.plaintext == 0


def test_every_attribute_is_updated_by_a_case() -> None:
    """With `--all` the cases update every attribute that a PUT can change."""
    edited = {(kind[1], name) for kind, values in (*SAMPLE, *REST) for name in values}
    assert edited == {
        (resource.singular, attribute.name)
        for resource in VPN
        for attribute in resource.attributes
        if attribute.put and resource.name not in WITHOUT_CASES
    }
