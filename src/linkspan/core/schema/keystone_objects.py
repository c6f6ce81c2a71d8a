"""Projects and users as clients of Keystone v3 write them, and the filters of its lists.

What Keystone has and Linkspan has not (tags, options, other domains) is refused, unless the value is the only one
there is: clients send those unasked. A password is a `Secret` and in no error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from linkspan.core.errors import ApiError
from linkspan.core.keystone_v3 import DOMAIN
from linkspan.core.schema.attribute_types import text_fault
from linkspan.core.secret import SHORTEST, Secret

LONGEST: Final = 255
"""Characters of a name, a description or an e-mail address."""
LONGEST_PASSWORD: Final = 1024

_FIXED: Final[dict[str, Any]] = {
    "domain_id": DOMAIN["id"],
    "parent_id": DOMAIN["id"],
    "is_domain": False,
    "tags": [],
    "options": {},
    "federated": [],
    "password_expires_at": None,
}
"""Attributes that have one value."""
_PROJECT: Final = ("name", "description", "enabled")
_USER: Final = (*_PROJECT, "email", "default_project_id", "password")
_ALIASES: Final = {"project_id": "default_project_id"}
"""Other names of an attribute: Tempest sends the default project so."""


# --- what is written ----------------------------------------------------------------------------------------------


def parse_project(raw: Mapping[str, Any], *, create: bool) -> dict[str, Any]:
    """The attributes of a project that a request sets, by name. Raises ApiError BadRequest."""
    return _attributes("project", _PROJECT, raw, create)


def parse_user(raw: Mapping[str, Any], *, create: bool) -> dict[str, Any]:
    """The attributes of a user that a request sets, by name; `password` is a `Secret`. Raises ApiError BadRequest."""
    return _attributes("user", _USER, raw, create)


def parse_password_change(raw: Mapping[str, Any]) -> tuple[Secret, Secret]:
    """The present password and the new one, of a user who changes it. Raises ApiError BadRequest."""
    original = raw.get("original_password")
    if not isinstance(original, str):
        raise bad("original_password has to be a text")
    return Secret(original), password(raw.get("password"))


def _attributes(kind: str, known: Sequence[str], raw: Mapping[str, Any], create: bool) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in raw.items():
        name = _ALIASES.get(key, key) if kind == "user" else key
        if name in known:
            if key == name or name not in raw:
                values |= _converted(name, value)
        elif name not in _FIXED:
            raise bad(f"a {kind} has no attribute of the name {key[:LONGEST]!r} here")
        elif value is not None and value != _FIXED[name]:
            only = msgspec.json.encode(_FIXED[name]).decode()
            raise bad(f"{name} cannot be chosen here: leave it out, or give {only}")
    if create and "name" not in values:
        raise bad(f"name: a {kind} needs one")
    return values


def _converted(name: str, value: Any) -> dict[str, Any]:
    """The attribute by name; nothing where null means that it was not given."""
    match name:
        case "name":
            return {name: named(value)}
        case "description":
            return {name: text(name, "" if value is None else value)}
        case "email" | "default_project_id":
            return {name: None if value is None or value == "" else text(name, value)}
        case "enabled":
            if not isinstance(value, bool | None):
                raise bad("enabled has to be true or false")
            return {} if value is None else {name: value}
        case _:
            return {} if value is None else {name: password(value)}


def named(value: Any) -> str:
    """A name. Raises ApiError BadRequest."""
    if not isinstance(value, str) or not value.strip():
        raise bad("name has to be a text that is not empty")
    return text("name", value)


def text(name: str, value: Any) -> str:
    """A printable text; a description may have several lines. Raises ApiError BadRequest."""
    if not isinstance(value, str) or len(value) > LONGEST:
        raise bad(f"{name} has to be a text of at most {LONGEST} characters")
    if fault := text_fault(value, "\t\n\r" if name == "description" else ""):
        raise bad(f"{name}: {fault}")
    return value


def password(value: Any) -> Secret:
    """A new password. Raises ApiError BadRequest, which does not have it."""
    if not isinstance(value, str) or not SHORTEST <= len(value) <= LONGEST_PASSWORD:
        raise bad(f"password has to be a text of {SHORTEST} to {LONGEST_PASSWORD} characters")
    if fault := text_fault(value, None):
        raise bad(f"password: {fault}")
    return Secret(value)


def bad(message: str) -> ApiError:
    """The 400, as one sentence."""
    return ApiError("BadRequest", f"{message[:1].upper()}{message[1:]}.")


# --- lists --------------------------------------------------------------------------------------------------------

_FALSE: Final = frozenset({"0", "false", "f", "no", "n", "off"})


def matches(shown: Mapping[str, Any], filters: Iterable[tuple[str, str]]) -> bool:
    """True if an object fits the filters of a list: `name=`, and `name__contains=`, `__startswith=`, `__endswith=`,
    each with `i` before the comparison for any case. What is no attribute filters nothing, as in Keystone."""
    return all(_fits(shown, key, value) for key, value in filters)


def _fits(shown: Mapping[str, Any], key: str, wanted: str) -> bool:
    name, _, comparison = key.partition("__")
    value = shown.get(name)
    if isinstance(value, bool):
        return bool(comparison) or value == (wanted.lower() not in _FALSE)
    if name not in shown or not isinstance(value, str | None):
        return True
    held = value or ""
    if comparison.startswith("i"):
        comparison, held, wanted = comparison[1:], held.casefold(), wanted.casefold()
    match comparison:
        case "contains":
            return wanted in held
        case "startswith":
            return held.startswith(wanted)
        case "endswith":
            return held.endswith(wanted)
        case "" | "exact":
            return held == wanted
        case _:
            return True


def page(objects: Sequence[Mapping[str, Any]], parameters: Iterable[tuple[str, str]]) -> Sequence[Mapping[str, Any]]:
    """The page of a list that `limit` and `marker` select: after the object with the id `marker`. Raises ApiError
    BadRequest."""
    given = dict(parameters)
    marker, limit = given.get("marker"), given.get("limit")
    if marker is not None:
        places = [place for place, shown in enumerate(objects) if shown["id"] == marker]
        objects = objects[places[0] + 1 :] if places else ()
    if limit is not None:
        if not limit.isascii() or not limit.isdigit():
            raise bad("limit has to be a number")
        objects = objects[: int(limit[:9])] if int(limit[:9]) else objects
    return objects
