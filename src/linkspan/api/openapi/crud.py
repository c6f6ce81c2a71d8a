"""The operations that every resource of the registry has: list, show, create, update, delete."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from linkspan.api.attributes import Attributes
from linkspan.api.http.operation import ID, Operation, Schema, closed, ref
from linkspan.api.openapi import schemas
from linkspan.core.schema import error_responses, examples, list_query
from linkspan.core.schema.attribute_types import DIGITS, MAX_INT, Boolean, Integer
from linkspan.core.schema.conditions import conditions_of
from linkspan.core.schema.operations import REQUEST_LINES, ResourceOperation
from linkspan.core.schema.resources import ENDPOINT_GROUP, RESOURCES, Resource
from linkspan.core.schema.tags import TAG, Tags

_TIME: Final = "2026-11-23T01:41:31Z"
_FILTERS: Final = "Filters take the values of an attribute; given twice, either will do."


class Crud:
    """The operations of one resource. `bulk`: the most objects that one POST makes; `short`: those of the path without
    the service's prefix."""

    def __init__(self, attributes: Attributes, bulk: int, short: bool = False) -> None:
        self.resource = attributes.resource
        self._attributes = attributes
        self._bulk = bulk
        self._name = schemas.name(self.resource)
        self._schemas = schemas.components(attributes)
        self._suffix = "_by_short_path" if short else ""

    def list(self) -> Operation:
        """GET of the collection."""
        resource = self.resource
        listed: Schema = {
            "type": "object",
            "properties": {
                resource.plural: {"type": "array", "items": self._whole_or_fields()},
                f"{resource.plural}_links": {"type": "array", "items": ref("Link")},
            },
            "required": [resource.plural],
            "additionalProperties": False,
        }
        return self._operation(
            "list",
            f"every {_noun(resource)}: {resource.help}",
            description=f"{_FILTERS} The links are there when a limit was given, or when the answer is full.",
            parameters=tuple(_parameters(self._attributes)),
            answer=listed,
            example={resource.plural: [self._example()]},
        )

    def show(self) -> Operation:
        """GET of one object."""
        return self._operation(
            "show",
            f"one {_noun(self.resource)}: {self.resource.help}",
            parameters=(ref("fields", "parameters"),),
            answer=closed(**{self.resource.singular: self._whole_or_fields()}),
            example={self.resource.singular: self._example()},
        )

    def create(self) -> Operation:
        """POST."""
        resource = self.resource
        several = {resource.plural: {"type": "array", "items": ref(self._name), "minItems": 1, "maxItems": self._bulk}}
        return self._operation(
            "create",
            f"make {_a(resource)}: {resource.help}",
            description="A list makes several in one transaction: all of them or none.",
            body={"oneOf": [self._enveloped(f"{self._name}Create", {resource.plural: {"type": "null"}}), self._many()]},
            bodies=self._bodies(examples.CREATE)
            | {name: {resource.plural: list(each)} for name, each in examples.BULK.get(resource.name, {}).items()},
            status=201,
            answer={"oneOf": [closed(**{resource.singular: ref(self._name)}), closed(**several)]},
            example={resource.singular: self._example()},
            links={word: self._link(word) for word in ("show", "update", "delete")},
        )

    def update(self) -> Operation:
        """PUT."""
        return self._operation(
            "update",
            f"change {_a(self.resource)}",
            description="What is not given stays as it is.",
            parameters=(ref("if_match", "parameters"),),
            body=self._enveloped(f"{self._name}Update"),
            bodies=self._bodies(examples.UPDATE),
            answer=closed(**{self.resource.singular: ref(self._name)}),
            example={self.resource.singular: self._example()},
        )

    def delete(self) -> Operation:
        """DELETE."""
        parameters = (ref("if_match", "parameters"),)
        return self._operation("delete", f"delete {_a(self.resource)}", status=204, parameters=parameters)

    def action(self, verb: ResourceOperation, summary: str, body: Schema, example: Any, answer: Schema) -> Operation:
        """PUT of something else that an object can do."""
        operation = self._operation(
            verb,
            summary,
            parameters=(ref("if_match", "parameters"),),
            body=body,
            bodies={"example": example},
            answer=answer,
            schemas={},
        )
        return msgspec.structs.replace(operation, id=verb)

    def tags(self, operation: ResourceOperation) -> Operation:
        """An operation on the tags of an object."""
        line = REQUEST_LINES[operation]
        summary, status = _ON_TAGS[operation]
        one = line.path.count("{id}") == 2
        bodied = line.method in ("POST", "PUT") and not one
        shown = closed(tags=self.resource["tags"].kind.shown())
        described = self._operation(
            operation,
            f"{summary} {_a(self.resource)}",
            path_ids={"id": ID, "tag": TAG} if one else {"id": ID},
            parameters=() if line.method == "GET" else (ref("if_match", "parameters"),),
            body=_TAGS_BODY if bodied else None,
            bodies=examples.TAGS if bodied else {},
            status=status,
            answer=shown if bodied or operation == "list_tags" else None,
            schemas={},
        )
        return msgspec.structs.replace(described, id=f"{operation}_of_{self.resource.name}")

    def _operation(self, action: ResourceOperation, summary: str, **more: Any) -> Operation:
        return Operation(
            id=f"{action}_{self.resource.name}{self._suffix}",
            tag=_noun(self.resource),
            summary=summary + (" (the path without the service's prefix)" if self._suffix else ""),
            refusals=error_responses.error_types(self.resource, action),
            **{"schemas": self._schemas} | more,
        )

    def _enveloped(self, name: str, others: Schema | None = None) -> Schema:
        singular = self.resource.singular
        return {"type": "object", "properties": {singular: ref(name)} | (others or {}), "required": [singular]}

    def _many(self) -> Schema:
        """A list to make; members may have an envelope each."""
        plural, name = self.resource.plural, f"{self._name}Create"
        members = {"oneOf": [ref(name), self._enveloped(name)]}
        listed = {"type": "array", "items": members, "minItems": 1, "maxItems": self._bulk}
        return {"type": "object", "properties": {plural: listed}, "required": [plural]}

    def _whole_or_fields(self) -> Schema:
        return {"anyOf": [ref(self._name), {**ref(f"{self._name}Fields"), "description": "only the fields asked for"}]}

    def _bodies(self, of: dict[str, dict[str, examples.ExampleValues]]) -> dict[str, Any]:
        return {name: {self.resource.singular: values} for name, values in of[self.resource.name].items()}

    def _link(self, action: str) -> Schema:
        return {
            "operationId": f"{action}_{self.resource.name}{self._suffix}",
            "parameters": {"id": f"$response.body#/{self.resource.singular}/id"},
        }

    def _example(self) -> dict[str, Any]:
        attributes = self._attributes
        shown = examples.shown(self.resource) | attributes.always | dict.fromkeys(attributes.derived, False)
        kept = {"created_at": _TIME, "updated_at": _TIME, "revision_number": 0}
        return shown | kept | {"tenant_id": shown["project_id"]}


