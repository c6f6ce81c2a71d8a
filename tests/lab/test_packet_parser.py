"""The classification of packets as ESP, IKE or plaintext; plaintext is never taken for anything else."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.lab.packet_counter import PacketClass, classify

INSIDE = [ipaddress.ip_network(p) for p in ("10.1.0.0/24", "fd00:1::/64", "10.2.0.0/24", "fd00:2::/64")]
GATEWAYS = ("198.51.100.5", "198.51.100.9")
GATEWAYS6 = ("2001:db8:ffff::5", "2001:db8:ffff::9")
HOSTS = ("10.1.0.10", "10.2.0.10")
HOSTS6 = ("fd00:1::10", "fd00:2::10")

ESP, UDP, ICMP, AH = 50, 17, 1, 51


def ethernet(kind: int, packet: bytes, *vlans: int) -> bytes:
    tags = b"".join(struct.pack("!HH", 0x8100, vlan) for vlan in vlans)
    return b"\x02" * 6 + b"\x04" * 6 + tags + struct.pack("!H", kind) + packet


def ipv4(pair: tuple[str, str], protocol: int, payload: bytes, offset: int = 0, options: bytes = b"") -> bytes:
    words = 5 + len(options) // 4
    head = struct.pack("!BBHHHBBH", 0x40 | words, 0, words * 4 + len(payload), 1, offset, 64, protocol, 0)
    addresses = b"".join(ipaddress.IPv4Address(address).packed for address in pair)
    return ethernet(0x0800, head + addresses + options + payload)


def ipv6(pair: tuple[str, str], following: int, payload: bytes) -> bytes:
    addresses = b"".join(ipaddress.IPv6Address(address).packed for address in pair)
    return ethernet(0x86DD, struct.pack("!IHBB", 6 << 28, len(payload), following, 64) + addresses + payload)


def udp(source: int, destination: int, data: bytes) -> bytes:
    return struct.pack("!HHHH", source, destination, 8 + len(data), 0) + data


IN_UDP = udp(4500, 4500, b"\xc1\x02\x03\x04" + b"x" * 40)
NATTED = udp(31000, 4500, b"\xc1\x02\x03\x04" + b"x" * 40)
IKE_NATT = udp(4500, 4500, b"\0\0\0\0" + b"x" * 28)
HOP_BY_HOP = bytes([ESP, 0]) + b"\0" * 6
FRAGMENT_FIRST = struct.pack("!BBHI", UDP, 0, 1, 7)
FRAGMENT_LATER = struct.pack("!BBHI", UDP, 0, 1480 | 1, 7)


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        (ipv4(GATEWAYS, ESP, b"x" * 40), "esp"),
        (ipv4(GATEWAYS, AH, b"x" * 40), "esp"),
        (ipv6(GATEWAYS6, ESP, b"x" * 40), "esp"),
        (ipv6(GATEWAYS6, 0, HOP_BY_HOP + b"x" * 40), "esp"),
        (ipv4(GATEWAYS, ESP, b"x" * 40, offset=185), "esp"),
        (ipv4(GATEWAYS, UDP, IN_UDP), "udp_esp"),
        (ipv4(GATEWAYS, UDP, IN_UDP, options=b"\1" * 4), "udp_esp"),
        (ipv4(GATEWAYS, UDP, NATTED), "udp_esp"),
        (ipv6(GATEWAYS6, UDP, IN_UDP), "udp_esp"),
        (ipv6(GATEWAYS6, 44, FRAGMENT_FIRST + IN_UDP), "udp_esp"),
        (ipv4(GATEWAYS, UDP, IKE_NATT), "ike"),
        (ipv4(GATEWAYS, UDP, udp(4500, 4500, b"\xff")), "ike"),
        (ipv4(GATEWAYS, UDP, udp(500, 500, b"x" * 28)), "ike"),
        (ipv4(HOSTS, ICMP, b"x" * 40), "plaintext"),
        (ipv4(HOSTS[::-1], ICMP, b"x" * 40), "plaintext"),
        (ipv6(HOSTS6, 58, b"x" * 40), "plaintext"),
        (ipv4(HOSTS, ICMP, b"x" * 40, offset=185), "plaintext"),
        (ipv4(HOSTS, UDP, IN_UDP), "plaintext"),
        (ipv4(HOSTS, ESP, b"x" * 40), "plaintext"),
        (ipv6(HOSTS6, 44, FRAGMENT_LATER + b"x" * 40), "plaintext"),
        (ipv4((HOSTS[0], GATEWAYS[1]), ICMP, b"x" * 40), "other"),
        (ipv4(GATEWAYS, ICMP, b"x" * 40), "other"),
        (ipv4(GATEWAYS, UDP, udp(53, 5353, b"x")), "other"),
        (ipv4(GATEWAYS, UDP, b"x" * 40, offset=185), "other"),
        (ipv6(GATEWAYS6, 44, FRAGMENT_LATER + b"x" * 40), "other"),
        (ethernet(0x0806, b"\0" * 28), "other"),
        (b"", "other"),
    ],
)
def test_frames_are_classified(frame: bytes, kind: PacketClass) -> None:
    assert classify(frame, INSIDE) == kind


def test_plaintext_with_vlan_tags_is_plaintext() -> None:
    inner = ipv4(HOSTS, ICMP, b"x" * 40)[14:]
    assert classify(ethernet(0x0800, inner, 7, 9), INSIDE) == "plaintext"


@given(st.binary(max_size=120))
def test_random_bytes_are_classified_without_error(frame: bytes) -> None:
    assert classify(frame, INSIDE) in {"esp", "udp_esp", "ike", "plaintext", "other"}


@given(st.sampled_from([HOSTS, HOSTS[::-1]]), st.integers(0, 255), st.binary(max_size=60), st.integers(0, 0x3FFF))
def test_inner_packets_are_plaintext_whatever_they_contain(
    pair: tuple[str, str], protocol: int, payload: bytes, offset: int
) -> None:
    assert classify(ipv4(pair, protocol, payload, offset), INSIDE) == "plaintext"


@given(st.sampled_from([HOSTS6, HOSTS6[::-1]]), st.sampled_from([6, 17, 50, 58, 59]), st.binary(max_size=60))
def test_inner_ipv6_packets_are_plaintext_whatever_they_contain(
    pair: tuple[str, str], following: int, payload: bytes
) -> None:
    assert classify(ipv6(pair, following, payload), INSIDE) == "plaintext"


@given(st.integers(0, 60))
def test_a_truncated_frame_is_not_plaintext(length: int) -> None:
    assert classify(ipv4(GATEWAYS, UDP, IN_UDP)[:length], INSIDE) != "plaintext"
