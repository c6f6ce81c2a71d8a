"""lifetime of both policies: SAs are rekeyed before its end, in seconds and in kilobytes.

The tests read charon's rekey times from VICI, and wait for rekeys with the shortest lifetime that the API accepts. The
connections with a lifetime of a minute are created first and checked last.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import msgspec
import pytest

from tests.harness.ours import Link, Ours
from tests.harness.peer import Peer
from tests.harness.recorder import CREATE_CHILD_SA, Recorder
from tests.harness.strongswan import IKE_VERSIONS, needs_ikev1
from tests.harness.world import World, until

pytestmark = [pytest.mark.wire, pytest.mark.root]


class Aging(msgspec.Struct):
    """Connections with a lifetime of a minute, their start, and the recorders of `ike`, `waits` and `initiates`.

    The last two are IKEv1 where strongSwan has it: `waits` is response-only, `initiates` bi-directional.
    """

    child: Link
    ike: Link
    waits: Link
    initiates: Link
    since: float
    wires: tuple[Recorder, Recorder, Recorder]


@pytest.fixture(scope="module")
def aging(service: World) -> Iterator[Aging]:
    ours, peers = Ours(service), [Peer(service) for _ in range(4)]
    minute = {"lifetime": {"units": "seconds", "value": 60}}
    older = minute | {"ike_version": f"v{IKE_VERSIONS[-1]}"}
    try:
        with ExitStack() as stack:
            wires = [stack.enter_context(peer.recorder()) for peer in peers]
            for peer, version in zip(peers, ("2", "2", IKE_VERSIONS[-1], IKE_VERSIONS[-1]), strict=True):
                peer.load(ours.v4, ours.psk, version=version, rekey_time="0")
            links = [
                ours.connect(peers[0], ipsec=minute),
                ours.connect(peers[1], ike=minute),
                ours.connect(peers[2], ike=older, initiator="response-only"),
                ours.connect(peers[3], ike=older),
            ]
            links[2].wait_reason("waits for the peer")
            peers[2].initiate()
            for link in links:
                until(lambda link=link: rekeyed(link), 15.0)  # type: ignore[misc]
            child, ike, waits, initiates = links
            yield Aging(child, ike, waits, initiates, time.monotonic(), (wires[1], wires[2], wires[3]))
    finally:
        ours.clear()
        for peer in peers:
            peer.close()


def rekeyed(link: Link) -> bool:
    """True if the first rekey, right after the tunnel came up, is over."""
    return len(children := link.listed()) == 1 and "dh-group" in children[0]


def planned(link: Link, name: str, of: str = "") -> int:
    """Return the seconds left of a charon timer; 0 while there is more than one child, as during a roll-out."""
    match link.listed():
        case [child]:
            return int((child[of] if of else child).get(name, 0))
        case _:
            return 0


@pytest.fixture
def link(aging: Aging, ours: Ours, peer: Peer) -> Link:
    peer.load(ours.v4, ours.psk, child={"rekey_time": "0"})
    return ours.connect(peer)


@pytest.mark.shows("ipsec_policy.lifetime", "ipsec_policy.lifetime.units", "ike_policy.lifetime")
def test_charons_rekey_times_follow_the_policies(link: Link) -> None:
    until(lambda: rekeyed(link), 15.0)
    assert 3500 < planned(link, "life-time") <= 3600
    assert 2800 < planned(link, "rekey-time") <= 3240
    assert 2800 < planned(link, "rekey-time", "ike") <= 3240
    link.set_ipsec(lifetime={"value": 7200})
    until(lambda: rekeyed(link) and 7100 < planned(link, "life-time") <= 7200, 15.0, lambda: str(link.listed()))
    link.set_ike(lifetime={"value": 14400})
    until(lambda: rekeyed(link) and 11000 < planned(link, "rekey-time", "ike") <= 12960, 15.0)
    link.wait("ACTIVE")
    link.set_ipsec(lifetime={"units": "kilobytes", "value": 60})
    until(lambda: rekeyed(link) and planned(link, "life-time") > 3600, 15.0, lambda: str(link.listed()))
    link.wait("ACTIVE")
    send_until_rekeyed(link)


@pytest.mark.shows("ipsec_policy.lifetime", "ipsec_policy.lifetime.units")
def test_a_child_sa_is_rekeyed_after_its_kilobytes(aging: Aging, ours: Ours, peer: Peer) -> None:
    peer.load(ours.v4, ours.psk, child={"rekey_time": "0"})
    link = ours.connect(peer, ipsec={"lifetime": {"units": "kilobytes", "value": 60}})
    until(lambda: rekeyed(link), 15.0)
    send_until_rekeyed(link)
    link.assert_pings()


def send_until_rekeyed(link: Link) -> None:
    """Send more than 60 kilobytes; assert that the peer gets new SPIs meanwhile and that no ping is lost."""
    before, bytes_before = spis(link.peer), traffic(link)
    host = link.ours.host
    world = link.ours.world
    output = world.inside(host, "ping", "-c", "60", "-i", "0.02", "-s", "1200", "-W", "2", link.peer.in4)
    assert "60 received" in output, output
    until(lambda: spis(link.peer).isdisjoint(before), 5.0, lambda: str(link.peer.children()))
    assert bytes_before < 61_440


def traffic(link: Link) -> int:
    return sum(int(child["bytes-out"]) for child in link.listed())


def spis(peer: Peer) -> set[str]:
    return {child["spi-in"] for child in peer.children()}


@pytest.mark.shows("ipsec_policy.lifetime", "ike_policy.lifetime")
@pytest.mark.timeout(120)
def test_child_and_ike_sa_are_rekeyed_within_a_lifetime_of_a_minute(aging: Aging) -> None:
    """The peer has new SPIs before the lifetime of the old SAs ends."""
    child, ike = aging.child, aging.ike
    before: list[Any] = [spis(child.peer), [sa["initiator-spi"] for sa in ike.peer.sas()]]
    assert planned(child, "life-time") <= 60
    until(lambda: spis(child.peer).isdisjoint(before[0]), 60.0, lambda: str(child.peer.children()))
    took = time.monotonic() - aging.since
    assert 40.0 < took <= 58.0
    until(
        lambda: before[1][0] not in [sa["initiator-spi"] for sa in ike.peer.sas() if sa["state"] == "ESTABLISHED"], 25.0
    )
    assert time.monotonic() - aging.since <= 64.0
    exchanges = [packet.ike.exchange for packet in aging.wires[0].ike(sent=False) if packet.ike]
    assert exchanges.count(CREATE_CHILD_SA) >= 1
    for link in (child, ike):
        assert (link.status, link.reason) == ("ACTIVE", "")
        link.assert_pings()


@needs_ikev1
@pytest.mark.shows("connection.initiator", "ike_policy.lifetime")
@pytest.mark.timeout(120)
def test_a_response_only_ikev1_sa_expires_if_the_peer_does_not_rekey_it(aging: Aging) -> None:
    """Rekeying in IKEv1 means to initiate a new IKE SA (RFC 2409), as the bi-directional connection does."""
    _, silent, control = aging.wires
    waits = aging.waits
    reason = waits.wait_reason("reached its lifetime and the peer did not replace it", 70.0)
    took = time.monotonic() - aging.since
    assert waits.status == "DOWN", reason
    until(lambda: waits.peer.sas() == [], 5.0)
    assert 55.0 < took <= 63.0, "the lifetime started some seconds before"
    assert (silent.initiations(), control.initiations() >= 2) == (0, True)
    aging.initiates.wait("ACTIVE")
    aging.initiates.assert_pings()
    waits.peer.initiate()
    waits.wait("ACTIVE")
    waits.assert_pings()
    assert silent.initiations() == 0
