"""A successor for the same two ends takes over without a gap, and the older connection resumes when it is gone."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from linkspan.drivers.linux import esp_backend
from linkspan.lab.fabric import ping
from tests.harness.ours import CONNECTIONS, VPN, Link, Ours
from tests.harness.peer import Peer
from tests.harness.recorder import CREATE_CHILD_SA, Recorder
from tests.harness.strongswan import IKE_VERSIONS
from tests.harness.world import World, until

pytestmark = [pytest.mark.wire, pytest.mark.root]

COUNT, FEW, INTERVAL = 1000, 300, 0.002
LOST = 1
"""The pings that a takeover may lose, beside those that one end sends by its new SA before the other end has it."""
BOTH: dict[str, Any] = {
    "proposals": ["aes128-sha256-modp2048", "aes256-sha256-modp2048"],
    "child": {"esp_proposals": ["aes128-sha256-modp2048", "aes256-sha256-modp2048"]},
}
"""What a peer accepts: the older policies and the newer ones."""


@contextmanager
def pinging(ours: Ours, peer: Peer, version: int = 2, count: int = COUNT, lists_differ: bool = False) -> Iterator[None]:
    """Ping through the tunnel meanwhile. Nothing but ESP may be on the wire, and next to nothing lost.

    `lists_differ`: children have different lists of networks in common. In the kernel each list has an id of its own,
    and a policy takes packets from the SAs of the newest one only.
    """
    with ThreadPoolExecutor(1) as pool, peer.recorder() as wire:
        answers = pool.submit(ping, ours.host, peer.in4, count, INTERVAL)
        # What is sent too early is counted from the second SA on: both ends have to be seen sending by the first one.
        until(partial(both_send, wire), 10.0)
        yield
        answer = answers.result()
    early = wire.sent_too_early(version)
    late = sent_too_late(wire) if lists_differ and esp_backend.detect() == "kernel" else 0
    print(f"{len(answer.lost)} of {answer.sent} lost, {early} sent too early, {late} too late")
    assert wire.plaintext == 0
    assert wire.esp >= 2 * answer.received, "the pings were not carried by ESP"
    assert len(answer.lost) <= LOST + early + late, answer


def both_send(wire: Recorder) -> bool:
    """True once both directions have been recorded."""
    return all(wire.count("esp", "udp_esp", sent=sent) for sent in (True, False))


def sent_too_late(wire: Recorder) -> int:
    """The packets that the gateway sends by an earlier child SA while the peer creates the next one."""
    total, meanwhile, known = 0, 0, set[int]()
    for packet in list(wire.packets):
        if packet.ike and packet.ike.exchange == CREATE_CHILD_SA and not packet.sent:
            meanwhile = 0
        elif packet.kind in ("esp", "udp_esp") and not packet.sent:
            is_new = packet.spi not in known
            total += meanwhile if is_new and known else 0
            meanwhile = 0 if is_new else meanwhile + 1
            known.add(packet.spi)
    return total


def superseded(older: Link, newer: Link) -> bool:
    """True if a connection is down for its successor, and has no SA left."""
    shown = older.shown
    says = f"superseded by {newer.shown['name']} ({newer.id})"
    return (shown["status"], shown["status_reason"]) == ("DOWN", says) and not older.sas()


CHANGES: dict[str, list[dict[str, Any]]] = {
    "v2": [
        {"mtu": 1300},
        {"initiator": "response-only"},
        {"dpd": {"interval": 7, "timeout": 40}},
        {"ike": {"encryption_algorithm": "aes-256"}, "ipsec": {"encryption_algorithm": "aes-256"}},
    ],
    "v1": [{"ipsec": {"encryption_algorithm": "aes-256"}, "dpd": {"interval": 7, "timeout": 40}}],
}


@pytest.mark.parametrize("version", [f"v{version}" for version in IKE_VERSIONS])
def test_successors_take_over_one_after_another(ours: Ours, peer: Peer, version: str) -> None:
    peer.load(ours.v4, ours.psk, version=version[1:], **BOTH)
    older = ours.connect(peer, ike={"ike_version": version}, name="first")
    older.wait_rekeyed()
    for number, change in enumerate(CHANGES[version]):
        ike = {"ike_version": version} | change.get("ike", {})
        with pinging(ours, peer, int(version[1:])):
            newer = ours.connect(peer, **change | {"ike": ike, "name": f"next {number}"})
            newer.wait("ACTIVE")
            until(partial(superseded, older, newer), 10.0)
        if version == "v2":
            # charon moves the children of IKEv1 to the newest IKE SA, and then finds no child to delete.
            peer.wait_up()
        ours.delete(CONNECTIONS, older.id)
        newer.wait_rekeyed()
        newer.assert_pings()
        older = newer


def test_only_what_overlaps_moves_and_the_older_one_resumes(ours: Ours, peer: Peer) -> None:
    """Two networks of the older connection, of which the newer one takes one, and with it one more."""
    nets = [peer.net4, *(f"10.{number}.{peer.net4.split('.')[1]}.0/24" for number in (251, 252))]
    targets = [net.replace(".0/24", ".1") for net in nets]
    for target in targets[1:]:
        peer.run("ip", "address", "add", f"{target}/24", "dev", "lo")
    peer.load(ours.v4, ours.psk, child={"local_ts": nets})
    older = ours.connect(peer, name="older", peer_cidrs=nets[:2])
    older.wait_rekeyed()
    with pinging(ours, peer, lists_differ=True):
        newer = ours.connect(peer, name="newer", peer_cidrs=nets[1:], mtu=1300)
        older.wait_reason(f"1 of 2 pairs of networks superseded by newer ({newer.id})")
        until(lambda: carried(older) == [nets[:1]] and carried(newer) == [nets[1:]], 10.0, lambda: str(older.listed()))
    assert (older.status, newer.status) == ("ACTIVE", "ACTIVE")
    for target in targets:
        assert ours.ping(target).received == 3
    with pinging(ours, peer, lists_differ=True):
        ours.delete(CONNECTIONS, newer.id)
        until(lambda: carried(older) == [nets[:2]], 10.0, lambda: str(older.listed()))
    older.wait("ACTIVE")
    for target, answers in zip(targets, (3, 3, 0), strict=True):
        assert ours.ping(target).received == answers


def carried(link: Link) -> list[list[str]]:
    """The peer's networks in each child SA of a connection."""
    return [sorted(child["remote-ts"]) for child in link.listed()]


