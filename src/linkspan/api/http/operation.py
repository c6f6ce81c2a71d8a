"""The description of a route in the terms of OpenAPI 3.1: one value on the `Route`.

It knows no other operation. `document` adds what all share: errors, headers, credentials.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from linkspan.core.schema.attribute_types import Schema, Uuid, closed

__all__ = ["ID", "Operation", "Schema", "closed", "described", "ref"]

ID: Schema = Uuid().schema()


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One method of one path."""

    id: str
    """Unique in the document; client generators name their functions by it."""
    tag: str
    summary: str
    description: str = ""
    path_ids: Mapping[str, Schema] = msgspec.field(default_factory=lambda: {"id": ID})
    """Names and schemas of the `{id}`s of the path, in order; by default one uuid."""
    parameters: tuple[Schema, ...] = ()
    """Those of the query string and of headers."""
    body: Schema | None = None
    bodies: Mapping[str, Any] = {}
    """Examples of the body, by name: a test sends each of them and wants to see `status`."""
    status: int = 200
    """The code of success."""
    headers: Mapping[str, Schema] = {}
    """Headers of success, as OpenAPI describes them, besides those of every answer."""
    streams: bool = False
    """True if it answers a client that asks for one with a stream of server-sent events."""
    answer: Schema | None = None
    """The body of success; None: it has none."""
    example: Any = None
    """An example of the answer."""
    rehearsed: Schema | None = None
    """The body of 200 after a dry run; None: there are none of it."""
    links: Mapping[str, Schema] = {}
    """Operations that follow from the answer (OpenAPI links)."""
    login: bool = False
    """True if the handler itself requires a caller although the route is public."""
    refusals: tuple[str, ...] = ()
    """The types of the problems that it can meet, besides those of every request
    (`core.schema.error_responses.ANY`)."""
    schemas: Mapping[str, Schema] = {}
    """Components that body and answer refer to; the same name in two operations is the same schema."""


def ref(name: str, kind: str = "schemas") -> Schema:
    """A reference to a component."""
    return {"$ref": f"#/components/{kind}/{name}"}


def described(schema: Schema, text: str) -> Schema:
    """A schema with a description."""
    return {**schema, "description": text}
