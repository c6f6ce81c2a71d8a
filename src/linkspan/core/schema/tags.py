"""Tags of an object: texts that its users attach to it, and find it by. Limits and errors are Neutron's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from linkspan.core.errors import ApiError, invalid_input
from linkspan.core.schema.attribute_types import AttributeType, Column, Schema, Text

MAX_TAGS: Final = 50
_TEXT: Final = Text()
TAG: Final[Schema] = _TEXT.schema()
"""JSON Schema of one tag."""


class Tags(AttributeType, frozen=True):
    """A list of distinct tags."""

    @property
    def column(self) -> Column:
        return "json"

    def convert(self, name: str, value: Any) -> list[str]:
        if not isinstance(value, list):
            raise invalid_input(f"'{value}' is not a list")
        tags = [check_tag(tag) for tag in value]
        if len(set(tags)) < len(tags):
            raise invalid_input(f"Duplicate items in the list: '{value}'")
        check_number(tags)
        return tags

    def schema(self) -> Schema:
        return {"type": "array", "items": TAG, "maxItems": MAX_TAGS, "uniqueItems": True}

    def shown(self) -> Schema:
        return {"type": "array", "items": _TEXT.shown()}


def check_tag(value: Any) -> str:
    """A tag of a request. Raises ApiError InvalidInput for no text, or one that is too long or not printable."""
    try:
        return _TEXT.convert("tags", value)
    except ApiError as problem:
        reason = problem.message.partition("Reason: ")[2].removesuffix(".")
        raise invalid_input(reason) from None


def check_number(tags: Iterable[str]) -> None:
    """Raises ApiError for more tags than an object may have."""
    if len(set(tags)) > MAX_TAGS:
        message = f"Bad tags request: The number of tags exceed the per-resource limit of {MAX_TAGS}."
        raise ApiError("BadRequest", message)
