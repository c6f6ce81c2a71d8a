"""The types of attributes: each one converts and checks a value, and describes itself as JSON Schema.

`convert` takes a JSON value and returns the value to store, or raises an `ApiError` with Neutron's type and message.
`schema` and `shown` describe what requests and responses may contain; they are next to `convert` so that OpenAPI and
the check agree. JSON Schema cannot express every rule (an octet is at most 255, a list has no network twice): `convert`
checks those, and a `format` names them.
"""

from __future__ import annotations

import re
from typing import Any, Final, Literal

import msgspec

from linkspan.core import printable
from linkspan.core.addresses import CIDR_PATTERN, address_fault, as_network, network_fault
from linkspan.core.errors import invalid, invalid_input


def _any_case(word: str) -> str:
    """A regular expression for a word in any case: ECMA 262 patterns in a schema have no flag for it."""
    return "".join(f"[{letter.upper()}{letter}]" if letter.isalpha() else letter for letter in word)


_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_TRUE: Final = frozenset({"true", "1", "on", "yes", "t", "y"})
_FALSE: Final = frozenset({"false", "0", "off", "no", "f", "n"})
_WORDS: Final = "^(" + "|".join(_any_case(word) for word in sorted(_TRUE | _FALSE)) + ")$"
MAX_INT: Final = 2**31 - 1
DIGITS: Final = "^ *[+-]?[0-9]{1,18} *$"
"""The pattern of an integer as text."""

_DIGITS: Final = re.compile(DIGITS)

Schema = dict[str, Any]
Column = Literal["text", "integer", "boolean", "json"]


def is_uuid(value: Any) -> bool:
    """True if a value is a UUID in its canonical text form."""
    return isinstance(value, str) and _UUID.fullmatch(value) is not None


class AttributeType(msgspec.Struct, frozen=True):
    """The type of an attribute. `column` is the type of its database column."""

    @property
    def column(self) -> Column:
        return "text"

    def convert(self, name: str, value: Any) -> Any:
        """The value to store. Raises ApiError."""
        raise NotImplementedError

    def merge(self, name: str, stored: Any, value: Any) -> Any:
        """The value to store when an update sets `value` and `stored` is the current value. Raises ApiError."""
        return self.convert(name, value)

    def schema(self) -> Schema:
        """JSON Schema of the values that requests may contain."""
        raise NotImplementedError

    def shown(self) -> Schema:
        """JSON Schema of the values in responses."""
        return self.schema()


def nullable(schema: Schema) -> Schema:
    """The same JSON Schema, which also accepts null."""
    if "oneOf" in schema:
        null = {"type": "null"}
        return schema if null in schema["oneOf"] else {**schema, "oneOf": [*schema["oneOf"], null]}
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if "null" in types:
        return schema
    choices = {"enum": [*schema["enum"], None]} if "enum" in schema else {}
    return {**schema, "type": [*types, "null"], **choices}


class Text(AttributeType, frozen=True):
    """Printable text of a limited length in characters; `controls`: the control characters that are allowed, too."""

    min_length: int = 0
    max_length: int = 255
    controls: Literal["none", "lines", "any"] = "none"
    format: str = ""
    """Name of a format that is checked elsewhere, for the schema."""

    def convert(self, name: str, value: Any) -> str:
        if not isinstance(value, str):
            raise invalid(name, f"'{value}' is not a valid string")
        if len(value) > self.max_length:
            raise invalid(name, f"'{value}' exceeds maximum length of {self.max_length}")
        if len(value) < self.min_length:
            raise invalid(name, "an empty string is not allowed")
        if fault := text_fault(value, _CONTROLS[self.controls]):
            raise invalid(name, fault)
        return value

    def schema(self) -> Schema:
        schema: Schema = {"type": "string", "minLength": self.min_length, "maxLength": self.max_length}
        if self.controls != "any":
            schema["pattern"] = _PATTERNS[self.controls]
        return schema | self._format()

    def shown(self) -> Schema:
        return {"type": "string"} | self._format()

    def _format(self) -> Schema:
        return {"format": self.format} if self.format else {}


_PATTERNS: Final = {
    "none": printable.pattern(r"\x00-\x1f"),
    "lines": printable.pattern(r"\x00-\x08\x0b\x0c\x0e-\x1f"),
}
_CONTROLS: Final = {"none": "", "lines": "\t\n\r", "any": None}


def text_fault(text: str, controls: str | None = "") -> str:
    """The reason why a text cannot be stored: a character that is not printable, nor one of `controls`; empty if it can
    be. With None every character can be, but for halves of surrogate pairs, which no encoding has."""
    char = printable.unprintable(text, controls or "")
    if char and controls is None:
        char = next((char for char in text if "\ud800" <= char <= "\udfff"), "")
    return f"the text has a character that is not printable ({printable.name_of(char)})" if char else ""


class Choice(AttributeType, frozen=True):
    """One of the given words."""

    values: tuple[str, ...]

    def convert(self, name: str, value: Any) -> str:
        if not isinstance(value, str) or value not in self.values:
            raise invalid(name, f"{value} is not in valid_values")
        return value

    def schema(self) -> Schema:
        return {"type": "string", "enum": list(self.values)}


