"""Quotas: the number of objects of each resource that a project may have. Names and messages are Neutron's.

This module counts nothing. A project without a quota of its own has the default, which is a setting. Ports have no
quota, because routers create and delete them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from linkspan.core.errors import ApiError, invalid
from linkspan.core.schema.attribute_types import MAX_INT, as_integer
from linkspan.core.schema.resources import RESOURCES, Resource

UNLIMITED: Final = -1
"""The quota that allows any number of objects."""
COUNTED: Final[dict[str, Resource]] = {resource.singular: resource for resource in RESOURCES if resource.writable}
"""The resources that have a quota, by their names in the API."""
DEFAULTS: Final[dict[str, int]] = {
    **dict.fromkeys(COUNTED, UNLIMITED),
    "ipsec_site_connection": 1000,
    "vpnservice": 10,
    "certificate": 100,
    "trust_anchor": 100,
    "router": 10,
    "network": 100,
    "subnet": 100,
}
"""Default quotas. Those of the inventory are Neutron's: a router with a gateway takes an address of the external
network, which all projects share. Services bound a project's gateways, each of which is a charon on a node. A
connection costs memory and packets of its gateway. A revocation list is checked against each certificate."""

_OTHER_NAMES: Final = frozenset({"tenant_id", "project_id", "force", "check_limit"})
"""Other names in the same object. `force` and `check_limit` say whether a quota may be below the usage."""


def parse_quotas(values: Mapping[str, Any]) -> dict[str, int]:
    """Parses the quotas of a PUT. Raises ApiError."""
    unknown = sorted(set(values) - COUNTED.keys() - _OTHER_NAMES)
    if unknown:
        raise ApiError("HTTPBadRequest", f"Unrecognized attribute(s) '{', '.join(unknown)}'")
    limits: dict[str, int] = {}
    for name in COUNTED:
        if name not in values:
            continue
        number = as_integer(values[name])
        if number is None or not UNLIMITED <= number <= MAX_INT:
            raise invalid(name, f"'{values[name]}' is not an integer from {UNLIMITED} (unlimited) to {MAX_INT}")
        limits[name] = number
    return limits


def check_room(name: str, limit: int, used: int) -> None:
    """Raises ApiError OverQuota if a project may not have `used` objects of a resource."""
    if used > limit != UNLIMITED:
        raise ApiError("OverQuota", f"Quota exceeded for resources: ['{name}'].")
