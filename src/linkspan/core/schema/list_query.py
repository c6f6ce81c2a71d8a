"""List queries as values: filters, fields, sorting, paging. The store turns a query into one SQL statement.

Attributes that are computed on reading (status, external addresses) are not columns: `for_store` leaves them out, and
`first` or `page` applies the rest to the rows. This module knows no database, and of HTTP only the pairs of a query
string.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Final

import msgspec

from linkspan.core.errors import ApiError, invalid_input
from linkspan.core.schema.attribute_types import MAX_INT, Boolean, Integer, Uuid, as_integer, is_uuid
from linkspan.core.schema.conditions import Operands, conditions_of
from linkspan.core.schema.resources import ENDPOINT_GROUP, STANDARD_ATTRIBUTES, Attribute, Resource

PAGE: Final = 1000
"""Default of `limits.page`: the most objects in one response."""

_NOTHING: Final[Mapping[str, Any]] = {}
_PAGING: Final = frozenset({"limit", "marker", "page_reverse", "sort_key", "sort_dir", "fields"})


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """A list query. `filters`: attribute -> accepted values, of which one must match. `conditions`: see
    `core.schema.conditions`; all of them must hold. Default order: name, then id."""

    filters: dict[str, tuple[Any, ...]] = {}
    conditions: Operands = {}
    fields: tuple[str, ...] = ()
    sort: tuple[tuple[str, bool], ...] = ()
    """(attribute, descending) pairs; id is always the last key."""
    limit: int | None = None
    marker: str | None = None
    page_reverse: bool = False


EVERYTHING = Query()


def parse(
    resource: Resource,
    pairs: Iterable[tuple[str, str]],
    max_page: int = PAGE,
    extra: Mapping[str, Any] = _NOTHING,
) -> Query:
    """Parses the pairs of a query string. A page has at most `max_page` objects, with or without a limit.

    `extra`: scalar attributes that responses contain although the registry does not have them, each with a value of its
    type. Raises ApiError: BadRequest for a limit, HTTPBadRequest for a name or direction, InvalidInput for a value.
    """
    values_of: dict[str, list[str]] = {}
    for name, value in pairs:
        values_of.setdefault(name, []).append(value)
    filters: dict[str, tuple[Any, ...]] = {}
    conditions: Operands = {}
    on_more = conditions_of(resource)
    for name, values in values_of.items():
        if name in _PAGING:
            continue
        if name in on_more:
            conditions |= on_more[name].parse(name, values)
            continue
        attribute = _filter_name(resource, name, extra)
        accepted = tuple(item for value in values for item in _accepted(resource, attribute, value, extra))
        filters[attribute] = (*filters.get(attribute, ()), *accepted)
    return Query(
        filters=filters,
        conditions=conditions,
        fields=tuple(field for field in values_of.get("fields", ()) if field),
        sort=_sort(resource, values_of.get("sort_key", []), values_of.get("sort_dir", []), extra),
        limit=page_limit(values_of.get("limit"), max_page),
        marker=_marker(values_of["marker"][-1]) if values_of.get("marker") else None,
        page_reverse=values_of.get("page_reverse", [""])[-1].lower() == "true",
    )


def _marker(text: str) -> str:
    """The id after which a page starts. Text that is no UUID becomes an id that no object has: the page is empty."""
    return text.lower() if is_uuid(text) else ""


def _renamed(resource: Resource, name: str) -> str:
    if name == "tenant_id":
        return "project_id"
    # openstacksdk calls the type of an endpoint group so.
    return "type" if name == "endpoint_type" and resource is ENDPOINT_GROUP else name


def _is_scalar(resource: Resource, name: str, extra: Container[str]) -> bool:
    attribute = resource.by_name.get(name)
    return (
        name in STANDARD_ATTRIBUTES
        or name in extra
        or (attribute is not None and attribute.kind.column != "json" and not attribute.secret)
    )


def sortable(resource: Resource, extra: Iterable[str] = ()) -> list[str]:
    """Attributes by which lists of a resource can be sorted and filtered, with the `extra` ones of `parse`."""
    names = (*resource.by_name, *STANDARD_ATTRIBUTES, "tenant_id")
    return [*(name for name in names if _is_scalar(resource, _renamed(resource, name), ())), *extra]


def _filter_name(resource: Resource, name: str, extra: Container[str]) -> str:
    attribute = _renamed(resource, name)
    if not _is_scalar(resource, attribute, extra):
        raise ApiError("HTTPBadRequest", f"['{name}'] is invalid attribute for filtering")
    return attribute


def _accepted(resource: Resource, name: str, text: str, extra: Mapping[str, Any]) -> tuple[Any, ...]:
    kind = resource[name].kind if name in resource.by_name else None
    if isinstance(extra.get(name), bool):
        kind = Boolean()
    elif name in extra:
        return (text, None) if not text else (text,)
    if isinstance(kind, Boolean):
        return (kind.convert(name, text),)
    if isinstance(kind, Integer) and not text and not resource[name].stored:
        return (None,)  # no report yet
    if isinstance(kind, Integer) or name == "revision_number":
        number = as_integer(text)
        if number is None or abs(number) > MAX_INT:
            raise invalid_input(f"'{text}' is not an integer")
        return (number,)
    if name in ("created_at", "updated_at"):
        try:
            return (datetime.fromisoformat(text),)
        except ValueError:
            return (text,)  # not a time, so no object matches
    if "\x00" in text:
        raise invalid_input(f"a value of {name} contains a null character")
    if not text and isinstance(kind, Uuid) and kind.optional:
        return (None,)
    if not text and name in resource.by_name and resource[name].default is None:
        # Empty text matches null, as in Neutron.
        return ("", None)
    return (text,)


def _sort(
    resource: Resource, keys: Sequence[str], directions: Sequence[str], extra: Container[str]
) -> tuple[tuple[str, bool], ...]:
    if len(keys) != len(directions):
        raise ApiError("HTTPBadRequest", "The number of sort_keys and sort_dirs must be same")
    invalid = [key for key in keys if not _is_scalar(resource, _renamed(resource, key), extra)]
    if invalid:
        raise ApiError("HTTPBadRequest", f"{invalid} is invalid attribute for sort_keys")
    invalid = [direction for direction in directions if direction not in ("asc", "desc")]
    if invalid:
        raise ApiError("HTTPBadRequest", f"{invalid} is invalid value for sort_dirs, value must be 'asc' and 'desc'")
    sort: dict[str, bool] = {}
    for key, direction in zip(keys, directions, strict=True):
        sort.setdefault(_renamed(resource, key), direction == "desc")
    return tuple(sort.items())


def page_limit(values: Sequence[str] | None, max_page: int) -> int:
    """The most objects in one answer, from the values of `limit`; 0 and none stand for `max_page`. Raises ApiError
    BadRequest."""
    if not values:
        return max_page
    text = values[-1].strip()
    if not (text.isascii() and text.isdigit()):
        message = f"Bad limit request: Limit must be an integer 0 or greater and not '{values[-1]}'."
        raise ApiError("BadRequest", message)
    # A longer number is larger than any page, and int() of very long text is slow.
    number = int(text) if len(text) < 10 else max_page
    return min(number, max_page) or max_page


def _is_column(resource: Resource, name: str) -> bool:
    attribute: Attribute | None = resource.by_name.get(name)
    return attribute is not None and attribute.filterable


def sorts_by_computed(resource: Resource, query: Query) -> bool:
    """True if a query sorts by a computed attribute, so that `page` must be applied to all rows."""
    return any(name not in STANDARD_ATTRIBUTES and not _is_column(resource, name) for name, _ in query.sort)


def filters_by_computed(resource: Resource, query: Query) -> bool:
    """True if a query filters by a computed attribute, so that `first` must be applied to the rows in their order."""
    return any(not _is_column(resource, name) for name in query.filters)


def for_store(resource: Resource, query: Query, whole: bool) -> Query:
    """The part of a query that the database can answer. If `whole`, `page` follows: no order, limit or marker then."""
    filters = {name: values for name, values in query.filters.items() if _is_column(resource, name)}
    if whole:
        return Query(filters=filters, conditions=query.conditions, fields=query.fields)
    return msgspec.structs.replace(query, filters=filters)


def _matches(query: Query, item: dict[str, Any]) -> bool:
    return all(item.get(name) in values for name, values in query.filters.items())


def first(query: Query, items: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The page of a query out of `items` that come in its order, with `page_reverse` backwards, from its marker on. It
    takes no more of them than it needs."""
    found = list(islice((item for item in items if _matches(query, item)), query.limit))
    return found[::-1] if query.page_reverse else found


