"""What a list request asks for, as a value: filters, fields, sorting, paging. The store turns it into one statement.

Attributes that are computed when they are read (status, outside addresses) are no columns: `for_store` leaves them out,
and `page` does what is left over the rows. Nothing here knows a database or HTTP beyond the query string's pairs.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from linkspan.core.errors import ApiError
from linkspan.core.schema.attribute_types import MAX_INT, Boolean, Integer, Uuid, as_integer, is_uuid
from linkspan.core.schema.resources import ENDPOINT_GROUP, STANDARD_ATTRIBUTES, Attribute, Resource

PAGE: Final = 1000
"""The most objects that one answer holds (a setting)."""

_NOTHING: Final[Mapping[str, Any]] = {}
_PAGING: Final = frozenset({"limit", "marker", "page_reverse", "sort_key", "sort_dir", "fields"})


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Filters are attribute -> accepted values (OR); the default sorts by name, then id, like a person would."""

    filters: dict[str, tuple[Any, ...]] = {}
    fields: tuple[str, ...] = ()
    sort: tuple[tuple[str, bool], ...] = ()
    """(attribute, descending) pairs; id is always the last one."""
    limit: int | None = None
    marker: str | None = None
    page_reverse: bool = False


EVERYTHING = Query()


def parse(
    resource: Resource,
    pairs: Iterable[tuple[str, str]],
    most: int = PAGE,
    beside: Mapping[str, Any] = _NOTHING,
) -> Query:
    """The query that the pairs of a query string ask for; `most` bounds the page, asked for or not.

    `beside`: scalar attributes that objects show although the registry does not know them, each with a value of its
    type. Raises Problem: BadRequest for a limit, HTTPBadRequest for a name or direction, InvalidInput for a value.
    """
    given: dict[str, list[str]] = {}
    for name, value in pairs:
        given.setdefault(name, []).append(value)
    filters: dict[str, tuple[Any, ...]] = {}
    for name, values in given.items():
        if name in _PAGING:
            continue
        known = _known(resource, name, beside)
        found = tuple(item for value in values for item in _accepted(resource, known, value, beside))
        filters[known] = (*filters.get(known, ()), *found)
    return Query(
        filters=filters,
        fields=tuple(field for field in given.get("fields", ()) if field),
        sort=_sort(resource, given.get("sort_key", []), given.get("sort_dir", []), beside),
        limit=_limit(given.get("limit"), most),
        marker=_marker(given["marker"][-1]) if given.get("marker") else None,
        page_reverse=given.get("page_reverse", [""])[-1].lower() == "true",
    )


def _marker(text: str) -> str:
    """The id that a page begins behind. What can be no id is one that nothing has, and leads nowhere."""
    return text.lower() if is_uuid(text) else ""


def _renamed(resource: Resource, name: str) -> str:
    if name == "tenant_id":
        return "project_id"
    # The SDK's name for it.
    return "type" if name == "endpoint_type" and resource is ENDPOINT_GROUP else name


def _scalar(resource: Resource, name: str, beside: Container[str]) -> bool:
    attribute = resource.by_name.get(name)
    return (
        name in STANDARD_ATTRIBUTES
        or name in beside
        or (attribute is not None and attribute.kind.column != "json" and not attribute.secret)
    )


def sortable(resource: Resource, beside: Iterable[str] = ()) -> list[str]:
    """What lists of a resource can be sorted and filtered by; `beside`: what objects show besides the registry's."""
    names = (*resource.by_name, *STANDARD_ATTRIBUTES, "tenant_id")
    return [*(name for name in names if _scalar(resource, _renamed(resource, name), ())), *beside]


def _known(resource: Resource, name: str, beside: Container[str]) -> str:
    known = _renamed(resource, name)
    if not _scalar(resource, known, beside):
        raise ApiError("HTTPBadRequest", f"['{name}'] is invalid attribute for filtering")
    return known


