"""The types of VPN attributes: lifetimes, dead peer detection, peer addresses and IKE identities.

They are apart from `core.schema.attribute_types` because they need IPsec's terms.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any, Final, get_args

from linkspan.core.errors import ApiError, invalid
from linkspan.core.ipsec import identities
from linkspan.core.schema.attribute_types import MAX_INT, AttributeType, Column, Schema, as_integer, is_storable, whole
from linkspan.core.state.desired import DpdAction

LIFETIME_DEFAULT: Final[Mapping[str, Any]] = {"units": "seconds", "value": 3600}
"""Neutron's default, of IKE and of IPsec policies."""


class Lifetime(AttributeType, frozen=True):
    """`{units, value}`; null, `{}` or a part is filled from the defaults, on update from what is stored."""

    units: tuple[str, ...]
    least: int = 60

    @property
    def column(self) -> Column:
        return "json"

    def convert(self, name: str, value: Any) -> dict[str, Any]:
        return self.merge(name, LIFETIME_DEFAULT, value)

    def merge(self, name: str, stored: Any, value: Any) -> dict[str, Any]:
        given = {} if value is None else value
        _only_keys(name, given, ("units", "value"))
        if "units" in given and given["units"] not in self.units:
            raise invalid(name, f"{given['units']} is not in valid_values")
        if "value" in given:
            number = as_integer(given["value"])
            if number is None:
                raise invalid(name, f"'{given['value']}' is not an integer")
            if number < self.least:
                raise invalid(name, f"'{number}' is too small - must be at least '{self.least}'")
            if number > MAX_INT:
                raise invalid(name, f"'{number}' is too large - must be no larger than '{MAX_INT}'")
            given = given | {"value": number}
        merged: dict[str, Any] = stored | given
        return merged

    def schema(self) -> Schema:
        properties = {
            "units": {"type": "string", "enum": list(self.units)},
            "value": whole(self.least, MAX_INT),
        }
        return {"type": ["object", "null"], "properties": properties, "additionalProperties": False}

    def shown(self) -> Schema:
        # The answer to a PUT has the value in the type that it was sent in.
        properties = {"units": {"type": "string", "enum": list(self.units)}, "value": {"type": ["integer", "string"]}}
        return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


DPD_ACTIONS: Final[tuple[DpdAction, ...]] = get_args(DpdAction)
DPD_DEFAULT: Final[Mapping[str, Any]] = {"action": "hold", "interval": 30, "timeout": 120}
"""Neutron's defaults, seconds."""
DPD_MOST: Final = 86_400
_DPD_ACTION: Final = {"type": "string", "enum": list(DPD_ACTIONS)}


class DeadPeerDetection(AttributeType, frozen=True):
    """`{action, interval, timeout}` in seconds; parts are merged over the defaults, on update over what is stored."""

    @property
    def column(self) -> Column:
        return "json"

    def convert(self, name: str, value: Any) -> dict[str, Any]:
        return self.merge(name, DPD_DEFAULT, value)

    def merge(self, name: str, stored: Any, value: Any) -> dict[str, Any]:
        given = {} if value is None else value
        _only_keys(name, given, ("action", "interval", "timeout"))
        if "action" in given and given["action"] not in DPD_ACTIONS:
            raise invalid(name, f"{given['action']} is not in valid_values")
        numbers = {key: _seconds(name, given[key]) for key in ("interval", "timeout") if key in given}
        merged: dict[str, Any] = stored | given | numbers
        if merged["timeout"] <= merged["interval"]:
            raise ApiError(
                "IPsecSiteConnectionDpdIntervalValueError",
                "ipsec_site_connection dpd_timeout is equal to or less than dpd_interval",
            )
        return merged

    def schema(self) -> Schema:
        number = whole(1, DPD_MOST)
        properties = {"action": _DPD_ACTION, "interval": number, "timeout": number}
        return {"type": ["object", "null"], "properties": properties, "additionalProperties": False}

    def shown(self) -> Schema:
        number = {"type": "integer"}
        properties = {"action": _DPD_ACTION, "interval": number, "timeout": number}
        return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _seconds(name: str, value: Any) -> int:
    number = as_integer(value)
    if number is None:
        raise invalid(name, f"'{value}' is not an integer")
    if number < 0:
        raise invalid(name, f"'{number}' should be non-negative")
    if number == 0:
        raise invalid(name, "'0' should be a positive number")
    if number > DPD_MOST:
        raise invalid(name, f"'{number}' is too large - must be no larger than '{DPD_MOST}'")
    return number


def _only_keys(name: str, value: Any, keys: tuple[str, ...]) -> None:
    if not isinstance(value, dict):
        raise invalid(name, f"'{value}' is not a dictionary")
    extra = sorted(set(value) - set(keys))
    if extra:
        raise invalid(name, f"Unexpected keys supplied: {', '.join(extra)}")


class PeerAddress(AttributeType, frozen=True):
    """A peer's public address or DNS name, kept as it was written (nodes resolve it, the API never does)."""

    def convert(self, name: str, value: Any) -> str:
        if not isinstance(value, str):
            raise invalid(name, f"'{value}' is not a valid string")
        try:
            address = ipaddress.ip_address(value)
        except ValueError:
            address = None
        if address is not None:
            if address.is_unspecified or address.is_multicast or getattr(address, "scope_id", None):
                raise ApiError("VPNPeerAddressNotResolved", f"Peer address {value} cannot be the address of one peer")
        elif not identities.is_peer_name(value):
            raise ApiError("VPNPeerAddressNotResolved", f"Peer address {value} is not an address or a DNS name")
        return value

    def schema(self) -> Schema:
        return {
            "type": "string",
            "minLength": 1,
            "maxLength": 253,
            "format": "host",
            "pattern": "^[0-9A-Za-z.:-]*$",
            "examples": ["198.51.100.7", "vpn.example.org"],
        }

    def shown(self) -> Schema:
        return {"type": "string", "format": "host"}


class IkeIdentity(AttributeType, frozen=True):
    """An IKE identity in the grammar of `core.ipsec.identities`; empty too where `optional`, and null is the same."""

    optional: bool = False

    def convert(self, name: str, value: Any) -> str:
        if value is None and self.optional:
            return ""
        if not isinstance(value, str):
            raise invalid(name, f"'{value}' is not a valid string")
        if not value and self.optional:
            return value
        if not is_storable(value):
            raise invalid(name, "an identity cannot contain control characters or line breaks")
        try:
            identities.parse(value)
        except ValueError as error:
            raise invalid(name, str(error)) from None
        return value

    def schema(self) -> Schema:
        return {
            "type": ["string", "null"] if self.optional else "string",
            "minLength": 0 if self.optional else 1,
            "maxLength": identities.MAX_LENGTH,
            "format": "ike-identity",
            "pattern": r"^[^\x00-\x1f\x7f%*]*$",
        }

    def shown(self) -> Schema:
        return {"type": "string", "format": "ike-identity"}
