"""The kinds of values that attributes take: each converts and checks one value, and describes itself.

`convert` takes what JSON gave and returns what is stored, or raises a `Problem` with the type and the words that
OpenStack's clients know. `schema` and `shown` are the JSON Schemas of what is accepted and what is read, for OpenAPI.
They stay side by side so that they cannot part. What no JSON Schema can say (an address has no octet of 300, a list
names no network twice) is left to `convert`; a `format` gives it a name.
"""

from __future__ import annotations

import re
from typing import Any, Final, Literal

import msgspec

from linkspan.core.addresses import CIDR_PATTERN, as_network
from linkspan.core.errors import ApiError, invalid


def _any_case(word: str) -> str:
    """A word in any case as a pattern: ECMA 262's have no flag for it."""
    return "".join(f"[{letter.upper()}{letter}]" if letter.isalpha() else letter for letter in word)


_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_TRUE: Final = frozenset({"true", "1", "on", "yes", "t", "y"})
_FALSE: Final = frozenset({"false", "0", "off", "no", "f", "n"})
_WORDS: Final = "^(" + "|".join(_any_case(word) for word in sorted(_TRUE | _FALSE)) + ")$"
MAX_INT: Final = 2**31 - 1
DIGITS: Final = "^ *[+-]?[0-9]{1,18} *$"
"""A whole number as text."""

_DIGITS: Final = re.compile(DIGITS)

Schema = dict[str, Any]
Column = Literal["text", "integer", "boolean", "json"]


def is_uuid(value: Any) -> bool:
    """Whether a value is a uuid in its usual text form."""
    return isinstance(value, str) and _UUID.fullmatch(value) is not None


class AttributeType(msgspec.Struct, frozen=True):
    """A kind of value. `column` says how a store keeps it."""

    @property
    def column(self) -> Column:
        return "text"

    def convert(self, name: str, value: Any) -> Any:
        """The value to store, or a `Problem`."""
        raise NotImplementedError

    def merge(self, name: str, stored: Any, value: Any) -> Any:
        """The value to store when an update gives `value` over `stored`."""
        return self.convert(name, value)

    def schema(self) -> Schema:
        """JSON Schema of what is accepted."""
        raise NotImplementedError

    def shown(self) -> Schema:
        """JSON Schema of what is read."""
        return self.schema()


def nullable(schema: Schema) -> Schema:
    """A JSON Schema that takes null too."""
    if "oneOf" in schema:
        null = {"type": "null"}
        return schema if null in schema["oneOf"] else {**schema, "oneOf": [*schema["oneOf"], null]}
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return schema if "null" in types else {**schema, "type": [*types, "null"]}


class Text(AttributeType, frozen=True):
    """Printable text of a limited length in characters; `controls`: which control characters it may have besides."""

    least: int = 0
    most: int = 255
    controls: Literal["none", "lines", "any"] = "none"
    format: str = ""
    """What it has to be besides, judged by a rule."""

    def convert(self, name: str, value: Any) -> str:
        if not isinstance(value, str):
            raise invalid(name, f"'{value}' is not a valid string")
        if len(value) > self.most:
            raise invalid(name, f"'{value}' exceeds maximum length of {self.most}")
        if len(value) < self.least:
            raise invalid(name, "an empty string is not allowed")
        if not is_storable(value, _CONTROLS[self.controls]):
            raise invalid(name, "the text contains control characters or broken Unicode")
        return value

    def schema(self) -> Schema:
        schema: Schema = {"type": "string", "minLength": self.least, "maxLength": self.most}
        if self.controls != "any":
            schema["pattern"] = _PATTERNS[self.controls]
        return schema | self._format()

    def shown(self) -> Schema:
        return {"type": "string"} | self._format()

    def _format(self) -> Schema:
        return {"format": self.format} if self.format else {}


_PATTERNS: Final = {
    "none": r"^[^\x00-\x1f\x7f]*$",
    "lines": r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$",
}
_CONTROLS: Final = {
    "none": frozenset[str](),
    "lines": frozenset("\t\n\r"),
    "any": frozenset(map(chr, range(32))) | {"\x7f"},
}


