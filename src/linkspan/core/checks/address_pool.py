"""Address allocation of the embedded inventory: allocation pools, and the next free address.

The lowest free address is allocated, so that the same requests always get the same addresses. These functions keep no
state: addresses in use are parameters, as text.
"""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Container, Iterable, Mapping, Sequence

from linkspan.core.addresses import Address, Network, address_fault, as_network, network_fault, overlaps
from linkspan.core.errors import ApiError, invalid, invalid_input

Pool = dict[str, str]


def parse_cidr(text: str, version: int | None) -> Network:
    """The network of a new subnet. Raises ApiError for no CIDR, host bits or another IP version."""
    network = as_network(text)
    if network is None or network.prefixlen == 0:
        raise invalid("cidr", f"'{text}' is not a valid IP subnet")
    if fault := network_fault(text):
        raise invalid("cidr", f"'{text}' {fault}")
    if text != str(network):
        raise invalid("cidr", f"'{text}' isn't a recognized IP subnet cidr, '{network}' is recommended")
    if network.is_multicast or network.is_loopback or network.is_unspecified:
        raise invalid("cidr", f"'{text}' cannot be the range of a subnet")
    if version is not None and version != network.version:
        raise invalid_input(f"cidr '{text}' does not match the ip_version '{version}'")
    return network


def check_no_overlap(network: Network, others: Iterable[str], network_id: str) -> None:
    """Raises ApiError if a subnet overlaps another subnet of its network."""
    for other in others:
        if overlaps(network, as_network(other)):
            raise invalid_input(
                f"Requested subnet with cidr: {network} for network: {network_id} overlaps with another subnet"
            )


def first_and_last(network: Network) -> tuple[Address, Address]:
    """The first and last host address: not the network address, and in IPv4 not the broadcast address."""
    if network.num_addresses <= 2:
        return network[0], network[-1]
    return network[1], network[-2] if network.version == 4 else network[-1]


def is_usable(address: Address, network: Network) -> bool:
    """True if an address can be a host address of the network."""
    if address.version != network.version:
        return False
    first, last = first_and_last(network)
    return int(first) <= int(address) <= int(last)


def gateway_ip(network: Network, requested: str | None) -> str:
    """The router's address on a subnet: the requested one, else the first. Raises ApiError."""
    if requested is None:
        return str(first_and_last(network)[0])
    if fault := address_fault(requested):
        raise invalid("gateway_ip", f"'{requested}' {fault}")
    if not is_usable(ipaddress.ip_address(requested), network):
        raise invalid_input("Gateway is not valid on subnet")
    return requested


def allocation_pools(network: Network, gateway: str | None) -> list[Pool]:
    """The allocation pools of a subnet: all host addresses except the gateway's."""
    first, last = first_and_last(network)
    if gateway is None:
        return [_pool(first, last)]
    gateway_address = ipaddress.ip_address(gateway)
    ranges = []
    if int(gateway_address) > int(first):
        ranges.append(_pool(first, gateway_address - 1))
    if int(gateway_address) < int(last):
        ranges.append(_pool(gateway_address + 1, last))
    return ranges


def check_pools(pools: Sequence[Pool], network: Network, gateway: str | None) -> None:
    """Raises ApiError for pools that are not ranges of host addresses of the network, overlap, or hold the gateway's
    address. Types and messages are Neutron's."""
    ranges = []
    for pool in pools:
        start, end = ipaddress.ip_address(pool["start"]), ipaddress.ip_address(pool["end"])
        text = f"{start}-{end}"
        if start.version != network.version or end.version != network.version or int(start) > int(end):
            raise ApiError("InvalidAllocationPool", f"The allocation pool {text} is not valid.")
        if not is_usable(start, network) or not is_usable(end, network):
            message = f"The allocation pool {text} spans beyond the subnet cidr {network}."
            raise ApiError("OutOfBoundsAllocationPool", message)
        if gateway is not None and int(start) <= int(ipaddress.ip_address(gateway)) <= int(end):
            message = f"Gateway ip {gateway} conflicts with allocation pool {text}."
            raise ApiError("GatewayConflictWithAllocationPools", message)
        ranges.append((int(start), int(end), text))
    ranges.sort()
    for (_, end_of_first, first), (start_of_second, _, second) in itertools.pairwise(ranges):
        if start_of_second <= end_of_first:
            message = f"Found overlapping allocation pools: {first} {second} for subnet {network}."
            raise ApiError("OverlappingAllocationPools", message)


def _pool(start: Address, end: Address) -> Pool:
    return {"start": str(start), "end": str(end)}


def lowest_free(pools: Sequence[Pool], used: Container[str]) -> str | None:
    """The lowest address of the pools that is not in use; None if all are."""
    for pool in pools:
        address, end = ipaddress.ip_address(pool["start"]), int(ipaddress.ip_address(pool["end"]))
        while int(address) <= end:
            if str(address) not in used:
                return str(address)
            address += 1
    return None


def check_fixed_address(requested: str, subnet: Mapping[str, str | None], used: Container[str]) -> str:
    """A requested address of a subnet. Raises ApiError if it is invalid or in use."""
    if fault := address_fault(requested):
        raise invalid("external_fixed_ips", f"'{requested}' {fault}")
    network = as_network(subnet["cidr"])
    if network is None or not is_usable(ipaddress.ip_address(requested), network) or requested == subnet["gateway_ip"]:
        raise invalid_input(f"IP address {requested} is not a valid IP for the specified subnet")
    if requested in used:
        raise ApiError("IpAddressGenerationFailure", f"The IP address {requested} is in use.")
    return requested
