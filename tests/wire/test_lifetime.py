"""lifetime of both policies: keys are renewed before it ends, in seconds and in kilobytes.

What charon plans is read from both ends' lists; that it happens is watched, with the shortest times that the API takes.
The connections whose minute has to pass are made first and looked at last.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from tests.harness.ours import Link, Ours
from tests.harness.peer import Peer
from tests.harness.recorder import CREATE_CHILD_SA, Recorder
from tests.harness.world import World, until

pytestmark = [pytest.mark.wire, pytest.mark.root]


class Aging(msgspec.Struct):
    """Connections with a lifetime of a minute, since when, and what crosses their wire."""

    child: Link
    ike: Link
    since: float
    wire: Recorder


@pytest.fixture(scope="module")
def aging(service: World) -> Iterator[Aging]:
    ours, one, other = Ours(service), Peer(service), Peer(service)
    minute = {"lifetime": {"units": "seconds", "value": 60}}
    try:
        with other.recorder() as wire:
            for peer in (one, other):
                peer.load(ours.v4, ours.psk, rekey_time="0")
            links = ours.connect(one, ipsec=minute), ours.connect(other, ike=minute)
            for link in links:
                until(lambda link=link: renewed(link), 15.0)  # type: ignore[misc]
            yield Aging(*links, time.monotonic(), wire)
    finally:
        ours.clear()
        one.close()
        other.close()


def renewed(link: Link) -> bool:
    """The first renewal, which follows an instant after a tunnel is up, is over."""
    return len(found := link.listed()) == 1 and "dh-group" in found[0]


def planned(link: Link, name: str, of: str = "") -> int:
    """Seconds that are left until then; 0 while there is more than one child, as during a roll-out."""
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
def test_what_is_planned_follows_the_policies(link: Link) -> None:
    until(lambda: renewed(link), 15.0)
    assert 3500 < planned(link, "life-time") <= 3600
    assert 2800 < planned(link, "rekey-time") <= 3240
    assert 2800 < planned(link, "rekey-time", "ike") <= 3240
    link.set_ipsec(lifetime={"value": 7200})
    until(lambda: renewed(link) and 7100 < planned(link, "life-time") <= 7200, 15.0, lambda: str(link.listed()))
    link.set_ike(lifetime={"value": 14400})
    until(lambda: renewed(link) and 11000 < planned(link, "rekey-time", "ike") <= 12960, 15.0)
    link.wait("ACTIVE")
    link.set_ipsec(lifetime={"units": "kilobytes", "value": 60})
    until(lambda: renewed(link) and planned(link, "life-time") > 3600, 15.0, lambda: str(link.listed()))
    link.wait("ACTIVE")
    sent_until_renewed(link)


@pytest.mark.shows("ipsec_policy.lifetime", "ipsec_policy.lifetime.units")
def test_so_many_kilobytes_renew_the_keys(aging: Aging, ours: Ours, peer: Peer) -> None:
    peer.load(ours.v4, ours.psk, child={"rekey_time": "0"})
    link = ours.connect(peer, ipsec={"lifetime": {"units": "kilobytes", "value": 60}})
    until(lambda: renewed(link), 15.0)
    sent_until_renewed(link)
    link.pinged()


def sent_until_renewed(link: Link) -> None:
    """60 kilobytes are 50 pings of 1,200 bytes: the peer has new SPIs before they are through, and nothing is lost."""
    before, bytes_before = spis(link.peer), traffic(link)
    host = link.ours.host
    world = link.ours.world
    said = world.inside(host, "ping", "-c", "60", "-i", "0.02", "-s", "1200", "-W", "2", link.peer.in4)
    assert "60 received" in said, said
    until(lambda: spis(link.peer).isdisjoint(before), 5.0, lambda: str(link.peer.children()))
    assert bytes_before < 61_440


def traffic(link: Link) -> int:
    return sum(int(child["bytes-out"]) for child in link.listed())


def spis(peer: Peer) -> set[str]:
    return {child["spi-in"] for child in peer.children()}


@pytest.mark.shows("ipsec_policy.lifetime", "ike_policy.lifetime")
@pytest.mark.timeout(120)
def test_a_minute_renews_the_keys_of_child_and_ike_sa(aging: Aging) -> None:
    """Between 80 and 100 % of it, with new SPIs at the peer, before the old key's life ends."""
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
    exchanges = [packet.ike.exchange for packet in aging.wire.ike(sent=False) if packet.ike]
    assert exchanges.count(CREATE_CHILD_SA) >= 1
    for link in (child, ike):
        assert (link.status, link.reason) == ("ACTIVE", "")
        link.pinged()
