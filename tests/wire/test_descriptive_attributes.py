"""Attributes for users and programs: changing them changes no packet, and status attributes follow the tunnel."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from linkspan.cli.client import ApiError
from tests.harness.ours import CONNECTIONS, Ours
from tests.harness.peer import Peer
from tests.harness.world import until

pytestmark = [pytest.mark.wire, pytest.mark.root]


@pytest.mark.shows(
    "service.name",
    "service.description",
    "ike_policy.name",
    "ike_policy.description",
    "ipsec_policy.name",
    "ipsec_policy.description",
    "connection.name",
    "connection.description",
    "endpoint_group.name",
    "endpoint_group.description",
)
def test_names_and_descriptions_change_no_packet(ours: Ours, peer: Peer) -> None:
    peer.load(ours.v4, ours.psk)
    link = ours.connect(peer, local=[4], peers=[peer.net4])
    link.wait_rekeyed()
    before, shown = link.sas(), link.shown
    with peer.recorder() as seen:
        for path, id in (
            ("vpnservices", shown["vpnservice_id"]),
            ("ikepolicies", shown["ikepolicy_id"]),
            ("ipsecpolicies", shown["ipsecpolicy_id"]),
            ("endpoint-groups", shown["local_ep_group_id"]),
            ("endpoint-groups", shown["peer_ep_group_id"]),
            (CONNECTIONS, link.id),
        ):
            ours.update(path, id, name="another name", description="other words")
        time.sleep(1.0)
    assert seen.ike(sent=True) == seen.ike(sent=False) == []
    assert link.sas() == before
    assert link.shown["status"] == "ACTIVE"


@pytest.mark.shows(
    "service.id",
    "ike_policy.id",
    "ipsec_policy.id",
    "endpoint_group.id",
    "connection.id",
    "connection.vpnservice_id",
    "connection.ikepolicy_id",
    "connection.ipsecpolicy_id",
)
def test_a_reference_selects_the_object_with_that_id(ours: Ours, peer: Peer) -> None:
    """Each object has a namesake with other values."""
    peer.load(ours.v4, ours.psk, proposals=["aes256-sha384-ecp256"], child={"esp_proposals": ["aes192-sha512-ecp384"]})
    ours.create("ikepolicies", name="matrix")
    ours.create("ipsecpolicies", name="matrix")
    link = ours.connect(
        peer,
        ike={"encryption_algorithm": "aes-256", "auth_algorithm": "sha384", "pfs": "group19"},
        ipsec={"encryption_algorithm": "aes-192", "auth_algorithm": "sha512", "pfs": "group20"},
        local=[4],
        peers=[peer.net4],
    )
    link.wait("ACTIVE")
    link.wait_rekeyed()
    until(lambda: len(peer.children()) == 1, 5.0)
    (sa,), (child,) = peer.sas(), peer.children()
    assert (sa["encr-keysize"], sa["integ-alg"], sa["dh-group"]) == ("256", "HMAC_SHA2_384_192", "ECP_256")
    assert (child["encr-keysize"], child["integ-alg"]) == ("192", "HMAC_SHA2_512_256")
    assert (child["local-ts"], child["remote-ts"]) == ([peer.net4], ["10.1.0.0/24"])
    assert sa["remote-host"] == ours.v4
    # The gateway's child SA is named by the connection's id.
    assert [(mine["spi-in"], mine["spi-out"]) for mine in link.sas()] == [(child["spi-out"], child["spi-in"])]


@pytest.mark.shows(
    "service.project_id",
    "ike_policy.project_id",
    "ipsec_policy.project_id",
    "endpoint_group.project_id",
    "connection.project_id",
)
def test_references_to_objects_of_another_project_are_refused(ours: Ours, peer: Peer) -> None:
    """A reference to another project's object is answered with 404, as for a missing object, and nothing is sent."""
    peer.load(ours.v4, ours.psk)
    link = ours.connect(peer, local=[4], peers=[peer.net4])
    link.wait("ACTIVE")
    stranger, shown = ours.world.client("other"), link.shown
    ike, ipsec = (
        stranger.request("POST", f"/v2.0/vpn/{path}", {singular: {}})[singular]["id"]
        for path, singular in (("ikepolicies", "ikepolicy"), ("ipsecpolicies", "ipsecpolicy"))
    )
    body = {
        "vpnservice_id": shown["vpnservice_id"],
        "ikepolicy_id": ike,
        "ipsecpolicy_id": ipsec,
        "peer_address": peer.v4,
        "peer_id": "somebody",
        "psk": "mine",
        "local_ep_group_id": shown["local_ep_group_id"],
        "peer_ep_group_id": shown["peer_ep_group_id"],
    }
    mine = {key: shown[key] for key in ("ikepolicy_id", "ipsecpolicy_id")}
    with peer.recorder() as seen:
        for attempt in (body, body | mine):
            with pytest.raises(ApiError) as refused:
                stranger.request("POST", f"/v2.0/vpn/{CONNECTIONS}", {"ipsec_site_connection": attempt})
            assert (refused.value.status, refused.value.type) == (404, "VPNServiceNotFound")
        for path, id in ((CONNECTIONS, link.id), ("endpoint-groups", shown["peer_ep_group_id"])):
            with pytest.raises(ApiError) as refused:
                stranger.request("GET", f"/v2.0/vpn/{path}/{id}")
            assert refused.value.status == 404
            with pytest.raises(ApiError) as refused:
                stranger.request("DELETE", f"/v2.0/vpn/{path}/{id}")
            assert refused.value.status == 404
        time.sleep(0.5)
    assert not any(packet.ike and packet.ike.initial for packet in seen.packets)
    for path, id in (("ikepolicies", ike), ("ipsecpolicies", ipsec)):
        stranger.request("DELETE", f"/v2.0/vpn/{path}/{id}")
    link.assert_pings()