def test_with_another_key_the_older_one_goes_on_until_the_peer_has_it(ours: Ours, peer: Peer) -> None:
    peer.load(ours.v4, ours.psk)
    first = ours.connect(peer, name="first")
    first.wait_rekeyed()
    spis = [(child["spi-in"], child["spi-out"]) for child in first.sas()]
    with pinging(ours, peer, count=FEW):
        second = ours.connect(peer, name="second", psk="another key")
        second.wait_reason("pre-shared key")
    assert f"until it is up, first ({first.id}) goes on" in second.reason
    assert (second.status, second.sas()) == ("PENDING_CREATE", [])
    assert first.status == "ACTIVE"
    assert first.reason == f"will be superseded by second ({second.id}) once that is up"
    assert [(child["spi-in"], child["spi-out"]) for child in first.sas()] == spis
    with ours.charon() as charon:
        assert not {sa["ike"] for sa in first.sas()} & charon.loaded().keys(), "the peer could still use the older one"
    # A third one with the first key needs no other of the peer's: the one in the middle never comes up.
    with pinging(ours, peer):
        third = ours.connect(peer, name="third", mtu=1300)
        third.wait("ACTIVE")
        until(lambda: superseded(first, third) and superseded(second, third), 10.0, lambda: first.reason)
    ours.delete(CONNECTIONS, second.id)
    third.wait_rekeyed()
    fourth = ours.connect(peer, name="fourth", psk="another key")
    fourth.wait_reason("pre-shared key")
    with pinging(ours, peer):
        peer.load(ours.v4, "another key")
        fourth.wait("ACTIVE", 40.0)
        until(lambda: superseded(third, fourth), 10.0, lambda: third.reason)
    # The older ones resume as soon as the newer one is disabled.
    peer.load(ours.v4, ours.psk)
    fourth.set(admin_state_up=False)
    third.wait("ACTIVE", 40.0)
    third.assert_pings()
    assert superseded(first, third)


def test_without_a_successor_a_replacement_loses_many_packets(ours: Ours, peer: Peer) -> None:
    """The control: the older connection is deleted first."""
    peer.load(ours.v4, ours.psk)
    older = ours.connect(peer)
    older.wait_rekeyed()

    def replace() -> None:
        with pinging(ours, peer):
            ours.delete(CONNECTIONS, older.id)
            ours.connect(peer).wait("ACTIVE")

    with pytest.raises(AssertionError, match=rf"<= \(\({LOST} \+"):
        replace()


