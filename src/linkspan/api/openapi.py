"""The OpenAPI 3.1 document, made from the registry: what the kinds accept is what it says, so the two cannot part.

Built once. It describes the API for users; the agents' door is no part of it.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from linkspan import __version__
from linkspan.api.call import JSON, Call, Reply
from linkspan.api.edge import Route
from linkspan.core import query
from linkspan.core.problem import STATUS
from linkspan.core.resources import RESOURCES, ROUTER, Attribute, Resource

Schema = dict[str, Any]
_ERROR: Final = {"$ref": "#/components/schemas/Error"}
_CODES: Final = {
    "400": "the request cannot be understood or breaks a rule",
    "401": "no or bad credentials",
    "403": "the role does not allow it",
    "404": "not there, or another project's",
    "405": "the path does not have this method",
    "409": "something else stands in the way",
    "413": "the body is too large",
    "503": "the database cannot be used now",
}


def document() -> Schema:
    """The whole document."""
    schemas: Schema = {"Error": _error(), "Unauthorized": _unauthorized(), "Link": _link()}
    paths: Schema = {}
    for resource in RESOURCES:
        schemas |= _schemas(resource)
        paths |= _paths(resource)
    for verb in ("add", "remove"):
        paths[f"/v2.0/{ROUTER.path}/{{id}}/{verb}_router_interface"] = {
            "parameters": [_ID],
            "put": {
                "operationId": f"{verb}_router_interface",
                "summary": f"{verb} a leg of a router on a subnet",
                "requestBody": _body(_INTERFACE),
                "responses": {
                    "200": _content("the leg", {"type": "object"}),
                    **_errors("400", "403", "404", "409"),
                },
            },
        }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Linkspan",
            "version": __version__,
            "description": "Site-to-site IPsec VPN: the OpenStack Networking VPNaaS API, and routers to put it on.",
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"basic": []}],
        "paths": paths | _public(),
        "components": {"schemas": schemas, "securitySchemes": {"basic": {"type": "http", "scheme": "basic"}}},
    }


def routes() -> list[Route]:
    """The path of the document."""
    encoded = msgspec.json.encode(document())

    def handler(_call: Call) -> Reply:
        return Reply(200, encoded, (JSON,))

    return [Route("GET", "/openapi.json", handler, public=True)]


_ID: Final = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
_INTERFACE: Final = {
    "type": "object",
    "properties": {
        "subnet_id": {"type": "string", "format": "uuid"},
        "port_id": {"type": "string", "format": "uuid"},
    },
    "additionalProperties": False,
}


def _name(resource: Resource) -> str:
    return "".join(part.capitalize() for part in resource.name.split("_"))


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _schemas(resource: Resource) -> Schema:
    name = _name(resource)
    made: Schema = {name: _shown(resource)}
    if resource.writable:
        made[f"{name}Create"] = _given(resource, tuple(a for a in resource.attributes if a.post), True)
        made[f"{name}Update"] = _given(resource, tuple(a for a in resource.attributes if a.put), False)
    return made


def _given(resource: Resource, attributes: tuple[Attribute, ...], create: bool) -> Schema:
    properties: Schema = {}
    for attribute in attributes:
        schema = {**attribute.kind.schema(), "description": attribute.help}
        if attribute.name in _NULL_TOO:
            schema = _or_null(schema)
        if create and not attribute.required and attribute.default is not None:
            schema["default"] = attribute.default
        properties[attribute.name] = schema
    if create:
        properties["tenant_id"] = {"type": "string", "maxLength": 64, "description": "the same as project_id"}
    inner: Schema = {"type": "object", "properties": properties}
    required = [attribute.name for attribute in attributes if create and attribute.required]
    if required:
        inner["required"] = required
    return {"type": "object", "properties": {resource.singular: inner}, "required": [resource.singular]}


_NULL_TOO: Final = frozenset({"gateway_ip", "external_gateway_info", "project_id"})


def _or_null(schema: Schema) -> Schema:
    kind = schema.get("type")
    return {**schema, "type": [kind, "null"]} if isinstance(kind, str) else schema


def _shown(resource: Resource) -> Schema:
    properties: Schema = {
        attribute.name: {**_read_schema(attribute), "description": attribute.help} for attribute in resource.attributes
    }
    properties["tenant_id"] = {"type": "string", "description": "the same as project_id"}
    properties["revision_number"] = {"type": "integer"}
    properties["created_at"] = properties["updated_at"] = {"type": "string", "format": "date-time"}
    return {"type": "object", "properties": properties, "required": sorted(properties)}


def _read_schema(attribute: Attribute) -> Schema:
    schema = attribute.kind.schema()
    if "oneOf" in schema:
        # What is read is always the list, also where one text may be written for a list of one.
        schema = dict(schema["oneOf"][0])
    schema = {key: value for key, value in schema.items() if key not in ("minLength", "maxLength", "examples")}
    return _or_null(schema) if attribute.default is None or attribute.secret else schema


def _paths(resource: Resource) -> Schema:
    name, path = _name(resource), f"/v2.0/{resource.path}"
    many: Schema = {"get": _list(resource)}
    one: Schema = {
        "parameters": [_ID],
        "get": {
            "operationId": f"get_{resource.name}",
            "summary": f"one {resource.name}: {resource.help}",
            "parameters": [_parameter("fields", {"type": "string"}, many=True)],
            "responses": {"200": _enveloped(resource), **_errors("404")},
        },
    }
    if resource.writable:
        many["post"] = {
            "operationId": f"create_{resource.name}",
            "summary": f"make a {resource.name}: {resource.help}",
            "requestBody": _body(_ref(f"{name}Create")),
            "responses": {"201": _enveloped(resource), **_errors("400", "403", "404", "409", "413")},
        }
        one["put"] = {
            "operationId": f"update_{resource.name}",
            "summary": f"change a {resource.name}",
            "requestBody": _body(_ref(f"{name}Update")),
            "responses": {"200": _enveloped(resource), **_errors("400", "403", "404", "409", "413")},
        }
        one["delete"] = {
            "operationId": f"delete_{resource.name}",
            "summary": f"delete a {resource.name}",
            "responses": {"204": {"description": "deleted"}, **_errors("400", "403", "404", "409")},
        }
    return {path: many, f"{path}/{{id}}": one}


def _list(resource: Resource) -> Schema:
    parameters = [
        _parameter("fields", {"type": "string"}, many=True),
        _parameter("limit", {"type": "integer", "minimum": 0, "maximum": query.PAGE}),
        _parameter("marker", {"type": "string"}),
        _parameter("page_reverse", {"type": "boolean"}),
        _parameter("sort_key", {"type": "string"}, many=True),
        _parameter("sort_dir", {"type": "string", "enum": ["asc", "desc"]}, many=True),
    ]
    for attribute in resource.attributes:
        column = attribute.kind.column
        if column != "json" and not attribute.secret:
            schema = {"type": "string"} if column == "text" else {"type": column}
            parameters.append(_parameter(attribute.name, schema, many=True))
    listed = {
        "type": "object",
        "properties": {
            resource.plural: {"type": "array", "items": _ref(_name(resource))},
            f"{resource.plural}_links": {"type": "array", "items": _ref("Link")},
        },
        "required": [resource.plural],
    }
    return {
        "operationId": f"list_{resource.name}",
        "summary": f"every {resource.name}: {resource.help}",
        "parameters": parameters,
        "responses": {"200": _content("the list", listed), **_errors("400")},
    }


def _parameter(name: str, schema: Schema, many: bool = False) -> Schema:
    schema = {"type": "array", "items": schema} if many else schema
    return {"name": name, "in": "query", "required": False, "schema": schema}


def _enveloped(resource: Resource) -> Schema:
    schema = {
        "type": "object",
        "properties": {resource.singular: _ref(_name(resource))},
        "required": [resource.singular],
    }
    return _content(f"the {resource.name}", schema)


def _content(description: str, schema: Schema) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _body(schema: Schema) -> Schema:
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _errors(*codes: str) -> Schema:
    made = {code: _content(_CODES[code], _ERROR) for code in (*codes, "503")}
    return made | {"401": _content(_CODES["401"], _ref("Unauthorized"))}


def _error() -> Schema:
    inner = {
        "type": "object",
        "properties": {
            "type": {"type": "string", "examples": sorted(STATUS)},
            "message": {"type": "string"},
            "detail": {"type": "string"},
        },
        "required": ["type", "message", "detail"],
    }
    return {"type": "object", "properties": {"NeutronError": inner}, "required": ["NeutronError"]}


def _unauthorized() -> Schema:
    inner = {
        "type": "object",
        "properties": {"code": {"const": 401}, "title": {"type": "string"}, "message": {"type": "string"}},
        "required": ["code", "title", "message"],
    }
    return {"type": "object", "properties": {"error": inner}, "required": ["error"]}


def _link() -> Schema:
    properties = {"rel": {"enum": ["next", "previous", "self"]}, "href": {"type": "string", "format": "uri"}}
    return {"type": "object", "properties": properties, "required": ["rel", "href"]}


def _public() -> Schema:
    described = {"/": "versions", "/v2.0": "version 2.0", "/healthz": "whether the service can work"}
    return {
        path: {
            "get": {
                "operationId": f"discover_{number}",
                "summary": text,
                "security": [],
                "responses": {"200": _content(text, {"type": "object"})},
            }
        }
        for number, (path, text) in enumerate(described.items())
    }
