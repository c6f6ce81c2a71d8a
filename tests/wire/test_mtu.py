"""mtu: larger packets are answered with ICMP that reports the MTU, and TCP fits by its MSS without ICMP."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest

from linkspan.drivers.linux import esp_backend, netns
from tests.harness.ours import LOCAL6, Ours
from tests.harness.peer import Peer
from tests.harness.segments import Syns, transfer
from tests.harness.world import World, frozen, until
from tests.wire.test_families import join

pytestmark = [pytest.mark.wire, pytest.mark.root]

V4, V6 = "10.2.0.10", "fd00:2::10"
BACK = {V4: "10.1.0.10", V6: "fd00:1::10"}
HEADERS = {4: 28, 6: 48}
BULK = 2_000_000
URL = "/v2.0/vpn/ipsec-site-connections"


class Both(msgspec.Struct, frozen=True):
    """Two tunnels between the same gateways; `ids[address of the right host][side]` are their connections."""

    world: World
    ids: dict[str, dict[str, str]]

    def set(self, address: str, side: str = "left", **values: Any) -> None:
        """Update one end, and wait until its node has applied it."""
        id = self.ids[address][side]
        self.world.user.request("PUT", f"{URL}/{id}", {"ipsec_site_connection": values})
        wanted = values.get("mtu")
        if wanted:
            until(lambda: self.effective(address, side) == min(wanted, limit()), 10.0)

    def effective(self, address: str, side: str = "left") -> int | None:
        """Return the effective MTU that the API shows."""
        mtu: int | None = self.world.connection(self.ids[address][side])["effective_mtu"]
        return mtu

    def up(self) -> None:
        """Wait until all four ends are ACTIVE."""
        for sides in self.ids.values():
            for id in sides.values():
                self.world.wait_status(id, "ACTIVE", 40.0)


@pytest.fixture(scope="module")
def both(world: World) -> Both:
    v4 = {side: world.lab["sites"][side]["connection_id"] for side in ("left", "right")}
    v6 = {side: join(world, side, other) for side, other in (("left", "right"), ("right", "left"))}
    tunnels = Both(world, {V4: v4, V6: v6})
    tunnels.up()
    return tunnels


def limit() -> int:
    """Return the inner MTU of ESP with AES-CBC and SHA-256 over 1500: the TUN's, or the kernel's."""
    return {"user-space": 1400, "kernel": 1438}[esp_backend.detect()]


def probe(world: World, side: str, address: str, size: int) -> int:
    """Send a packet of this size with DF; return 0 if it was answered, else the MTU that ICMP reported.

    The host's path MTU cache is flushed first, or the host would not send the packet.
    """
    forget(world, side)
    data = str(size - HEADERS[6 if ":" in address else 4])
    command = ["ping", "-n", "-M", "do", "-c", "1", "-W", "2", "-s", data, address]
    done = netns.run_inside(
        world.host(side), lambda: subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    )
    if done.returncode == 0:
        return 0
    reported = re.search(r"mtu ?[=:] ?(\d+)", done.stdout + done.stderr)
    assert reported, f"{size} bytes were lost without ICMP: {done.stdout}{done.stderr}"
    return int(reported[1])


def forget(world: World, side: str) -> None:
    """Flush the path MTU cache of a host."""
    for version in ("-4", "-6"):
        world.inside(world.host(side), "ip", version, "route", "flush", "cache")


def assert_mtu(world: World, address: str, mtu: int, side: str = "left") -> None:
    """Assert that a packet of this size passes as ESP, and that one byte more is answered with the MTU."""
    with world.wire() as wire:
        assert probe(world, side, address, mtu) == 0, f"{mtu} bytes to {address}"
    assert wire.tally.protected >= 2, "request and reply"
    with world.wire() as wire:
        assert probe(world, side, address, mtu + 1) == mtu
    assert (wire.tally.protected, wire.tally.plaintext) == (0, 0)


@pytest.mark.shows("connection.mtu", "connection.effective_mtu")
def test_packets_to_a_peer_are_limited_to_the_mtu(ours: Ours, new_peer: Callable[[], Peer]) -> None:
    """Two connections of a gateway, IPv4 and IPv6, each with its own MTU, on create and on update."""
    over4, over6 = new_peer(), new_peer()
    over4.load(ours.v4, ours.psk)
    over6.load(ours.v4, ours.psk, child={"local_ts": [over6.net6], "remote_ts": [LOCAL6]})
    small = ours.connect(over4, mtu=1300)
    smaller = ours.connect(over6, local=[6], peers=[over6.net6], mtu=1290)
    for link in (small, smaller):
        link.wait("ACTIVE")
    for mtus in ((1300, 1290), (1200, 1350), (1500, 1500)):
        for link, target, mtu in zip((small, smaller), (over4.in4, over6.in6), mtus, strict=True):
            link.set(mtu=mtu)
            until(lambda link=link, mtu=mtu: link.shown["effective_mtu"] == min(mtu, limit()), 5.0)  # type: ignore[misc]
            with link.peer.recorder() as seen:
                assert probe(ours.world, "left", target, min(mtu, limit())) == 0
                assert probe(ours.world, "left", target, min(mtu, limit()) + 1) == min(mtu, limit())
            assert (seen.esp, seen.plaintext) == (2, 0), "request and reply, and nothing of the larger packet"


def test_the_effective_mtu_is_limited_by_the_path_and_shown(both: Both) -> None:
    for address in (V4, V6):
        assert both.world.connection(both.ids[address]["left"])["mtu"] == 1500
        assert both.effective(address) == limit()
        assert_mtu(both.world, address, limit())


def test_two_connections_of_a_gateway_have_their_own_mtus(both: Both) -> None:
    for address, mtu in ((V4, 1300), (V6, 1350)):
        both.set(address, mtu=mtu)
        assert both.world.connection(both.ids[address]["left"])["mtu"] == mtu
    assert_mtu(both.world, V4, 1300)
    assert_mtu(both.world, V6, 1350)
    for address in (V4, V6):
        assert both.effective(address, "right") == limit(), "the other end keeps its own MTU"
        assert_mtu(both.world, BACK[address], limit(), "right")


def test_an_mtu_update_applies_at_once_and_to_one_connection(both: Both) -> None:
    both.up()
    # Both ends may have initiated: one of two IKE SAs goes within some seconds.
    until(lambda: both.world.rekeyed() and len(both.world.spis("left")) == len(both.ids), 30.0, both.world.last_words)
    before = both.world.spis("left")
    for mtu in (1280, 1333, 1200, 1320):
        start = time.monotonic()
        url = f"{URL}/{both.ids[V4]['left']}"
        both.world.user.request("PUT", url, {"ipsec_site_connection": {"mtu": mtu}})
        until(lambda mtu=mtu: probe(both.world, "left", V4, 1400) == mtu, 5.0)  # type: ignore[misc]
        took = time.monotonic() - start
        print(f"mtu {mtu} on the wire after {took * 1000:.0f} ms")
        assert_mtu(both.world, V4, mtu)
        assert_mtu(both.world, V6, 1350)
    assert both.world.spis("left") == before, "an SA was changed"


@pytest.mark.parametrize(("address", "sizes"), [(V4, (1300, 1260)), (V6, (1340, 1280))])
def test_the_mss_is_clamped_in_both_directions(both: Both, address: str, sizes: tuple[int, int]) -> None:
    """The left gateway clamps both directions: the right one has no MTU below the tunnel's limit."""
    mtu, mss = sizes
    both.set(address, mtu=mtu)
    hosts = both.world.host("left"), both.world.host("right")
    for (source, destination), target in ((hosts, address), (hosts[::-1], BACK[address])):
        with Syns(source) as answers, Syns(destination) as syns, both.world.wire() as wire:
            assert transfer(source, destination, target, 1000, 5.0) == 1000
            assert (set(syns.sizes), set(answers.sizes)) == ({mss}, {mss})
        assert wire.tally.protected >= 4, "SYN, SYN-ACK, ACK, data"
        assert wire.tally.plaintext == 0


