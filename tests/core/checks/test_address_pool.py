"""Subnets and address allocation of the embedded inventory."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.core.checks import address_pool
from linkspan.core.errors import ApiError
from tests.core.samples import attempt

NETWORKS = st.one_of(
    st.tuples(st.ip_addresses(v=4), st.integers(1, 32)), st.tuples(st.ip_addresses(v=6), st.integers(1, 128))
).map(lambda pair: ipaddress.ip_network(pair, strict=False))


def _size(pool: dict[str, str]) -> int:
    return int(ipaddress.ip_address(pool["end"])) - int(ipaddress.ip_address(pool["start"])) + 1


@given(network=NETWORKS, position=st.integers(0, 2**128))
def test_allocation_pools_have_every_usable_address_except_the_gateway(network: Any, position: int) -> None:
    first, last = address_pool.first_and_last(network)
    usable = int(last) - int(first) + 1
    gateway = first + position % usable
    assert address_pool.is_usable(gateway, network)
    pools = address_pool.allocation_pools(network, str(gateway))
    assert sum(_size(pool) for pool in pools) == usable - 1
    assert sum(_size(pool) for pool in address_pool.allocation_pools(network, None)) == usable
    for pool in pools:
        for end in (ipaddress.ip_address(pool["start"]), ipaddress.ip_address(pool["end"])):
            assert address_pool.is_usable(end, network)
            assert end != gateway


@given(network=NETWORKS, offsets=st.sets(st.integers(0, 40)))
def test_the_lowest_free_address_is_allocated(network: Any, offsets: set[int]) -> None:
    first, last = address_pool.first_and_last(network)
    used = {str(first + number) for number in offsets if int(first) + number <= int(last)}
    address = address_pool.lowest_free(address_pool.allocation_pools(network, None), used)
    if address is None:
        assert len(used) == int(last) - int(first) + 1
        return
    assert address not in used
    assert all(str(first + number) in used for number in range(int(ipaddress.ip_address(address)) - int(first)))


@given(network=NETWORKS)
def test_the_default_gateway_is_in_the_subnet(network: Any) -> None:
    assert ipaddress.ip_address(address_pool.gateway_ip(network, None)) in network


def test_a_full_pool_has_no_free_address() -> None:
    pools = [{"start": "10.0.0.2", "end": "10.0.0.3"}, {"start": "10.0.0.9", "end": "10.0.0.9"}]
    assert address_pool.lowest_free(pools, {"10.0.0.2", "10.0.0.3"}) == "10.0.0.9"
    assert address_pool.lowest_free(pools, {"10.0.0.2", "10.0.0.3", "10.0.0.9"}) is None
    assert address_pool.lowest_free([], ()) is None


@pytest.mark.parametrize(
    ("text", "network"),
    [("10.1.0.0/24", "10.1.0.0/24"), ("fd00::/64", "fd00::/64"), ("10.0.0.1/32", "10.0.0.1/32")],
)
def test_valid_cidrs_are_parsed(text: str, network: str) -> None:
    assert str(address_pool.parse_cidr(text, None)) == network
    assert str(address_pool.parse_cidr(text, 6 if ":" in text else 4)) == network


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "10.1.0.0",
        "10.1.0.7/24",
        "0.0.0.0/0",
        "::/0",
        "fd00::1/64",
        "224.0.0.0/4",
        "127.0.0.0/8",
        "::/128",
        "FD00::/64",
        "fd00:0::/64",
        "10.1.0.0/024",
        "fd00::%a/64",
        "::ffff:10.1.0.0/120",
    ],
)
def test_invalid_cidrs_are_refused(text: str) -> None:
    with pytest.raises(ApiError) as caught:
        address_pool.parse_cidr(text, None)
    assert caught.value.status == 400


@given(text=st.text(max_size=20), version=st.sampled_from([None, 4, 5, 6]))
def test_any_text_is_parsed_or_refused(text: str, version: int | None) -> None:
    network = attempt(address_pool.parse_cidr, text, version)
    if network is not None:
        assert version in (None, network.version)


@pytest.mark.parametrize(
    "address", ["10.1.0.0", "10.1.0.255", "10.1.0.1", "10.2.0.1", "fd00::1", "x", "10.1.0.9", "10.1.0.7/24"]
)
def test_unavailable_addresses_are_refused(address: str) -> None:
    subnet = {"cidr": "10.1.0.0/24", "gateway_ip": "10.1.0.1"}
    assert address_pool.check_fixed_address("10.1.0.7", subnet, {"10.1.0.9"}) == "10.1.0.7"
    with pytest.raises(ApiError):
        address_pool.check_fixed_address(address, subnet, {"10.1.0.9"})


@pytest.mark.parametrize("address", ["fd00::7%a", "fd00::7%", "fd00:0::7", "FD00::7", "fd00::7/64", "fd00::0007"])
def test_an_address_has_one_text(address: str) -> None:
    subnet = {"cidr": "fd00::/64", "gateway_ip": "fd00::1"}
    assert address_pool.check_fixed_address("fd00::7", subnet, ()) == "fd00::7"
    assert address_pool.gateway_ip(ipaddress.ip_network("fd00::/64"), "fd00::7") == "fd00::7"
    with pytest.raises(ApiError, match="is not a valid IP address"):
        address_pool.check_fixed_address(address, subnet, ())
    with pytest.raises(ApiError, match="is not a valid IP address"):
        address_pool.gateway_ip(ipaddress.ip_network("fd00::/64"), address)
