"""The options of a subnet that its hosts get: name servers and host routes, as clients write them.

This module checks the form. `core.checks.subnet_options` checks whether they fit their subnet.
"""

from __future__ import annotations

from typing import Any, Final

from linkspan.core.addresses import as_network, network_fault
from linkspan.core.errors import invalid
from linkspan.core.schema.attribute_types import CIDR, AttributeType, Column, IpAddress, Schema, check_keys, closed

MAX_NAME_SERVERS: Final = 5
MAX_HOST_ROUTES: Final = 20
"""Neutron's defaults."""
_ADDRESS: Final = IpAddress()


class NameServers(AttributeType, frozen=True):
    """A list of distinct addresses; null is an empty one."""

    @property
    def column(self) -> Column:
        return "json"

    def convert(self, name: str, value: Any) -> list[str]:
        if value is not None and not isinstance(value, list):
            raise invalid(name, f"Invalid data format for nameserver: '{value}'")
        servers: list[str] = []
        for server in value or ():
            if (address := _ADDRESS.convert(name, server)) in servers:
                raise invalid(name, f"Duplicate nameserver '{address}'")
            servers.append(address)
        return servers

    def schema(self) -> Schema:
        items = _ADDRESS.schema()
        return {"type": ["array", "null"], "items": items, "maxItems": MAX_NAME_SERVERS, "uniqueItems": True}

    def shown(self) -> Schema:
        return {"type": "array", "items": _ADDRESS.shown()}


class HostRoutes(AttributeType, frozen=True):
    """A list of distinct `{destination, nexthop}`; null is an empty one."""

    @property
    def column(self) -> Column:
        return "json"

    def convert(self, name: str, value: Any) -> list[dict[str, str]]:
        if value is not None and not isinstance(value, list):
            raise invalid(name, f"Invalid data format for hostroute: '{value}'")
        routes: list[dict[str, str]] = []
        for route in value or ():
            check_keys(name, route, ("destination", "nexthop"))
            if len(route) < 2:
                raise invalid(name, "a route needs a destination and a nexthop")
            converted = {
                "destination": _destination(name, route["destination"]),
                "nexthop": _ADDRESS.convert(name, route["nexthop"]),
            }
            if converted in routes:
                raise invalid(name, f"Duplicate hostroute '{converted}'")
            routes.append(converted)
        return routes

    def schema(self) -> Schema:
        items = closed(destination=CIDR, nexthop=_ADDRESS.schema())
        return {"type": ["array", "null"], "items": items, "maxItems": MAX_HOST_ROUTES, "uniqueItems": True}

    def shown(self) -> Schema:
        destination = {"type": "string", "format": "cidr"}
        return {"type": "array", "items": closed(destination=destination, nexthop=_ADDRESS.shown())}


def _destination(name: str, value: Any) -> str:
    network = as_network(value)
    if network is None:
        raise invalid(name, f"'{value}' is not a valid CIDR")
    if fault := network_fault(value):
        raise invalid(name, f"'{value}' {fault}")
    if value != str(network):
        raise invalid(name, f"'{value}' is not a valid CIDR: it has host bits, '{network}' is recommended")
    if network.is_loopback:
        raise invalid(name, f"'{value}' is not a routable CIDR")
    return str(value)