def is_storable(text: str, controls: frozenset[str] = frozenset()) -> bool:
    if text.isprintable():
        return True
    return not any(
        ((char < " " or char == "\x7f") and char not in controls) or "\ud800" <= char <= "\udfff" for char in text
    )


class Choice(AttributeType, frozen=True):
    """One of a few words."""

    values: tuple[str, ...]

    def convert(self, name: str, value: Any) -> str:
        if not isinstance(value, str) or value not in self.values:
            raise invalid(name, f"{value} is not in valid_values")
        return value

    def schema(self) -> Schema:
        return {"type": "string", "enum": list(self.values)}


class Uuid(AttributeType, frozen=True):
    """The id of an object; null too where `optional`."""

    optional: bool = False

    def convert(self, name: str, value: Any) -> str | None:
        if value is None and self.optional:
            return None
        if not is_uuid(value):
            raise invalid(name, f"'{value}' is not a valid UUID")
        return str(value).lower()

    def schema(self) -> Schema:
        kind: Any = ["string", "null"] if self.optional else "string"
        return {"type": kind, "format": "uuid"}


class Boolean(AttributeType, frozen=True):
    """True or false, also as the words and numbers that clients send for them."""

    @property
    def column(self) -> Column:
        return "boolean"

    def convert(self, name: str, value: Any) -> bool:
        word = str(value).lower() if isinstance(value, bool | int | str) else ""
        if word in _TRUE:
            return True
        if word in _FALSE:
            return False
        raise ApiError("InvalidInput", f"Invalid input for operation: '{value}' cannot be converted to boolean.")

    def schema(self) -> Schema:
        return {
            "oneOf": [{"type": "boolean"}, {"type": "integer", "enum": [0, 1]}, {"type": "string", "pattern": _WORDS}]
        }

    def shown(self) -> Schema:
        return {"type": "boolean"}


class Integer(AttributeType, frozen=True):
    """A whole number; text of digits is converted."""

    least: int = -MAX_INT
    most: int = MAX_INT

    @property
    def column(self) -> Column:
        return "integer"

    def convert(self, name: str, value: Any) -> int:
        number = as_integer(value)
        if number is None:
            raise ApiError("InvalidInput", f"Invalid input for operation: '{value}' is not an integer.")
        if number > self.most:
            raise invalid(name, f"'{number}' is too large - must be no larger than '{self.most}'")
        if number < self.least:
            raise invalid(name, f"'{number}' is too small - must be at least '{self.least}'")
        return number

    def schema(self) -> Schema:
        return whole(self.least, self.most)

    def shown(self) -> Schema:
        return {"type": "integer"}


def whole(least: int, most: int) -> Schema:
    """JSON Schema of a whole number between limits, or the same one as text."""
    number = {"type": "integer", "minimum": least, "maximum": most}
    digits = DIGITS if least < 0 else DIGITS.replace("[+-]", "[+]")
    return {"oneOf": [number, {"type": "string", "pattern": digits}]}


def as_integer(value: Any) -> int | None:
    """A whole number out of a number or its digits, else None. JSON does not tell 1400.0 from 1400."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        return int(value)
    return None


class Cidrs(AttributeType, frozen=True):
    """A list of different CIDRs, kept as they were written; a single text is a list of one."""

    @property
    def column(self) -> Column:
        return "json"

    def convert(self, name: str, value: Any) -> list[str]:
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list):
            raise invalid(name, f"'{value}' is not a list")
        seen = set()
        for item in items:
            network = as_network(item)
            if network is None:
                raise invalid(name, f"'{item}' is not a valid IP subnet")
            if network in seen:
                raise invalid(name, f"Duplicate items in the list: '{item}'")
            seen.add(network)
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
"""JSON Schema of an address range with its prefix length."""


class Endpoints(AttributeType, frozen=True):
    """The members of an endpoint group; what each has to be depends on the group's type
    (`core.checks.cross_resource`)."""

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
    """A list that only we write, of `items`."""

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


def closed(**properties: Schema) -> Schema:
    """JSON Schema of an object with exactly these properties."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
