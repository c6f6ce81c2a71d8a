"""The types of VPN attributes: lifetimes, dead peer detection, peer addresses and IKE identities.

The types of `core.schema.attribute_types` know nothing about IPsec; these do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, get_args

from linkspan.core.addresses import address_fault
from linkspan.core.errors import ApiError, invalid
from linkspan.core.ipsec import ends, identities
from linkspan.core.ipsec.peer_addresses import peer_address_fault
from linkspan.core.schema.attribute_types import (
    MAX_INT,
    AttributeType,
    Column,
    Schema,
    as_integer,
    check_keys,
    closed,
    integer_schema,
    text_fault,
)
from linkspan.core.state.desired import DpdAction

LIFETIME_DEFAULT: Final[Mapping[str, Any]] = {"units": "seconds", "value": 3600}
"""Neutron's default, of IKE and of IPsec policies."""


class Lifetime(AttributeType, frozen=True):
    """`{units, value}`. Absent parts keep their defaults on create, and the stored values on update."""

    units: tuple[str, ...]
    minimum: int = 60

    @property
    def column(self) -> Column:
        return "json"

    def convert(self, name: str, value: Any) -> dict[str, Any]:
        return self.merge(name, LIFETIME_DEFAULT, value)

    def merge(self, name: str, stored: Any, value: Any) -> dict[str, Any]:
        changes = {} if value is None else value
        check_keys(name, changes, ("units", "value"))
        if "units" in changes and changes["units"] not in self.units:
            raise invalid(name, f"{changes['units']} is not in valid_values")
        if "value" in changes:
            number = as_integer(changes["value"])
            if number is None:
                raise invalid(name, f"'{changes['value']}' is not an integer")
            if number < self.minimum:
                raise invalid(name, f"'{number}' is too small - must be at least '{self.minimum}'")
            if number > MAX_INT:
                raise invalid(name, f"'{number}' is too large - must be no larger than '{MAX_INT}'")
            changes = changes | {"value": number}
        merged: dict[str, Any] = stored | changes
        return merged

    def schema(self) -> Schema:
        properties = {
            "units": {"type": "string", "enum": list(self.units)},
            "value": integer_schema(self.minimum, MAX_INT),
        }
        return {"type": ["object", "null"], "properties": properties, "additionalProperties": False}

    def shown(self) -> Schema:
        # The response to a PUT repeats the value in the JSON type of the request, as Neutron does.
        return closed(units={"type": "string", "enum": list(self.units)}, value={"type": ["integer", "string"]})


DPD_ACTIONS: Final[tuple[DpdAction, ...]] = get_args(DpdAction)
DPD_DEFAULT: Final[Mapping[str, Any]] = {"action": "hold", "interval": 30, "timeout": 120}
"""Neutron's defaults, seconds."""
DPD_MAXIMUM: Final = 86_400
"""The longest interval and timeout, seconds."""
_DPD_ACTION: Final = {"type": "string", "enum": list(DPD_ACTIONS)}


class DeadPeerDetection(AttributeType, frozen=True):
    """`{action, interval, timeout}`, seconds. Absent parts: defaults on create, stored values on update.

    Requests may have `actions` for `action`: OpenStack Heat sends it.
    """

    @property
    def column(self) -> Column:
        return "json"

    def convert(self, name: str, value: Any) -> dict[str, Any]:
        return self.merge(name, DPD_DEFAULT, value)

    def merge(self, name: str, stored: Any, value: Any) -> dict[str, Any]:
        changes = {} if value is None else value
        check_keys(name, changes, ("action", "actions", "interval", "timeout"))
        changes = _with_one_action(name, changes)
        if "action" in changes and changes["action"] not in DPD_ACTIONS:
            raise invalid(name, f"{changes['action']} is not in valid_values")
        numbers = {key: _seconds(name, changes[key]) for key in ("interval", "timeout") if key in changes}
        merged: dict[str, Any] = stored | changes | numbers
        if merged["timeout"] <= merged["interval"]:
            raise ApiError(
                "IPsecSiteConnectionDpdIntervalValueError",
                "ipsec_site_connection dpd_timeout is equal to or less than dpd_interval",
            )
        return merged

    def schema(self) -> Schema:
        seconds = integer_schema(1, DPD_MAXIMUM)
        properties = {"action": _DPD_ACTION, "actions": _DPD_ACTION, "interval": seconds, "timeout": seconds}
        return {"type": ["object", "null"], "properties": properties, "additionalProperties": False}

    def shown(self) -> Schema:
        return closed(action=_DPD_ACTION, interval={"type": "integer"}, timeout={"type": "integer"})


def _with_one_action(name: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The changes with `actions` as `action`. Raises ApiError if they contradict each other."""
    action = changes.get("action", changes.get("actions"))
    if changes.get("actions", action) != action:
        raise invalid(name, "action and actions do not match")
    others = {key: value for key, value in changes.items() if key not in ("action", "actions")}
    return others | {"action": action} if len(others) < len(changes) else others


def _seconds(name: str, value: Any) -> int:
    number = as_integer(value)
    if number is None:
        raise invalid(name, f"'{value}' is not an integer")
    if number < 0:
        raise invalid(name, f"'{number}' should be non-negative")
    if number == 0:
        raise invalid(name, "'0' should be a positive number")
    if number > DPD_MAXIMUM:
        raise invalid(name, f"'{number}' is too large - must be no larger than '{DPD_MAXIMUM}'")
    return number


class PeerAddress(AttributeType, frozen=True):
    """A peer's public address or DNS name, stored as written. Nodes resolve names, the API never does."""

    def convert(self, name: str, value: Any) -> str:
        if not isinstance(value, str):
            raise invalid(name, f"'{value}' is not a valid string")
        if fault := peer_address_fault(value):
            raise ApiError("VPNPeerAddressNotResolved", f"Peer address {value} {fault}")
        if ends.host(value) is not None and (fault := address_fault(value)):
            raise ApiError("VPNPeerAddressNotResolved", f"Peer address {value} {fault}")
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
    """An IKE identity in the grammar of `core.ipsec.identities`; if `optional`, null and empty text mean none."""

    optional: bool = False

    def convert(self, name: str, value: Any) -> str:
        if value is None and self.optional:
            return ""
        if not isinstance(value, str):
            raise invalid(name, f"'{value}' is not a valid string")
        if not value and self.optional:
            return value
        if fault := text_fault(value):
            raise invalid(name, fault)
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