@pytest.mark.shows("service.external_v4_ip", "service.external_v6_ip")
def test_the_outside_addresses_are_the_sources_of_packets(ours: Ours, new_peer: Callable[[], Peer]) -> None:
    over4, over6 = new_peer(), new_peer()
    over4.load(ours.v4, ours.psk)
    over6.load(ours.v6, ours.psk)
    ours.connect(over4).wait("ACTIVE")
    ours.connect(over6, peer_address=over6.v6, peer_id=over6.v6).wait("ACTIVE")
    service = ours.world.user.request("GET", f"/v2.0/vpn/vpnservices/{ours.subnet_service}")["vpnservice"]
    for peer, attribute in ((over4, "external_v4_ip"), (over6, "external_v6_ip")):
        (sa,) = peer.sas()
        assert sa["remote-host"] == sa["remote-id"] == service[attribute]


@pytest.mark.shows(
    "connection.status",
    "connection.status_reason",
    "connection.status_code",
    "service.status",
    "service.status_reason",
    "service.status_code",
)
def test_the_status_follows_the_tunnel_with_its_reason(ours: Ours, peer: Peer) -> None:
    peer.load(ours.v4, "another key")
    link = ours.connect(peer)
    link.wait_reason("compare the pre-shared key", 3.0)
    assert (link.status, link.shown["status_code"]) == ("PENDING_CREATE", "AUTHENTICATION_REFUSED")
    peer.load(ours.v4, ours.psk)
    shown = link.wait("ACTIVE")
    assert (shown["status_reason"], shown["status_code"]) == ("", "")
    link.set(initiator="response-only")
    link.wait("ACTIVE")
    started = time.monotonic()
    peer.terminate()
    link.wait("DOWN", 5.0)
    assert time.monotonic() - started < 1.0, "DOWN was not reported within a second"
    assert (link.reason, link.shown["status_code"]) == ("the peer ended the tunnel", "PEER_DELETED")
    service = ours.world.user.request("GET", f"/v2.0/vpn/vpnservices/{ours.subnet_service}")["vpnservice"]
    assert (service["status"], service["status_code"]) == ("ACTIVE", ""), "the gateway is up, whatever its connections"
    peer.initiate()
    link.wait("ACTIVE", 5.0)


@pytest.mark.shows("connection.route_mode", "service.flavor_id", "connection.auth_mode")
def test_unsupported_values_are_refused_with_a_message(ours: Ours, peer: Peer) -> None:
    """Only static routes, no flavors and pre-shared keys are supported; other values are refused, not stored."""
    peer.load(ours.v4, ours.psk)
    link = ours.connect(peer)
    link.wait("ACTIVE")
    assert link.shown["route_mode"] == "static"
    assert link.shown["auth_mode"] == "psk"
    with pytest.raises(ApiError, match="required while auth_mode is certs"):
        ours.connect(peer, auth_mode="certs", peer_cidrs=["10.99.0.0/24"])
    with pytest.raises(ApiError, match=r"Flavor .* could not be found"):
        ours.create("vpnservices", router_id=ours.router_id, flavor_id="11111111-2222-3333-4444-555555555555")
    with pytest.raises(ApiError, match="route_mode"):
        ours.connect(peer, route_mode="dynamic", peer_cidrs=["10.99.0.0/24"])
