"""Request bodies: bytes -> JSON -> the objects in their envelope, with limits against abuse.

Content types are ignored, because clients send JSON as text. A duplicate key is refused: two readers of one body must
not see two different requests. The dispatcher limits the size before it reads a body.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from linkspan.core.errors import ApiError
from linkspan.core.schema.resources import Resource

DEPTH: Final = 16
"""Levels of nesting."""
_WORD = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"(\s*:)?', re.DOTALL)
_BRACKET = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|([\[{])|([\]}])', re.DOTALL)

_decode: Final = msgspec.json.Decoder().decode


def parse(body: bytes) -> Any:
    """The JSON in a body. Raises ApiError: MalformedRequestBody, or HTTPBadRequest over a limit."""
    check_depth(body)
    try:
        value = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ApiError("MalformedRequestBody", "Malformed request body: Cannot understand JSON.") from None
    keys = _keys(value)
    if keys and keys != sum(1 for colon in _WORD.findall(body) if colon):
        raise ApiError("HTTPBadRequest", "The request body gives the same key twice")
    return value


def check_depth(body: bytes) -> None:
    """Raises ApiError for JSON that is nested too deep. Called before it is decoded: how deep the decoder goes depends
    on the version of Python and on the stack of the thread."""
    if _is_nested_deeper(body, DEPTH):
        raise ApiError("HTTPBadRequest", f"The request body is nested deeper than {DEPTH} levels")


def _is_nested_deeper(body: bytes, most: int) -> bool:
    """True if brackets outside of strings are nested on more levels."""
    if body.count(b"[") + body.count(b"{") <= most:
        return False
    depth = 0
    for opens, closes in _BRACKET.findall(body):
        depth += bool(opens) - bool(closes)
        if depth > most:
            return True
    return False


def _keys(value: Any) -> int:
    """How many keys a value has on all levels."""
    if isinstance(value, dict):
        count, inner = len(value), value.values()
    elif isinstance(value, list):
        count, inner = 0, value  # type: ignore[assignment]
    else:
        return 0
    for item in inner:
        if isinstance(item, dict | list):
            count += _keys(item)
    return count


def json_object(body: bytes) -> dict[str, Any]:
    """The JSON object that a body is. Raises ApiError."""
    value = parse(body) if body.strip() else None
    if not value or not isinstance(value, dict):
        raise ApiError("HTTPBadRequest", "Resource body required")
    return value


def one_or_several(body: bytes, resource: Resource, most: int) -> tuple[list[dict[str, Any]], bool]:
    """The objects that a body asks for, and whether it asks for a list: `{plural: [...]}` instead of `{singular: {}}`.

    Members of a list may have an envelope each, as Neutron takes them. Raises ApiError, also for more than `most`.
    """
    whole = json_object(body)
    members = whole.get(resource.plural)
    if members is None:
        return [_inside(whole, resource)], False
    if not isinstance(members, list) or not members:
        raise ApiError("HTTPBadRequest", "Resources required")
    if len(members) > most:
        raise ApiError("HTTPBadRequest", f"A list can have {most} objects at most, this has {len(members)}")
    if not all(isinstance(member, dict) for member in members):
        raise ApiError("HTTPBadRequest", f"Every member of '{resource.plural}' has to be an object")
    return [_inside(member, resource) if _has_envelope(member, resource) else member for member in members], True


def _has_envelope(member: dict[str, Any], resource: Resource) -> bool:
    """True if a member of a list has an envelope of its own. A certificate has an attribute of that name."""
    name = resource.singular
    return name in member and (name not in resource.by_name or isinstance(member[name], dict))


def enveloped(body: bytes, resource: Resource) -> dict[str, Any]:
    """The object under the resource's name in a body. Raises ApiError."""
    return _inside(json_object(body), resource)


def _inside(whole: dict[str, Any], resource: Resource) -> dict[str, Any]:
    inner = whole.get(resource.singular)
    if not isinstance(inner, dict):
        raise ApiError("HTTPBadRequest", f"Unable to find '{resource.singular}' in request body")
    return inner