_ON_TAGS: Final[dict[ResourceOperation, tuple[str, int]]] = {
    "list_tags": ("the tags of", 200),
    "show_tag": ("whether a tag is one of those of", 204),
    "replace_tags": ("replace the tags of", 200),
    "add_tags": ("add tags to", 201),
    "add_tag": ("add a tag to", 201),
    "delete_tags": ("delete every tag of", 204),
    "delete_tag": ("delete a tag of", 204),
}
"""Summary, and the code of success."""
_TAGS_BODY: Final[Schema] = {"type": "object", "properties": {"tags": Tags().schema()}, "required": ["tags"]}


def _noun(resource: Resource) -> str:
    words = {"service": "VPN service", "ike": "IKE", "ipsec": "IPsec"}
    return " ".join(words.get(word, word) for word in resource.name.split("_"))


def _a(resource: Resource) -> str:
    noun = _noun(resource)
    return f"{'an' if noun[0] in 'eIi' else 'a'} {noun}"


def _parameters(attributes: Attributes) -> list[Schema]:
    resource = attributes.resource
    names = list_query.sortable(resource, attributes.extra)
    parameters = [ref(name, "parameters") for name in ("fields", "limit", "marker", "page_reverse", "sort_dir")]
    parameters.append(list_of("sort_key", {"type": "string", "enum": names}, "what to sort by; as many as sort_dir"))
    for name in names:
        text = resource[name].help if name in resource.by_name else ""
        parameters.append(list_of(name, _filter(attributes, name), f"filter: {text}" if text else "filter"))
    parameters += (list_of(item.name, item.schema, item.help) for item in conditions_of(resource).values())
    if resource is ENDPOINT_GROUP:
        parameters.append(list_of("endpoint_type", _filter(attributes, "type"), "filter: the same as type"))
    return parameters


def _filter(attributes: Attributes, name: str) -> Schema:
    resource = attributes.resource
    kind = resource[name].kind if name in resource.by_name else None
    if isinstance(kind, Boolean) or isinstance(attributes.extra.get(name), bool):
        return Boolean().schema()
    if isinstance(kind, Integer) or name == "revision_number":
        number: Schema = {"type": "integer", "minimum": -MAX_INT, "maximum": MAX_INT}
        # What is observed is not known at first, and found by an empty text until then.
        observed = kind is not None and not resource[name].stored
        return {"oneOf": [number, {"type": "string", "maxLength": 0}]} if observed else number
    return {"type": "string", "pattern": r"^[^\x00]*$"}


def list_of(name: str, schema: Schema, text: str) -> Schema:
    """A parameter of the query string that may be repeated."""
    return parameter(name, {"type": "array", "items": schema}, text)


def parameter(name: str, schema: Schema, text: str, place: str = "query", required: bool = False) -> Schema:
    """A parameter of the query string, or of another place."""
    return {"name": name, "in": place, "required": required, "description": text, "schema": schema}


TAGS: Final = {_noun(resource): resource.help for resource in RESOURCES}
"""Descriptions of the groups of operations."""

PARAMETERS: Final = {
    "fields": list_of("fields", {"type": "string"}, "only these attributes; all if there are none"),
    "limit": parameter(
        "limit", {"type": "integer", "minimum": 0}, "the most objects in the answer; 0: as many as the server gives"
    ),
    "marker": parameter("marker", {"type": "string"}, "the id of the last object of the page before"),
    "page_reverse": parameter("page_reverse", {"type": "string"}, "true: the page before the marker"),
    "sort_dir": list_of("sort_dir", {"type": "string", "enum": ["asc", "desc"]}, "directions; as many as sort_key"),
    "if_match": parameter(
        "If-Match",
        {"type": "string", "pattern": DIGITS.replace("^", "^revision_number=")},
        "revision_number=N: only if the object is at this revision",
        place="header",
    ),
}
"""Components: what every list takes, and what every request takes that changes an object."""

LINK: Final = closed(
    rel={"type": "string", "enum": ["next", "previous"]},
    href={"type": "string", "format": "uri"},
)
"""A component: a neighbouring page."""
