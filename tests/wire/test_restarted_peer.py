"""A peer that has restarted, long before the timeout of dead peer detection. One that initiates: the IKE SA in which it
authenticates itself takes the place of the old one at once. One that waits: it is asked for a new IKE SA as soon as
there is a sign. Signs are what anybody could have sent, so none ends a tunnel."""

from __future__ import annotations

import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import Any

import pytest

from linkspan.core.tunnel.doubts import QUIET
from linkspan.core.tunnel.duplicate_sas import SIMULTANEOUS
from linkspan.drivers.gateway.icmp_errors import IcmpErrors
from linkspan.drivers.linux import netns
from linkspan.lab.fabric import ping
from tests.harness.ours import Link, Ours
from tests.harness.peer import Peer
from tests.harness.world import until

pytestmark = [pytest.mark.wire, pytest.mark.root]

LATE = {"action": "restart", "interval": 2, "timeout": 120}
"""Dead peer detection that is of no help in the time of a test."""
INFORMATIONAL, NOTIFY = 37, 41
INVALID_IKE_SPI, INVALID_SPI, INITIAL_CONTACT = 4, 11, 16384


def is_older(ours: Ours, link: Link, seconds: float) -> bool:
    """True if the connection's IKE SAs are older than this."""
    with ours.charon() as charon:
        ages = [sa.age for sa in charon.sas() if any(child.name.startswith(link.id) for child in sa.children)]
    return bool(ages) and min(ages) > seconds


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("unique", ["replace", "never"])
def test_a_restarted_peer_that_initiates_is_believed_at_once(ours: Ours, peer: Peer, version: str, unique: str) -> None:
    """With `never` it does not even say that it has lost its IKE SAs (INITIAL_CONTACT).

    Then an IKE SA of both ends' that is as young as this could stem from simultaneous initiation.
    """
    peer.load(ours.v4, ours.psk, version=version[1:], unique=unique)
    link = ours.connect(peer, ike={"ike_version": version}, dpd=LATE)
    link.wait("ACTIVE")
    until(lambda: is_older(ours, link, SIMULTANEOUS), SIMULTANEOUS + 10.0)
    before = {sa["uniqueid"] for sa in link.sas()}
    peer.restart()
    peer.load(ours.v4, ours.psk, version=version[1:], unique=unique)
    peer.initiate()
    until(lambda: ours.ping(peer.in4, 1).received == 1, 10.0, lambda: str(link.sas()))
    until(lambda: not before & {sa["uniqueid"] for sa in link.sas()}, 10.0, lambda: str(link.sas()))
    assert link.status == "ACTIVE"


def is_settled(ours: Ours, link: Link) -> bool:
    """True if the child that the first rekey has replaced is gone; until then charon makes no successor."""
    with ours.charon() as charon:
        sas = [sa for sa in charon.sas() if any(child.name.startswith(link.id) for child in sa.children)]
    return [child.state for sa in sas for child in sa.children] == ["INSTALLED"]


@contextmanager
def traffic(ours: Ours, peer: Peer) -> Iterator[None]:
    """While it lasts, pings are sent to the peer, answered or not."""
    command = ["fping", "-q", "-l", "-p", "100", peer.in4]
    start = partial(subprocess.Popen, command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    process = netns.run_inside(ours.host, start)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


@pytest.mark.parametrize("sign", ["icmp", "notify"])
def test_a_restarted_peer_that_waits_is_asked_at_once(ours: Ours, peer: Peer, sign: str) -> None:
    """ICMP errors arrive while its port is closed. charon sends no INVALID_IKE_SPI as other peers do: the test does."""
    peer.load(ours.v4, ours.psk)
    link = ours.connect(peer, dpd=LATE)
    link.wait_rekeyed()
    until(lambda: is_settled(ours, link), 20.0)
    (before,) = link.listed()
    peer.kill()
    if sign == "icmp":
        with traffic(ours, peer), closing(netns.run_inside(ours.gateway, IcmpErrors)) as errors:
            until(lambda: errors.about(peer.v4) is not None, 10.0)
    peer.restart()
    peer.load(ours.v4, ours.psk)
    if sign == "notify":
        spoof(peer, ours.v4, before["ike"], 0.0, 1, ports=())
    until(lambda: ours.ping(peer.in4, 1).received == 1, 20.0, lambda: f"{link.sas()}\n{peer.log[-2000:]}")
    old = before["ike"]["uniqueid"]
    until(lambda: all(str(sa["uniqueid"]) != old for sa in link.sas()), 20.0, lambda: str(link.sas()))
    assert link.status == "ACTIVE"


# --- what anybody can send ------------------------------------------------------------------------------------------


def notify(initiator: bytes, responder: bytes, kind: int) -> bytes:
    """An IKE message with a notify in plaintext (RFC 7296 3.1 and 3.10)."""
    payload = struct.pack("!BBHBBH", 0, 0, 8, 1, 0, kind)
    header = struct.pack("!8s8sBBBBII", initiator, responder, NOTIFY, 0x20, INFORMATIONAL, 0, 0, 28 + len(payload))
    return header + payload


def udp(port: int, payload: bytes) -> bytes:
    """A datagram from and to the same port."""
    return struct.pack("!HHHH", port, port, 8 + len(payload), 0) + payload


def unreachable(source: str, destination: str, port: int) -> bytes:
    """An ICMP error: this port of `destination` does not exist, where `source` has sent a datagram to."""
    inner = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 100, 1, 0, 64, 17, 0, *map(socket.inet_aton, (source, destination)))
    body = inner + struct.pack("!HHHH", port, port, 80, 0)
    message = struct.pack("!BBHI", 3, 3, 0, 0) + body
    padded = struct.unpack(f"!{len(message) // 2}H", message)
    total = sum(padded)
    total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!BBHI", 3, 3, ~(total + (total >> 16)) & 0xFFFF, 0) + body