def page(query: Query, items: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Applies a query to all `items`, which have their computed attributes."""
    matching = [item for item in items if _matches(query, item)]
    matching.sort(key=lambda item: str(item["id"]))
    for name, descending in reversed(query.sort or (("name", False),)):
        matching.sort(key=lambda item, name=name: _order(item.get(name)), reverse=descending)  # type: ignore[misc]
    if query.page_reverse:
        matching.reverse()
    if query.marker is not None:
        positions = [position for position, item in enumerate(matching) if item["id"] == query.marker]
        matching = matching[positions[0] + 1 :] if positions else []
    matching = matching[: query.limit]
    if query.page_reverse:
        matching.reverse()
    return matching


def _order(value: Any) -> tuple[bool, Any]:
    return (value is not None, value if value is not None else 0)


def next_and_previous(query: Query, ids: Sequence[str]) -> dict[str, dict[str, str]]:
    """Changes to the query string in the links to adjacent pages: {"next": {...}, "previous": {...}}.

    A full page has a next page, which may be empty, as in Neutron.
    """
    links: dict[str, dict[str, str]] = {}
    is_short = query.limit is not None and len(ids) < query.limit
    if not is_short or query.page_reverse:
        links["next"] = {"marker": ids[-1]} if ids else {}
    if not is_short or not query.page_reverse:
        links["previous"] = ({"marker": ids[0]} if ids else {}) | {"page_reverse": "True"}
    return links
