"""admin_state_up of connection and service: false deletes the SAs at both ends; nothing passes or leaks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.harness.ours import Ours
from tests.harness.peer import Peer

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
    assert peer.sas() == []
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
