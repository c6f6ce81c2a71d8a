"""Quotas: how many objects of each kind a project may have. Names and words are Neutron's; -1 means any number.

Pure: it counts nothing. A project without a quota of its own has the default, which is a setting; ports are not
counted, because they come and go with the legs of routers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from linkspan.core.errors import ApiError, invalid
from linkspan.core.schema.attribute_types import MAX_INT, as_integer
from linkspan.core.schema.resources import RESOURCES, Resource

UNLIMITED: Final = -1
COUNTED: Final[dict[str, Resource]] = {resource.singular: resource for resource in RESOURCES if resource.writable}
"""What has a quota, by the name that the API gives it."""
DEFAULTS: Final[dict[str, int]] = {
    **dict.fromkeys(COUNTED, UNLIMITED),
    "ipsec_site_connection": 1000,
}
"""Connections alone are counted unless somebody says so: each costs a gateway memory and a peer's packets. Neutron lets
a project have ten routers; here each site that somebody joins is one."""

_BESIDE: Final = frozenset({"tenant_id", "project_id", "force", "check_limit"})
"""What clients send beside quotas: `force` and `check_limit` say whether a quota may be below what is used."""


def parse_quotas(given: Mapping[str, Any]) -> dict[str, int]:
    """The quotas of a PUT. Raises Problem."""
    unknown = sorted(set(given) - COUNTED.keys() - _BESIDE)
    if unknown:
        raise ApiError("HTTPBadRequest", f"Unrecognized attribute(s) '{', '.join(unknown)}'")
    limits: dict[str, int] = {}
    for name in COUNTED:
        if name not in given:
            continue
        number = as_integer(given[name])
        if number is None or not UNLIMITED <= number <= MAX_INT:
            raise invalid(name, f"'{given[name]}' is not an integer from {UNLIMITED} (unlimited) to {MAX_INT}")
        limits[name] = number
    return limits


def check_room(name: str, limit: int, used: int) -> None:
    """Whether a project may have `used` objects of a kind. Raises Problem OverQuota."""
    if used > limit != UNLIMITED:
        raise ApiError("OverQuota", f"Quota exceeded for resources: ['{name}'].")