class Uuid(AttributeType, frozen=True):
    """The id of an object. If `optional`, null and empty text, which forms send for a field left empty, mean none."""

    optional: bool = False

    def convert(self, name: str, value: Any) -> str | None:
        if self.optional and (value is None or value == ""):
            return None
        if not is_uuid(value):
            raise invalid(name, f"'{value}' is not a valid UUID")
        return str(value).lower()

    def schema(self) -> Schema:
        if not self.optional:
            return self.shown()
        return {"anyOf": [self.shown(), {"const": ""}]}

    def shown(self) -> Schema:
        return {"type": ["string", "null"] if self.optional else "string", "format": "uuid"}


class Boolean(AttributeType, frozen=True):
    """A boolean; also the words and numbers that OpenStack's clients send, such as `"yes"` or 1."""

    @property
    def column(self) -> Column:
        return "boolean"

    def convert(self, name: str, value: Any) -> bool:
        word = str(value).lower() if isinstance(value, bool | int | str) else ""
        if word in _TRUE:
            return True
        if word in _FALSE:
            return False
        raise invalid_input(f"'{value}' cannot be converted to boolean")

    def schema(self) -> Schema:
        return {
            "oneOf": [{"type": "boolean"}, {"type": "integer", "enum": [0, 1]}, {"type": "string", "pattern": _WORDS}]
        }

    def shown(self) -> Schema:
        return {"type": "boolean"}


class Integer(AttributeType, frozen=True):
    """An integer; decimal text is converted."""

    minimum: int = -MAX_INT
    maximum: int = MAX_INT

    @property
    def column(self) -> Column:
        return "integer"

    def convert(self, name: str, value: Any) -> int:
        number = as_integer(value)
        if number is None:
            raise invalid_input(f"'{value}' is not an integer")
        if number > self.maximum:
            raise invalid(name, f"'{number}' is too large - must be no larger than '{self.maximum}'")
        if number < self.minimum:
            raise invalid(name, f"'{number}' is too small - must be at least '{self.minimum}'")
        return number

    def schema(self) -> Schema:
        return integer_schema(self.minimum, self.maximum)

    def shown(self) -> Schema:
        return {"type": "integer"}


def integer_schema(minimum: int, maximum: int) -> Schema:
    """JSON Schema of an integer within limits, as a number or as text."""
    number = {"type": "integer", "minimum": minimum, "maximum": maximum}
    digits = DIGITS if minimum < 0 else DIGITS.replace("[+-]", "[+]")
    return {"oneOf": [number, {"type": "string", "pattern": digits}]}


def as_integer(value: Any) -> int | None:
    """The integer of a number or of decimal text, else None. 1400.0 counts: JSON does not distinguish it from 1400."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        return int(value)
    return None


class IpAddress(AttributeType, frozen=True):
    """An address in its one text: without a zone or a prefix length, in the form of RFC 5952."""

    def convert(self, name: str, value: Any) -> str:
        if fault := address_fault(value):
            raise invalid(name, f"'{value}' {fault}")
        return str(value)

    def schema(self) -> Schema:
        return {"type": "string", "format": "ip", "pattern": "^[0-9a-f.:]+$", "maxLength": 45}

    def shown(self) -> Schema:
        return {"type": "string", "format": "ip"}


class Cidrs(AttributeType, frozen=True):
    """A list of distinct CIDRs, each in its one text, which may have host bits; a string is a list of one."""

    @property
    def column(self) -> Column:
        return "json"

    def convert(self, name: str, value: Any) -> list[str]:
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list):
            raise invalid(name, f"'{value}' is not a list")
        networks = set()
        for item in items:
            if fault := network_fault(item):
                raise invalid(name, f"'{item}' {fault}")
            network = as_network(item)
            if network in networks:
                raise invalid(name, f"Duplicate items in the list: '{item}'")
            networks.add(network)
        return list(items)

    def schema(self) -> Schema:
        return {"oneOf": [{"type": "array", "items": CIDR, "uniqueItems": True}, CIDR]}

    def shown(self) -> Schema:
        return {"type": "array", "items": {"type": "string", "format": "cidr"}}


CIDR: Final[Schema] = {
    "type": "string",
    "format": "cidr",
    "pattern": CIDR_PATTERN,
    "examples": ["10.2.0.0/24", "fd00:2::/64"],
}
"""JSON Schema of a CIDR."""


class Endpoints(AttributeType, frozen=True):
    """The members of an endpoint group. The group's type decides what a member is, and `core.checks.cross_resource`
    checks that."""

    @property
    def column(self) -> Column:
        return "json"

    def convert(self, name: str, value: Any) -> list[str]:
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            raise invalid(name, f"'{value}' is not a list of CIDRs or ids")
        return list(items)

    def schema(self) -> Schema:
        return {"oneOf": [self.shown(), {"type": "string"}]}

    def shown(self) -> Schema:
        return {"type": "array", "items": {"type": "string"}}


class Json(AttributeType, frozen=True):
    """A read-only list of `items`."""

    items: Schema = {}

    @property
    def column(self) -> Column:
        return "json"

    def convert(self, name: str, value: Any) -> Any:
        if not isinstance(value, list):
            raise invalid(name, f"'{value}' is not an array")
        return value

    def schema(self) -> Schema:
        return {"type": "array", "items": self.items}


def check_keys(name: str, value: Any, keys: tuple[str, ...]) -> None:
    """Raises ApiError if the value of an attribute is not an object, or has other keys."""
    if not isinstance(value, dict):
        raise invalid(name, f"'{value}' is not a dictionary")
    extra = sorted(set(value) - set(keys))
    if extra:
        raise invalid(name, f"Unexpected keys supplied: {', '.join(extra)}")


def closed(**properties: Schema) -> Schema:
    """JSON Schema of an object with exactly these properties, all required."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