Change = dict[str, Any]


def new_dpd(number: int) -> Change:
    """Another interval, for which charon needs another IKE SA."""
    return {"dpd": {"action": "restart", "interval": 7 + number % 2, "timeout": 40}}


def new_mtu(number: int) -> Change:
    """Another MTU, of which charon has no part."""
    return {"mtu": 1300 + number}


class Replacement:
    """The replacement of a connection of the laboratory by a client that creates first, as Heat and Terraform do.

    `statuses`: what the client reads of the successor, each once.
    """

    def __init__(self, service: World, side: str, older: str) -> None:
        self.user = service.client("demo")
        self.service, self.side, self.older = service, side, older
        self.newer = ""
        self.statuses: list[str] = []
        self._reads = threading.Lock()

    def carry_out(self, changes: Change, delay: float, deletes: bool) -> None:
        """Create the successor after a delay, wait until it is ACTIVE, and delete its predecessor or not."""
        time.sleep(delay)
        names = ("vpnservice_id", "ikepolicy_id", "ipsecpolicy_id", "peer_address", "peer_id", "peer_cidrs", "psk")
        groups = ("local_ep_group_id", "peer_ep_group_id")
        shown = self._show(self.older)
        values = {name: shown[name] for name in (*names, *groups)} | {"name": f"new {self.side}"} | changes
        body = {"ipsec_site_connection": values}
        self.newer = self.user.request("POST", f"{VPN}/{CONNECTIONS}", body)["ipsec_site_connection"]["id"]
        until(lambda: self.look() == "ACTIVE", 20.0, lambda: str(self._show(self.newer)))
        if deletes:
            self.user.request("DELETE", f"{VPN}/{CONNECTIONS}/{self.older}")

    def look(self) -> str:
        """Read the successor's status, if it has been created. Two threads do: one after the other, as otherwise the
        later answer might be noted first."""
        if not self.newer:
            return ""
        with self._reads:
            status: str = self._show(self.newer)["status"]
            if self.statuses[-1:] != [status]:
                self.statuses.append(status)
        return status

    def _show(self, id: str) -> dict[str, Any]:
        body: dict[str, Any] = self.user.request("GET", f"{VPN}/{CONNECTIONS}/{id}")
        shown: dict[str, Any] = body["ipsec_site_connection"]
        return shown


@contextmanager
def sent_too_early(service: World) -> Iterator[tuple[Recorder, Callable[[], int]]]:
    """Record the wire. Yields the recorder, and a function that returns, at the end, how many packets one of two ends
    has sent by a child SA of this time before the other end did."""
    known = set(service.spis("left"))
    spis, is_over = set(known), threading.Event()

    def collect() -> None:
        while not is_over.wait(0.05):
            spis.update(service.spis("left"))

    with ThreadPoolExecutor(1) as pool, Recorder(service.lab["fabric"], port_of(service, "left")) as wire:
        collecting = pool.submit(collect)

        def early() -> int:
            is_over.set()
            collecting.result()
            return wire.sent_too_early_by_either({(int(one, 16), int(other, 16)) for one, other in spis - known})

        try:
            yield wire, early
        finally:
            is_over.set()


def replace_both(service: World, older: dict[str, str], changes: Change, lead: float, deletes: bool) -> dict[str, str]:
    """Replace both ends under ping, the left one `lead` seconds before the right one. Returns the successors."""
    ends = {side: Replacement(service, side, id) for side, id in older.items()}
    delays = {"left": max(-lead, 0.0), "right": max(lead, 0.0)}
    count = 6 * COUNT
    with ThreadPoolExecutor(3) as pool, sent_too_early(service) as (wire, too_early):
        answers = pool.submit(ping, service.host("left"), "10.2.0.10", count, INTERVAL)
        until(partial(both_send, wire), 10.0)
        replacing = [pool.submit(end.carry_out, changes, delays[side], deletes) for side, end in ends.items()]
        while not answers.done():
            for end in ends.values():
                end.look()
        answer, early = answers.result(), too_early()
    print(f"{changes}, {lead} s: {len(answer.lost)} of {answer.sent} lost, {early} sent too early")
    for done in replacing:
        done.result()
    for end in ends.values():
        assert end.statuses in (["PENDING_CREATE", "ACTIVE"], ["ACTIVE"]), end.statuses
    assert wire.plaintext == 0
    assert wire.esp >= 2 * answer.received, "the pings were not carried by ESP"
    assert len(answer.lost) <= LOST * count // COUNT + early, answer
    until(service.one_tunnel, 30.0, lambda: str([service.spis(side) for side in ends]))
    return {side: end.newer for side, end in ends.items()}