def _accepted(resource: Resource, name: str, text: str, beside: Mapping[str, Any]) -> tuple[Any, ...]:
    kind = resource[name].kind if name in resource.by_name else None
    if isinstance(beside.get(name), bool):
        kind = Boolean()
    elif name in beside:
        return (text, None) if not text else (text,)
    if isinstance(kind, Boolean):
        return (kind.convert(name, text),)
    if isinstance(kind, Integer) and not text and not resource[name].stored:
        return (None,)  # not observed yet
    if isinstance(kind, Integer) or name == "revision_number":
        number = as_integer(text)
        if number is None or abs(number) > MAX_INT:
            raise ApiError("InvalidInput", f"Invalid input for operation: '{text}' is not an integer.")
        return (number,)
    if name in ("created_at", "updated_at"):
        try:
            return (datetime.fromisoformat(text),)
        except ValueError:
            return (text,)  # no time, so nothing was made then
    if "\x00" in text:
        raise ApiError("InvalidInput", f"Invalid input for operation: a value of {name} contains a null character.")
    if not text and isinstance(kind, Uuid) and kind.optional:
        return (None,)
    if not text and name in resource.by_name and resource[name].default is None:
        # An attribute that may be null is found by an empty text, as in Neutron.
        return ("", None)
    return (text,)


def _sort(
    resource: Resource, keys: Sequence[str], directions: Sequence[str], beside: Container[str]
) -> tuple[tuple[str, bool], ...]:
    if len(keys) != len(directions):
        raise ApiError("HTTPBadRequest", "The number of sort_keys and sort_dirs must be same")
    wrong = [key for key in keys if not _scalar(resource, _renamed(resource, key), beside)]
    if wrong:
        raise ApiError("HTTPBadRequest", f"{wrong} is invalid attribute for sort_keys")
    wrong = [direction for direction in directions if direction not in ("asc", "desc")]
    if wrong:
        raise ApiError("HTTPBadRequest", f"{wrong} is invalid value for sort_dirs, value must be 'asc' and 'desc'")
    sort: dict[str, bool] = {}
    for key, direction in zip(keys, directions, strict=True):
        sort.setdefault(_renamed(resource, key), direction == "desc")
    return tuple(sort.items())


def _limit(given: Sequence[str] | None, most: int) -> int:
    if not given:
        return most
    text = given[-1].strip()
    if not (text.isascii() and text.isdigit()):
        message = f"Bad limit request: Limit must be an integer 0 or greater and not '{given[-1]}'."
        raise ApiError("BadRequest", message)
    # More digits than this are more than any page holds.
    number = int(text) if len(text) < 10 else most
    return min(number, most) or most


def _column(resource: Resource, name: str) -> bool:
    attribute: Attribute | None = resource.by_name.get(name)
    return attribute is not None and attribute.filterable


def is_computed(resource: Resource, query: Query) -> bool:
    """Whether some of what a query asks for has to be done over the rows, with `page`."""
    return any(not _column(resource, name) for name in query.filters) or any(
        name not in STANDARD_ATTRIBUTES and not _column(resource, name) for name, _ in query.sort
    )


def for_store(resource: Resource, query: Query, computed: bool) -> Query:
    """The part of a query that columns can answer; without limit and marker if `computed`: `page` comes after it."""
    if not computed:
        return query
    filters = {name: values for name, values in query.filters.items() if _column(resource, name)}
    return Query(filters=filters, fields=query.fields)


def page(query: Query, items: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a query asks for among all of `items`, which have their computed attributes."""
    kept = [item for item in items if all(item.get(name) in values for name, values in query.filters.items())]
    kept.sort(key=lambda item: str(item["id"]))
    for name, descending in reversed(query.sort or (("name", False),)):
        kept.sort(key=lambda item, name=name: _order(item.get(name)), reverse=descending)  # type: ignore[misc]
    if query.page_reverse:
        kept.reverse()
    if query.marker is not None:
        places = [place for place, item in enumerate(kept) if item["id"] == query.marker]
        kept = kept[places[0] + 1 :] if places else []
    kept = kept[: query.limit]
    if query.page_reverse:
        kept.reverse()
    return kept


def _order(value: Any) -> tuple[bool, Any]:
    return (value is not None, value if value is not None else 0)


def next_and_previous(query: Query, ids: Sequence[str]) -> dict[str, dict[str, str]]:
    """What links to the neighbouring pages change in the query string: {"next": {...}, "previous": {...}}.

    As Neutron does it: a full page has a next one, though that may turn out empty.
    """
    links: dict[str, dict[str, str]] = {}
    short = query.limit is not None and len(ids) < query.limit
    if not short or query.page_reverse:
        links["next"] = {"marker": ids[-1]} if ids else {}
    if not short or not query.page_reverse:
        links["previous"] = ({"marker": ids[0]} if ids else {}) | {"page_reverse": "True"}
    return links
