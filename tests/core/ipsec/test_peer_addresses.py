"""Addresses that no peer can have."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.core.ipsec.peer_addresses import peer_address_fault


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("0.0.0.0", "this network"),
        ("0.0.0.1", "this network"),
        ("127.0.0.1", "loopback"),
        ("127.255.255.254", "loopback"),
        ("169.254.10.1", "link-local"),
        ("224.0.0.1", "multicast"),
        ("239.255.255.250", "multicast"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.254", "reserved"),
        ("255.255.255.255", "broadcast"),
        ("::", "any address"),
        ("::1", "loopback"),
        ("::ffff:203.0.113.5", "IPv4-mapped"),
        ("fe80::1", "link-local"),
        ("febf::1", "link-local"),
        ("ff02::1", "multicast"),
        ("2001:db8::1%eth0", "zone"),
        ("localhost", "this host"),
        ("LocalHost.", "this host"),
        ("gw.localhost", "this host"),
        ("", "not an address"),
        ("%any", "not an address"),
        ("a b", "not an address"),
        ("203.0.113.5/32", "not an address"),
    ],
)
def test_no_peer_has_it(text: str, fault: str) -> None:
    assert fault in peer_address_fault(text)


@pytest.mark.parametrize(
    "text",
    [
        "192.0.2.1",
        "198.51.100.1",
        "203.0.113.1",
        "10.0.0.1",
        "100.64.0.1",
        "126.255.255.255",
        "128.0.0.1",
        "169.253.0.1",
        "223.255.255.255",
        "2001:db8::1",
        "fec0::1",
        "fd00::1",
        "64:ff9b::203.0.113.5",
        "localhost.example.org",
        "vpn.example.org",
    ],
)
def test_a_peer_may_have_it(text: str) -> None:
    assert peer_address_fault(text) == ""


@given(st.ip_addresses())
def test_public_addresses_are_taken(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    # Whether a mapped address counts as global depends on the version of Python.
    is_mapped = isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None
    if address.is_global and not address.is_multicast and not is_mapped:
        assert peer_address_fault(str(address)) == ""
