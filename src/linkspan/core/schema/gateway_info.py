"""A router's external gateway as clients write and read it: the only attribute that is an object of references.

This module checks the form. The write of the router checks whether network and addresses exist.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from linkspan.core.errors import invalid
from linkspan.core.schema.attribute_types import (
    AttributeType,
    Column,
    IpAddress,
    Schema,
    Uuid,
    check_keys,
    closed,
    is_uuid,
)

MAX_FIXED_IPS: Final = 16
"""The most addresses that a client may set for one gateway."""
_ADDRESS: Final = IpAddress()
_FIXED: Final = {"subnet_id": Uuid(optional=True).schema(), "ip_address": _ADDRESS.schema()}
_SHOWN: Final = {"subnet_id": Uuid().shown(), "ip_address": _ADDRESS.shown()}


class GatewayInfo(AttributeType, frozen=True):
    """`{network_id, external_fixed_ips}`; null or `{}`: no gateway. SNAT is not supported."""

    @property
    def column(self) -> Column:
        return "json"

    def convert(self, name: str, value: Any) -> Mapping[str, Any]:
        if value is None or value == {}:
            return {}
        check_keys(name, value, ("network_id", "external_fixed_ips", "enable_snat", "qos_policy_id"))
        if not is_uuid(value.get("network_id")):
            raise invalid(name, f"'{value.get('network_id')}' is not a valid UUID")
        if value.get("enable_snat", False) not in (False, None):
            raise invalid(name, "enable_snat is not supported: a gateway does not translate addresses")
        if value.get("qos_policy_id"):
            raise invalid(name, "qos_policy_id is not supported")
        fixed_ips = _without_empty_ids(value.get("external_fixed_ips"))
        if fixed_ips is not None and not _are_fixed_ips(fixed_ips):
            raise invalid(name, "external_fixed_ips is not a list of {subnet_id, ip_address}")
        for fixed_ip in fixed_ips or ():
            if "ip_address" in fixed_ip:
                _ADDRESS.convert("external_fixed_ips", fixed_ip["ip_address"])
        return {"network_id": value["network_id"].lower(), "external_fixed_ips": fixed_ips or []}

    def schema(self) -> Schema:
        fixed_ip = {"type": "object", "properties": _FIXED, "minProperties": 1, "additionalProperties": False}
        properties = {
            "network_id": Uuid().schema(),
            "external_fixed_ips": {"type": ["array", "null"], "items": fixed_ip, "maxItems": MAX_FIXED_IPS},
            "enable_snat": {"enum": [False, None]},
            "qos_policy_id": {"enum": [None, ""]},
        }
        gateway = {"properties": properties, "required": ["network_id"], "additionalProperties": False}
        return {"oneOf": [{"type": "object", **gateway}, {"type": "object", "maxProperties": 0}, {"type": "null"}]}

    def shown(self) -> Schema:
        return closed(
            network_id=Uuid().schema(),
            external_fixed_ips={"type": "array", "items": closed(**_SHOWN)},
            enable_snat={"const": False},
        )


def _without_empty_ids(value: Any) -> Any:
    """A list of addresses without a `subnet_id` that is null or empty."""
    if not isinstance(value, list) or not all(isinstance(fixed_ip, dict) for fixed_ip in value):
        return value
    empty = (("subnet_id", None), ("subnet_id", ""))
    return [{key: text for key, text in fixed_ip.items() if (key, text) not in empty} for fixed_ip in value]


def _are_fixed_ips(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) <= MAX_FIXED_IPS
        and all(
            isinstance(fixed_ip, dict)
            and fixed_ip
            and set(fixed_ip) <= {"subnet_id", "ip_address"}
            and all(isinstance(text, str) for text in fixed_ip.values())
            for fixed_ip in value
        )
    )
