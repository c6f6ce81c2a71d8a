"""Services of one router, connections to one peer, and projects with equal networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import vici

from linkspan.cli.client import ApiError
from linkspan.lab.fabric import ping
from tests.harness.ours import CONNECTIONS, LOCAL4, LOCAL6, VPN, Ours
from tests.harness.peer import Peer
from tests.harness.project_site import ProjectSite
from tests.harness.world import ping_with_retry, until

pytestmark = [pytest.mark.wire, pytest.mark.root]

ESP = ["aes128-sha256-modp2048"]
INSIDE, BEYOND, THERE = "10.50.0.0/24", "10.60.0.0/24", "10.60.0.1"


def test_two_services_of_a_router_share_an_ike_sa_with_a_peer(ours: Ours, peer: Peer) -> None:
    children = {
        "four": {"local_ts": [peer.net4], "remote_ts": [LOCAL4], "esp_proposals": ESP},
        "six": {"local_ts": [peer.net6], "remote_ts": [LOCAL6], "esp_proposals": ESP},
    }
    peer.load(ours.v4, ours.psk, children=children)
    four = ours.connect(peer)
    six = ours.connect(peer, local=[6], peers=[peer.net6])
    assert four.shown["vpnservice_id"] != six.shown["vpnservice_id"]
    for link in (four, six):
        link.wait("ACTIVE")
    four.assert_pings(peer.in4)
    six.assert_pings(peer.in6)
    assert len(peer.sas()) == 1, "one IKE SA with the children of both"
    for values, words in (
        ({"psk": "another key", "peer_cidrs": ["10.97.0.0/24"]}, "a different psk"),
        ({"local": [4], "peers": [peer.net4.replace("/24", "/25")]}, "overlapping CIDRs, in another service"),
    ):
        with pytest.raises(ApiError, match=words) as refused:
            ours.connect(peer, **values)
        assert (refused.value.status, refused.value.type) == (409, "IPsecSiteConnectionConflict")
    before = four.sas()
    ours.delete(CONNECTIONS, six.id)
    peer.wait_up(1)
    four.assert_pings(peer.in4)
    assert four.sas() == before, "deleting one connection changed the other's SA"


@pytest.mark.security(
    "tenants",
    tried="two projects with equal networks, identities and peer: traffic, each other's key, deletion",
    control="itself: the refused attempt comes up as soon as it has the other project's key",
)
@pytest.mark.shows("connection.project_id", "service.project_id")
def test_two_projects_with_equal_networks_are_isolated(
    new_site: Callable[..., ProjectSite], new_peer: Callable[[], Peer]
) -> None:
    """Equal CIDRs at both ends, equal identities, different keys: no packet reaches the other project's peer."""
    sites = [new_site("mine"), new_site("theirs", "other")]
    peers = [new_peer(), new_peer()]
    links = []
    for site, peer in zip(sites, peers, strict=True):
        peer.run("ip", "address", "add", f"{THERE}/24", "dev", "lo")
        load(peer, site, site.psk)
        links.append(
            site.connect(peer, peer_cidrs=[BEYOND], peer_id="branch", local_id="head", initiator="bi-directional")
        )
    for link in links:
        link.wait("ACTIVE")
    assert links[0].shown["project_id"] != links[1].shown["project_id"]
    for own_index, other_index in ((0, 1), (1, 0)):
        with peers[own_index].recorder() as own, peers[other_index].recorder() as others:
            answer = ping_with_retry(lambda own_index=own_index: ping(sites[own_index].host, THERE, 10, 0.02, 1))  # type: ignore[misc]
        assert (answer.received, own.plaintext, others.plaintext) == (10, 0, 0)
        assert own.esp >= 20
        assert others.esp == 0, "a packet reached the other project's peer"
    # Each project sees its own objects only and cannot reference the other's.
    for own_index, other_index in ((0, 1), (1, 0)):
        with pytest.raises(ApiError) as hidden:
            sites[own_index].user.request("GET", f"{VPN}/{CONNECTIONS}/{links[other_index].id}")
        assert hidden.value.status == 404
        with pytest.raises(ApiError) as foreign:
            sites[own_index].connect(peers[own_index], vpnservice_id=links[other_index].shown["vpnservice_id"])
        assert foreign.value.status == 404
    # The other gateway refuses the first peer's own key. Control: with the other project's key it comes up.
    for link in links:
        link.wait_rekeyed()
    before = [link.sas() for link in links]
    links[1].set(peer_address=peers[0].v4)
    peers[1].wait_down()
    load(peers[0], sites[1], sites[0].psk, name="wrong")
    with pytest.raises(vici.exception.CommandException):
        peers[0].initiate(ike="wrong", seconds=3.0)
    assert links[1].sas() == []
    assert links[0].sas() == before[0]
    peers[0].unload("wrong")
    # Both have the same peer now: it takes each with its own key, and what happens to one does nothing to the other.
    load(peers[0], sites[1], sites[1].psk, name="theirs")
    links[1].wait("ACTIVE")
    assert links[0].sas() == before[0]
    assert links[1].sas()
    sites[1].delete(CONNECTIONS, links[1].id)
    until(lambda: "theirs" not in {sa["name"] for sa in peers[0].sas()}, 20.0)
    assert links[0].sas() == before[0], "deleting one project's connection ended the other's tunnel"


def load(peer: Peer, site: ProjectSite, psk: str, **values: Any) -> None:
    child = {"local_ts": [BEYOND], "remote_ts": [INSIDE]}
    peer.load(site.v4, psk, local="fqdn:branch", remote="fqdn:head", child=child, **values)
