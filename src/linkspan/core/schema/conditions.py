"""Filters of lists that compare more than one scalar attribute with a value: tags, addresses, shared networks.

Names and meaning are Neutron's. `store.rows.conditions` turns what is parsed here into SQL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from linkspan.core.errors import ApiError, invalid_input
from linkspan.core.schema.attribute_types import Boolean, Schema
from linkspan.core.schema.resources import NETWORK, PORT, ROUTER, SUBNET, Resource

Operands = dict[str, tuple[Any, ...]]
"""Name of an operand -> its values. A condition has one of its own name, or several: `fixed_ips.subnet_id`."""

FIXED_IPS: Final = ("subnet_id", "ip_address", "ip_address_substr")
"""Keys of the filter `fixed_ips`."""
_BOOLEAN: Final = Boolean()


class Condition(msgspec.Struct, frozen=True):
    """A filter. `parse` takes its name and the values that a query string has for it. Raises ApiError."""

    name: str
    help: str
    schema: Schema
    parse: Callable[[str, Iterable[str]], Operands]


def _text(name: str, text: str) -> str:
    if "\x00" in text:
        raise invalid_input(f"a value of {name} contains a null character")
    return text


def _tags(name: str, texts: Iterable[str]) -> Operands:
    return {name: tuple(dict.fromkeys(tag for text in texts for tag in _text(name, text).split(",")))}


def _booleans(name: str, texts: Iterable[str]) -> Operands:
    return {name: tuple(_BOOLEAN.convert(name, text) for text in texts)}


def _fixed_ips(name: str, texts: Iterable[str]) -> Operands:
    operands: dict[str, tuple[str, ...]] = {}
    for text in texts:
        key, equals, value = _text(name, text).partition("=")
        if not equals:
            raise invalid_input(f"'{text}' is not of the form <key>=[value]")
        if key not in FIXED_IPS:
            raise ApiError("HTTPBadRequest", f"['{key}'] is invalid key for filtering by {name}")
        operand = f"{name}.{key}"
        operands[operand] = (*operands.get(operand, ()), value)
    return dict(operands)


_ON_SUBNETS: Final = (
    Condition("shared", "filter: whether the subnet's network is shared", _BOOLEAN.schema(), _booleans),
)
_ON_PORTS: Final = (
    Condition(
        "fixed_ips",
        "filter: subnet_id=ID, ip_address=ADDRESS or ip_address_substr=TEXT; one address has to match every key",
        {"type": "string", "pattern": f"^({'|'.join(FIXED_IPS)})=[^\\x00]*$"},
        _fixed_ips,
    ),
)
_LIST_OF_TAGS: Final[Schema] = {"type": "string", "pattern": r"^[^\x00]*$"}
_ON_TAGS: Final = tuple(
    Condition(name, f"filter: objects that have {which} of these tags, which commas separate", _LIST_OF_TAGS, _tags)
    for name, which in (
        ("tags", "all"),
        ("tags-any", "at least one"),
        ("not-tags", "not all"),
        ("not-tags-any", "none"),
    )
)
_CONDITIONS: Final[dict[str, tuple[Condition, ...]]] = {
    resource.name: (*_ON_TAGS, *more)
    for resource, more in ((NETWORK, ()), (SUBNET, _ON_SUBNETS), (ROUTER, ()), (PORT, _ON_PORTS))
}
_NONE: Final[Mapping[str, Condition]] = {}
_BY_NAME: Final = {
    resource: {condition.name: condition for condition in conditions} for resource, conditions in _CONDITIONS.items()
}


def conditions_of(resource: Resource) -> Mapping[str, Condition]:
    """The conditions by which lists of a resource can be filtered, by name."""
    return _BY_NAME.get(resource.name, _NONE)