def test_the_mss_is_limited_by_the_tunnel_if_the_mtu_is_larger(both: Both) -> None:
    both.set(V4, mtu=1500)
    hosts = both.world.host("left"), both.world.host("right")
    with Syns(hosts[0]) as answers, Syns(hosts[1]) as syns:
        assert transfer(*hosts, V4, 1000, 5.0) == 1000
        assert (set(syns.sizes), set(answers.sizes)) == ({limit() - 40}, {limit() - 40})


@contextmanager
def without_icmp(world: World) -> Iterator[None]:
    """Make the hosts drop ICMP errors about packet sizes, as firewalls do."""
    rules = (
        "add table inet without_icmp; add chain inet without_icmp in { type filter hook input priority 0; };"
        "add rule inet without_icmp in icmp type destination-unreachable drop;"
        "add rule inet without_icmp in icmpv6 type packet-too-big drop"
    )
    for side in ("left", "right"):
        forget(world, side)
        world.inside(world.host(side), "nft", rules)
    try:
        yield
    finally:
        for side in ("left", "right"):
            world.inside(world.host(side), "nft", "delete", "table", "inet", "without_icmp")


@pytest.mark.parametrize("address", [V4, V6])
def test_a_bulk_transfer_completes_without_icmp(both: Both, address: str) -> None:
    world = both.world
    hosts = world.host("left"), world.host("right")
    both.set(address, mtu=1300)
    ways = ((hosts, address), (hosts[::-1], BACK[address]))
    with without_icmp(world):
        for way, target in ways:
            with world.wire() as wire:
                assert transfer(*way, target, BULK, 40.0) == BULK
            assert wire.tally.protected > BULK / 1400
            assert wire.tally.plaintext == 0
        # Negative control: the same transfer without the clamp, with the same routes, and without ICMP too.
        with frozen(world.agent_pid):
            for side in ("left", "right"):
                world.inside(world.gateway(side), "nft", "delete", "table", "inet", "linkspan-mtu")
            assert transfer(*hosts, address, BULK, 4.0) < BULK / 4
        for side in ("left", "right"):
            both.set(address, side, mtu=1310)
        until(lambda: "linkspan-mtu" in world.inside(world.gateway("left"), "nft", "list", "tables"), 5.0)
        for way, target in ways:
            assert transfer(*way, target, BULK, 40.0) == BULK
    both.set(address, "right", mtu=1500)


