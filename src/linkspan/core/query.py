"""What a list request asks for, as a value: filters, fields, sorting, paging. The store turns it into one statement."""

from __future__ import annotations

from typing import Any

import msgspec


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
