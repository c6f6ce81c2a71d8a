"""admin_state_up of connection, service, router and networks: false deletes the SAs at both ends; nothing passes or
leaks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import vici

from linkspan.cli.client import ApiError
from tests.harness.ours import CONNECTIONS, Ours
from tests.harness.peer import Peer
from tests.harness.world import until

pytestmark = [pytest.mark.wire, pytest.mark.root]


@pytest.mark.shows("connection.admin_state_up")
def test_a_disabled_connection_forwards_nothing(ours: Ours, peer: Peer) -> None:
    peer.load(ours.v4, ours.psk)
    link = ours.connect(peer, admin_state_up=False)
    link.wait("DOWN")
    assert link.reason == "admin_state_up is false"
    assert_nothing_passes(ours, peer)
    link.set(admin_state_up=True)
    link.wait("ACTIVE")
    link.assert_pings()
    link.set(admin_state_up=False)
    peer.wait_down()
    link.wait("DOWN")
    assert_nothing_passes(ours, peer)


def assert_nothing_passes(ours: Ours, peer: Peer) -> None:
    until(lambda: peer.sas() == [], 5.0, lambda: str(peer.sas()))
    assert_no_packet_passes(ours, peer)


def assert_no_packet_passes(ours: Ours, peer: Peer) -> None:
    with ours.world.next_hop(), peer.recorder() as seen:
        answer = ours.ping(peer.in4, 5)
    assert (answer.received, seen.esp, seen.plaintext) == (0, 0, 0)


@pytest.mark.shows("service.admin_state_up")
def test_a_disabled_service_disables_its_connections(ours: Ours, new_peer: Callable[[], Peer]) -> None:
    peer, other = new_peer(), new_peer()
    for loaded in (peer, other):
        loaded.load(ours.v4, ours.psk)
    beside = ours.connect(other)
    service = ours.create("vpnservices", router_id=ours.router_id, subnet_id=ours.subnets[4], admin_state_up=False)
    link = ours.connect(peer, vpnservice_id=service)
    link.wait("DOWN")
    assert_nothing_passes(ours, peer)
    ours.update("vpnservices", service, admin_state_up=True)
    link.wait("ACTIVE")
    link.assert_pings()
    beside.wait_rekeyed()
    before = beside.sas()
    ours.update("vpnservices", service, admin_state_up=False)
    peer.wait_down()
    link.wait("DOWN")
    assert link.reason == "admin_state_up is false"
    assert_nothing_passes(ours, peer)
    beside.assert_pings()
    assert beside.sas() == before


def disabled_object(ours: Ours, what: str) -> tuple[str, str]:
    """Return path and id of the gateway's router, inside or external network."""
    if what == "router":
        return "routers", ours.router_id
    if what == "external network":
        return "networks", ours.world.lab["internet"]["network_id"]
    return "networks", ours.user.request("GET", f"/v2.0/subnets/{ours.subnets[4]}")["subnet"]["network_id"]


@pytest.mark.shows("router.admin_state_up", "network.admin_state_up")
@pytest.mark.parametrize("what", ["router", "network", "external network"])
def test_a_disabled_router_or_network_forwards_nothing(ours: Ours, new_peer: Callable[[], Peer], what: str) -> None:
    """Connections read DOWN with the reason, at once, and `true` brings them back."""
    peer, late = new_peer(), new_peer()
    for loaded in (peer, late):
        loaded.load(ours.v4, ours.psk)
    link = ours.connect(peer)
    link.wait("ACTIVE")
    link.assert_pings()
    path, id = disabled_object(ours, what)
    ours.set_admin_state(path, id, True)
    assert link.status == "ACTIVE", "true changes nothing"
    assert ours.ping("10.1.0.1").received == 3
    ours.set_admin_state(path, id, False)
    peer.wait_down(5.0)
    link.wait("DOWN", 5.0)
    words = "network of 10.1.0.0/24" if what == "network" else what
    assert link.reason == f"admin_state_up of the {words} is false"
    status = ("ACTIVE", "") if what == "network" else ("DOWN", link.reason)
    until(lambda: ours.service_status() == status, 5.0, lambda: str(ours.service_status()))
    assert_nothing_passes(ours, peer)
    assert ours.ping("10.1.0.1").received == (3 if what == "external network" else 0)
    # A connection that is made meanwhile, and a peer that initiates.
    other = ours.connect(late)
    other.wait_reason(link.reason, 5.0)
    with late.recorder() as seen, pytest.raises(vici.exception.CommandException):
        late.initiate(seconds=2.0)
    if what != "network":
        assert seen.ike(sent=False) == [], "a closed outside interface answers nothing"
    assert_no_packet_passes(ours, late)
    ours.delete(CONNECTIONS, other.id)
    with pytest.raises(ApiError, match="not found"):
        other.shown  # noqa: B018 # the read is what fails
    ours.set_admin_state(path, id, True)
    link.wait("ACTIVE")
    link.assert_pings()
    until(lambda: ours.service_status() == ("ACTIVE", ""), 5.0)