def port_of(service: World, side: str) -> str:
    """The bridge port of a gateway's outside interface."""
    address = service.lab["sites"][side]["gateway"]["outside_address"]
    inside = json.loads(service.inside(service.gateway(side), "ip", "-j", "address"))
    (index,) = {link["link_index"] for link in inside for entry in link["addr_info"] if entry["local"] == address}
    ports = json.loads(service.inside(service.lab["fabric"], "ip", "-j", "link"))
    return next(str(port["ifname"]) for port in ports if port["ifindex"] == index)


# In user-mode Linux these two take two and a half minutes.
KERNEL_LATER = [pytest.mark.whole] * (esp_backend.detect() == "kernel")


@pytest.mark.parametrize("change", [pytest.param(change, marks=KERNEL_LATER) for change in (new_dpd, new_mtu)])
def test_both_ends_are_replaced_at_about_the_same_time(
    ours: Ours, service: World, change: Callable[[int], Change]
) -> None:
    """The old and the new connections negotiate alike: what one end has for its older one may be the other's successor.

    The connections of the laboratory stay, and resume at the end.
    """
    laboratory = {side: site["connection_id"] for side, site in service.lab["sites"].items()}
    until(service.one_tunnel, 20.0)
    first, *later = (change(number) for number in range(5))
    older = replace_both(service, laboratory, first, 0.0, False)
    try:
        for lead, changes in zip((0.0, 0.1, -0.3, 1.5), later, strict=True):
            older = replace_both(service, older, changes, lead, True)
    finally:
        for connection in service.user.request("GET", f"{VPN}/{CONNECTIONS}")["ipsec_site_connections"]:
            if connection["id"] not in laboratory.values():
                ours.delete(CONNECTIONS, connection["id"])
        for id in laboratory.values():
            service.wait_status(id, "ACTIVE", 40.0)
        until(service.one_tunnel, 30.0)


def test_two_ends_are_replaced_one_after_the_other(ours: Ours, service: World) -> None:
    """The order of Heat, with another key: the left end's successor cannot come up before the right one has its own."""
    sites = service.lab["sites"]
    older = {side: site["connection_id"] for side, site in sites.items()}

    def replace(side: str) -> str:
        shown = service.connection(older[side])
        names = ("vpnservice_id", "ikepolicy_id", "ipsecpolicy_id", "peer_address", "peer_id", "peer_cidrs")
        groups = ("local_ep_group_id", "peer_ep_group_id")
        values = {name: shown[name] for name in (*names, *groups)}
        return ours.create(CONNECTIONS, name=f"new {side}", psk="the key of both", **values)

    until(service.one_tunnel, 20.0)
    with ThreadPoolExecutor(1) as pool, sent_too_early(service) as (wire, too_early):
        newer = {"left": replace("left")}
        until(lambda: "pre-shared key" in (service.connection(newer["left"])["status_reason"] or ""), 10.0)
        assert service.connection(older["left"])["status"] == "ACTIVE"
        answers = pool.submit(ping, service.host("left"), "10.2.0.10", COUNT, INTERVAL)
        newer["right"] = replace("right")
        for side in ("left", "right"):
            service.wait_status(newer[side], "ACTIVE")
            service.wait_status(older[side], "DOWN")
        answer, early = answers.result(), too_early()
    print(f"{len(answer.lost)} of {answer.sent} lost, {early} sent too early")
    assert wire.plaintext == 0
    assert wire.esp >= 2 * answer.received, "the pings were not carried by ESP"
    assert len(answer.lost) <= COUNT // 10 + early, answer
    until(service.one_tunnel, 20.0)
    for side in ("left", "right"):
        ours.delete(CONNECTIONS, newer[side])
    for side in ("left", "right"):
        service.wait_status(older[side], "ACTIVE", 40.0)
    until(service.one_tunnel, 20.0)