def ours(world: World) -> list[str]:
    """Return the rules, routes and nftables rules in the left gateway that set MTUs, sorted."""
    seen: list[str] = []
    for command in ("ip rule", "ip -6 rule", "ip -4 route show table all", "ip -6 route show table all"):
        seen += [line for line in world.inside(world.gateway("left"), *command.split()).splitlines() if "219" in line]
    return sorted(
        seen + world.inside(world.gateway("left"), "nft", "list", "table", "inet", "linkspan-mtu").splitlines()
    )


def test_mtus_are_restored_after_charon_is_killed(both: Both) -> None:
    both.set(V4, mtu=1300)
    both.set(V6, mtu=1350)
    both.up()
    before = ours(both.world)
    assert len(before) > 4
    os.kill(both.world.charon_pid("left"), signal.SIGKILL)
    until(lambda: ours(both.world) == before, 15.0)
    both.up()
    until(lambda: reachable(both.world), 15.0)
    assert_mtu(both.world, V4, 1300)
    assert_mtu(both.world, V6, 1350)


def reachable(world: World) -> bool:
    return all(
        netns.run_inside(
            world.host("left"),
            lambda address=address: (
                subprocess.run(  # type: ignore[misc]
                    ["ping", "-c", "1", "-W", "1", address], capture_output=True, check=False
                ).returncode
            ),
        )
        == 0
        for address in (V4, V6)
    )


def test_a_restarted_agent_adopts_the_mtus(both: Both) -> None:
    world = both.world
    both.set(V4, mtu=1300)
    before, pid = ours(world), world.agent_pid
    os.kill(pid, signal.SIGKILL)
    until(lambda: world.agent_pid not in (0, pid), 10.0)
    both.set(V4, mtu=1290)
    assert_mtu(world, V4, 1290)
    both.set(V4, mtu=1300)
    assert ours(world) == before


def test_a_disabled_connection_has_no_mtu(both: Both) -> None:
    both.set(V4, mtu=1300)
    both.set(V6, mtu=1350)
    before = ours(both.world)
    both.set(V4, admin_state_up=False)
    until(lambda: both.effective(V4) is None, 10.0)
    left = "\n".join(ours(both.world))
    assert "10.2.0.0/24" not in left
    assert "mtu 1300" not in left
    assert "mtu 1350" in left
    assert_mtu(both.world, V6, 1350)
    both.set(V4, admin_state_up=True)
    until(lambda: both.effective(V4) == 1300, 10.0)
    both.up()
    assert ours(both.world) == before
    assert_mtu(both.world, V4, 1300)
