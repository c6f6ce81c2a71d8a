"""The effective MTU. The figures are those of a kernel with ESP: IP_MTU of a socket through the tunnel."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.core.ipsec import algorithms, mtu
from linkspan.core.ipsec.mtu import PairMtu
from linkspan.core.ipsec.selectors import SelectorPair
from linkspan.core.state.desired import Connection, IpsecPolicy
from linkspan.core.state.observed import ConnectionReport
from tests.drivers.machine import connection

V4, V6 = ("203.0.113.1", "203.0.113.2"), ("2001:db8:ff::1", "2001:db8:ff::2")


def connection_with(
    protocol: str, mode: str, encryption: str, auth: str, outer: int = 4, **changes: object
) -> Connection:
    policy = IpsecPolicy(protocol, mode, encryption, auth, "group14", "seconds", 3600)  # type: ignore[arg-type]
    local, remote = V4 if outer == 4 else V6
    return connection(1, 2, ipsec=policy, local_address=local, peer_address=remote, **changes)


@pytest.mark.parametrize(
    ("protocol", "mode", "encryption", "auth", "ipv4", "ipv6"),
    [
        ("esp", "tunnel", "3des", "sha1", 1446, 1430),
        ("esp", "tunnel", "3des", "sha256", 1446, 1422),
        ("esp", "tunnel", "3des", "sha384", 1438, 1414),
        ("esp", "tunnel", "3des", "sha512", 1430, 1406),
        ("esp", "tunnel", "aes-128", "sha1", 1438, 1422),
        ("esp", "tunnel", "aes-256", "sha256", 1438, 1406),
        ("esp", "tunnel", "aes-128", "sha384", 1422, 1406),
        ("esp", "tunnel", "aes-128", "sha512", 1422, 1390),
        ("esp", "tunnel", "aes-128", "aes-xcbc", 1438, 1422),
        ("esp", "tunnel", "aes-128", "aes-cmac", 1438, 1422),
        ("esp", "tunnel", "aes-128-ctr", "sha256", 1446, 1426),
        ("esp", "tunnel", "aes-128-gcm-8", "sha256", 1454, 1434),
        ("esp", "tunnel", "aes-256-gcm-12", "sha256", 1450, 1430),
        ("esp", "tunnel", "aes-128-gcm-16", "sha256", 1446, 1426),
        ("esp", "tunnel", "aes-128-ccm-8", "sha256", 1454, 1434),
        ("esp", "tunnel", "aes-256-ccm-16", "sha256", 1446, 1426),
        ("esp", "transport", "3des", "sha256", 1466, 1462),
        ("esp", "transport", "aes-128", "sha256", 1458, 1446),
        ("esp", "transport", "aes-128-gcm-16", "sha256", 1466, 1466),
        ("ah", "tunnel", "aes-128", "sha1", 1456, 1436),
        ("ah", "tunnel", "aes-128", "sha256", 1452, 1428),
        ("ah", "tunnel", "aes-128", "sha384", 1444, 1420),
        ("ah", "tunnel", "aes-128", "sha512", 1436, 1412),
        ("ah", "transport", "aes-128", "sha1", 1476, 1476),
        ("ah", "transport", "aes-128", "sha256", 1472, 1468),
        ("ah", "transport", "aes-128", "sha512", 1456, 1452),
    ],
)
def test_the_limits_are_those_of_the_kernel_at_1500(
    protocol: str, mode: str, encryption: str, auth: str, ipv4: int, ipv6: int
) -> None:
    for outer, limit in ((4, ipv4), (6, ipv6)):
        sample = connection_with(protocol, mode, encryption, auth, outer)
        assert mtu.effective_mtu(sample, "kernel", 1500) == limit
        assert {pair_mtu.route for pair_mtu in mtu.pair_mtus(sample, "kernel", 1500)} == {0}, (
            "the kernel enforces the limit itself"
        )


@pytest.mark.parametrize(
    ("protocol", "encryption", "auth", "outer", "configured", "effective", "route"),
    [
        ("esp", "3des", "sha256", 4, 1337, 1330, 1364),
        ("esp", "aes-128", "sha256", 4, 1400, 1394, 1436),
        ("esp", "aes-128", "sha256", 6, 1300, 1286, 1328),
        ("esp", "aes-128-gcm-16", "sha256", 4, 1299, 1298, 1332),
        ("ah", "aes-128", "sha1", 4, 1300, 1300, 1324),
        ("ah", "aes-128", "sha256", 6, 1299, 1299, 1331),
    ],
)
def test_in_transport_mode_the_route_has_the_mtu_after_esp(
    protocol: str, encryption: str, auth: str, outer: int, configured: int, effective: int, route: int
) -> None:
    """The figures are those of a kernel with this route: the MTU that hosts see changes in whole blocks."""
    sample = connection_with(protocol, "transport", encryption, auth, outer, mtu=configured)
    assert mtu.effective_mtu(sample, "kernel", 1500) == effective
    assert {pair_mtu.route for pair_mtu in mtu.pair_mtus(sample, "kernel", 1500)} == {route}


def test_a_route_enforces_an_mtu_below_the_limit() -> None:
    sample = connection_with("esp", "tunnel", "aes-128", "sha256", mtu=1437)
    assert mtu.pair_mtus(sample, "kernel", 1500) == {PairMtu(SelectorPair("10.1.0.0/24", "10.2.0.0/24"), 1437, 1437)}
    (pair_mtu,) = mtu.pair_mtus(msgspec.structs.replace(sample, mtu=1438), "kernel", 1500)
    assert (pair_mtu.mtu, pair_mtu.route, pair_mtu.mss) == (1438, 0, 1398)


@pytest.mark.parametrize(
    ("configured", "outside", "effective", "route"),
    [(1500, 1500, 1400, 0), (1400, 1500, 1400, 0), (1399, 1500, 1399, 1399), (1500, 1400, 1326, 1326)],
)
def test_user_space_has_esp_in_udp_and_a_tun_of_1400(configured: int, outside: int, effective: int, route: int) -> None:
    (pair_mtu,) = mtu.pair_mtus(
        connection_with("esp", "tunnel", "aes-128", "sha256", mtu=configured), "user-space", outside
    )
    assert (pair_mtu.mtu, pair_mtu.route) == (effective, route)


def test_user_space_over_ipv6_may_allow_less_than_its_tun() -> None:
    assert mtu.effective_mtu(connection_with("esp", "tunnel", "aes-128", "sha512", outer=6), "user-space", 1500) == 1390


def test_every_selector_pair_has_an_mtu() -> None:
    sample = connection_with("esp", "tunnel", "aes-128", "sha256", local_cidrs=("10.1.0.0/24", "10.1.1.0/24"), mtu=1300)
    assert {pair_mtu.pair.local for pair_mtu in mtu.pair_mtus(sample, "kernel", 1500)} == {"10.1.0.0/24", "10.1.1.0/24"}
    six = connection_with(
        "esp", "tunnel", "aes-128", "sha256", local_cidrs=("fd00::/64",), peer_cidrs=("::/0",), mtu=1300
    )
    (pair_mtu,) = mtu.pair_mtus(six, "kernel", 1500)
    assert pair_mtu.mss == 1240


@pytest.mark.parametrize("peer", ["203.0.113.2", "gateway.example.org"])
def test_the_tunnels_own_packets_are_not_routed_into_it(peer: str) -> None:
    sample = msgspec.structs.replace(
        connection_with("esp", "tunnel", "aes-128", "sha256", mtu=1300),
        peer_address=peer,
        local_cidrs=("0.0.0.0/0",),
        peer_cidrs=("203.0.113.0/24",),
    )
    assert mtu.pair_mtus(sample, "user-space", 1500) == frozenset()
    elsewhere = msgspec.structs.replace(sample, local_cidrs=("10.1.0.0/24",))
    assert len(mtu.pair_mtus(elsewhere, "user-space", 1500)) == 1


def test_the_lower_mtu_of_a_shared_pair_applies() -> None:
    pair = SelectorPair("10.1.0.0/24", "10.2.0.0/24")
    low, high = PairMtu(pair, 1200, 1200), PairMtu(pair, 1300, 1300)
    assert mtu.merged([high, low]) == mtu.merged([low, high]) == {low}


def test_a_report_without_an_mtu_is_decoded() -> None:
    report = msgspec.json.decode(
        b'{"id": "0d1c7c3e-6a55-4b8c-9a56-2f6f5a9f0b11", "generation": 1, "revision": 2, "state": "up"}',
        type=ConnectionReport,
    )
    assert report.effective_mtu is None


@given(
    encryption=st.sampled_from(sorted(algorithms.ENCRYPTION)),
    auth=st.sampled_from(sorted(algorithms.INTEGRITY)),
    mode=st.sampled_from(["tunnel", "transport"]),
    protocol=st.sampled_from(["esp", "ah"]),
    outer=st.sampled_from([4, 6]),
    configured=st.integers(1280, 9216),
    outside=st.integers(1400, 9216),
)
def test_the_mtu_is_at_most_the_configured_one_and_fits_the_path(
    encryption: str, auth: str, mode: str, protocol: str, outer: int, configured: int, outside: int
) -> None:
    sample = connection_with(protocol, mode, encryption, auth, outer, mtu=configured)
    effective = mtu.effective_mtu(sample, "kernel", outside)
    assert effective <= configured
    assert effective < outside
    assert effective > min(configured, outside - 120) - 16, "not much lower than necessary"
    (pair_mtu,) = mtu.pair_mtus(sample, "kernel", outside)
    assert pair_mtu.mtu == effective
    assert pair_mtu.route <= outside
