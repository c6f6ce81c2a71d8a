"""Address ranges and which address comes next: the arithmetic of the embedded inventory.

Deterministic: the lowest free address wins, so that the same requests give the same addresses. It keeps nothing and
knows no ports; what is taken comes in as text.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Container, Iterable, Mapping, Sequence

from linkspan.core.addresses import Address, Network, as_network, overlaps
from linkspan.core.errors import ApiError, invalid

Pool = dict[str, str]


def parse_cidr(text: str, version: int | None) -> Network:
    """The network of a new subnet. Raises Problem for what is none, has host bits, or is of another version."""
    network = as_network(text)
    if network is None or network.prefixlen == 0:
        raise invalid("cidr", f"'{text}' is not a valid IP subnet")
    if str(network) != text.lower() and text.partition("/")[0] != str(network.network_address):
        exact = ipaddress.ip_interface(text).ip
        if exact != network.network_address:
            raise invalid("cidr", f"'{text}' isn't a recognized IP subnet cidr, '{network}' is recommended")
    if network.is_multicast or network.is_loopback or network.is_unspecified:
        raise invalid("cidr", f"'{text}' cannot be the range of a subnet")
    if version is not None and version != network.version:
        raise _input(f"cidr '{text}' does not match the ip_version '{version}'.")
    return network


def check_no_overlap(network: Network, others: Iterable[str], network_id: str) -> None:
    """Raises Problem if a subnet would overlap another one of its network."""
    for other in others:
        if overlaps(network, as_network(other)):
            raise _input(
                f"Requested subnet with cidr: {network} for network: {network_id} overlaps with another subnet."
            )


def first_and_last(network: Network) -> tuple[Address, Address]:
    """The ends of what hosts can have: without the network's own address, and in IPv4 without the broadcast one."""
    if network.num_addresses <= 2:
        return network[0], network[-1]
    return network[1], network[-2] if network.version == 4 else network[-1]


def is_usable(address: Address, network: Network) -> bool:
    """Whether a host of a network can have an address."""
    if address.version != network.version:
        return False
    first, last = first_and_last(network)
    return int(first) <= int(address) <= int(last)


def gateway_ip(network: Network, given: str | None) -> str:
    """The address of a subnet's router: the one given, else the first. Raises Problem."""
    if given is None:
        return str(first_and_last(network)[0])
    try:
        address = ipaddress.ip_address(given)
    except ValueError:
        raise invalid("gateway_ip", f"'{given}' is not a valid IP address") from None
    if not is_usable(address, network) or getattr(address, "scope_id", None):
        raise _input("Gateway is not valid on subnet.")
    return str(address)


def pools(network: Network, gateway: str | None) -> list[Pool]:
    """What addresses are taken from: everything usable but the gateway's."""
    first, last = first_and_last(network)
    if gateway is None:
        return [_pool(first, last)]
    middle = ipaddress.ip_address(gateway)
    made = []
    if int(middle) > int(first):
        made.append(_pool(first, middle - 1))
    if int(middle) < int(last):
        made.append(_pool(middle + 1, last))
    return made


def _pool(start: Address, end: Address) -> Pool:
    return {"start": str(start), "end": str(end)}


def lowest_free(ranges: Sequence[Pool], used: Container[str]) -> str | None:
    """The lowest address of the pools that nobody has, None if there is none."""
    for pool in ranges:
        address, end = ipaddress.ip_address(pool["start"]), int(ipaddress.ip_address(pool["end"]))
        while int(address) <= end:
            if str(address) not in used:
                return str(address)
            address += 1
    return None


def check_fixed_address(given: str, subnet: Mapping[str, str | None], used: Container[str]) -> str:
    """A particular address of a subnet, for a port. Raises Problem if it cannot be had."""
    network = as_network(subnet["cidr"])
    try:
        address = ipaddress.ip_address(given)
    except ValueError:
        raise invalid("external_fixed_ips", f"'{given}' is not a valid IP address") from None
    if network is None or not is_usable(address, network) or str(address) == subnet["gateway_ip"]:
        raise _input(f"IP address {given} is not a valid IP for the specified subnet.")
    if str(address) in used:
        raise ApiError("IpAddressGenerationFailure", f"The IP address {address} is in use.")
    return str(address)


def _input(reason: str) -> ApiError:
    return ApiError("InvalidInput", f"Invalid input for operation: {reason}")
