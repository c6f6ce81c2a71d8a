"""Checks of a subnet's name servers and host routes against the subnet. Types and messages are Neutron's."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence

from linkspan.core.errors import ApiError, invalid_input
from linkspan.core.schema.subnet_options import MAX_HOST_ROUTES, MAX_NAME_SERVERS


def check_name_servers(servers: Sequence[str], ip_version: int, subnet: str) -> None:
    """Raises ApiError for too many name servers, or one of another IP version. `subnet`: its id, for the message."""
    if len(servers) > MAX_NAME_SERVERS:
        raise _too_many("DNSNameServersExhausted", subnet, "DNS nameservers", MAX_NAME_SERVERS)
    for server in servers:
        _check_version("dns_nameserver", server, ip_version)


def check_host_routes(routes: Sequence[Mapping[str, str]], ip_version: int, subnet: str) -> None:
    """Raises ApiError for too many host routes, or one of another IP version."""
    if len(routes) > MAX_HOST_ROUTES:
        raise _too_many("HostRoutesExhausted", subnet, "host routes", MAX_HOST_ROUTES)
    for route in routes:
        _check_version("nexthop", route["nexthop"], ip_version)
        _check_version("destination", route["destination"], ip_version)


def _check_version(name: str, text: str, ip_version: int) -> None:
    if ipaddress.ip_interface(text).version != ip_version:
        raise invalid_input(f"{name} '{text}' does not match the ip_version '{ip_version}'")


def _too_many(type: str, subnet: str, noun: str, most: int) -> ApiError:
    message = f"Unable to complete operation for {subnet}. The number of {noun} exceeds the limit {most}."
    return ApiError(type, message)