def spoof(
    peer: Peer, target: str, sa: dict[str, Any], seconds: float, rate: int, ports: tuple[int, ...] = (500, 4500)
) -> int:
    """Send notifies, and ICMP errors about these ports, from the peer's own address, with the SPIs of the IKE SA, once
    at least. Returns their number."""
    spis = bytes.fromhex(sa["initiator-spi"].zfill(16)), bytes.fromhex(sa["responder-spi"].zfill(16))
    kinds = [notify(*spis, kind) for kind in (INVALID_IKE_SPI, INVALID_SPI, INITIAL_CONTACT)]
    packets = [(socket.IPPROTO_UDP, udp(500, message)) for message in kinds]
    packets += [(socket.IPPROTO_UDP, udp(4500, bytes(4) + message)) for message in kinds]
    packets += [(socket.IPPROTO_ICMP, unreachable(target, peer.v4, port)) for port in ports]

    def send() -> int:
        sockets = {
            protocol: socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol)
            for protocol in (socket.IPPROTO_UDP, socket.IPPROTO_ICMP)
        }
        sent, start = 0, time.monotonic()
        while sent == 0 or time.monotonic() - start < seconds:
            for protocol, packet in packets:
                sockets[protocol].sendto(packet, (target, 0))
                sent += 1
            time.sleep(max(0.0, start + sent / rate - time.monotonic()))
        for each in sockets.values():
            each.close()
        return sent

    return netns.run_inside(peer.namespace, send)


def test_a_thousand_spoofed_messages_a_second_end_nothing(ours: Ours, peer: Peer) -> None:
    peer.load(ours.v4, ours.psk, unique="no")
    link = ours.connect(peer, dpd={"action": "restart", "interval": 1, "timeout": 5})
    link.wait_rekeyed()
    (before,) = link.listed()
    with peer.recorder() as seen:
        sent = spoof(peer, ours.v4, before["ike"], 8.0, 1000)
    assert sent > 4000
    spoofed = [packet for packet in seen.ike(sent=True) if packet.ike and packet.ike.exchange == INFORMATIONAL]
    assert len(spoofed) > sent / 4, "they did not get onto the wire as IKE messages"
    assert seen.initiations() == 0
    (after,) = link.listed()
    assert (after["ike"]["uniqueid"], after["spi-in"]) == (before["ike"]["uniqueid"], before["spi-in"])
    assert link.status == "ACTIVE"
    assert ping(ours.host, peer.in4, 10, 0.05).received == 10


def test_a_silent_peer_is_asked_once_after_spoofed_messages(ours: Ours, peer: Peer) -> None:
    """Nothing shows that it lives but its answer; and a second wave makes this end ask nothing."""
    peer.load(ours.v4, ours.psk)
    link = ours.connect(peer, dpd=LATE | {"interval": 60})
    link.wait_rekeyed()
    until(lambda: is_settled(ours, link), 20.0)
    (before,) = link.listed()
    with peer.recorder() as seen:
        spoof(peer, ours.v4, before["ike"], 3.0, 1000)
        until(lambda: seen.initiations() == 1, 20.0)
        until(lambda: [sa["uniqueid"] for sa in link.sas()] not in ([], [int(before["ike"]["uniqueid"])]), 20.0)
        lost = ping(ours.host, peer.in4, 500, 0.01).lost
        (after,) = link.listed()
        spoof(peer, ours.v4, after["ike"], 0.0, 1)
        until(lambda: is_older(ours, link, QUIET + 3.0), 20.0)
    assert lost == ()
    assert seen.initiations() == 1
    assert link.status == "ACTIVE"
