"""The OpenAPI document, assembled from the `Operation`s of the routes. A route without one is not in it.

It adds what all operations share: error responses, headers, authentication.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec

from linkspan import __version__
from linkspan.api.http.messages import JSON, Request, Response
from linkspan.api.http.operation import Operation, Schema, closed, described, ref
from linkspan.api.http.route import Route
from linkspan.api.openapi.crud import LINK, PARAMETERS
from linkspan.api.openapi.crud import TAGS as OF_RESOURCES
from linkspan.core.errors import STATUS
from linkspan.core.foresight import dry_runs
from linkspan.core.schema import error_responses

_ABOUT: Final = """\
Site-to-site IPsec VPN as a service: the OpenStack Networking VPNaaS v2.0 API, and the networks, subnets and routers
that gateways need.

- A request acts in the project of its user. What belongs to another project does not exist: 404. An admin reaches all.
- Roles: a reader may look, without pre-shared keys; a member may change; an admin may do both in every project.
- Errors have a `type` that clients match on and a `message` for people; those of the identity are Keystone's, and so
  is every 401. Every answer has an `x-openstack-request-id`.
- A path may end in `.json`. HEAD is answered like GET, without the body.
"""
_PATH = "/openapi.json"
_OWN: Final = Operation(
    id="openapi",
    tag="about",
    summary="this document",
    answer={"type": "object", "required": ["openapi", "info", "paths"]},
)
_TAGS: Final = OF_RESOURCES | {
    "crypto profile": "names for the algorithms of policies that belong together",
    "quota": "how many objects a project may have",
    "nodes": "the gateway nodes and their credentials, for admins",
    "timeline": "what happened to connections",
    "audit": "who changed what, and failed logins",
    "identity": "users, projects and tokens: a small Keystone v3, also at /v3",
    "about": "the service itself",
}
_CODES: Final = {
    400: "The request cannot be understood or breaks a rule",
    401: "No or bad credentials",
    403: "The role does not allow it",
    404: "Not there, or another project's",
    409: "It conflicts with another object",
    412: "It is at another revision than the request is for",
    413: "The body is too large",
    429: "Too many requests",
    503: "The service cannot work now: try again",
}
_MORE_HEADERS: Final = {401: {"www-authenticate": "Challenge"}, 429: {"retry-after": "RetryAfter"}}
_MORE_HEADERS[503] = _MORE_HEADERS[429]


def document(routes: Iterable[Route]) -> Schema:
    """The OpenAPI document of these routes."""
    paths: dict[str, Schema] = {}
    schemas: dict[str, Schema] = {"Error": _error(), "IdentityError": _identity_error(), "Link": LINK}
    tags: dict[str, None] = {}
    types: set[str] = set()
    for route in routes:
        operation = route.operation
        if operation is None:
            continue
        item = paths.setdefault(path_of(route), _path_ids(route.path, operation))
        item[route.method.lower()] = _item(operation, route)
        schemas |= operation.schemas
        tags[operation.tag] = None
        types |= set() if route.keystone else set(_types(operation, route))
    return {
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": "Linkspan",
            "version": __version__,
            "summary": "Site-to-site IPsec VPN as a service",
            "description": _ABOUT,
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"basic": []}, {"token": []}],
        "tags": [{"name": tag, "description": _TAGS[tag]} for tag in tags],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "parameters": PARAMETERS,
            "headers": _HEADERS,
            "examples": {type: _problem(type) for type in sorted(types)},
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic", "description": "a user's name and password (RFC 7617)"},
                "token": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "X-Auth-Token",
                    "description": "a token of the identity service, or a static one",
                },
            },
        },
    }


def routes(others: Sequence[Route]) -> list[Route]:
    """The route of the document, which describes these other routes and itself."""

    @functools.cache
    def encoded() -> bytes:
        # Encoded on the first request, so that it does not delay the start.
        return msgspec.json.encode(document([*others, own]))

    def handler(_call: Request) -> Response:
        return Response(200, encoded(), (JSON,))

    own = Route("GET", _PATH, handler, public=True, operation=_OWN)
    return [own]


def path_of(route: Route) -> str:
    """The path of a route in the document: each `{id}` has the name that the operation declares."""
    path = route.path
    for name in () if route.operation is None else route.operation.path_ids:
        path = path.replace("{id}", f"{{{name}}}", 1)
    return path


def _path_ids(path: str, operation: Operation) -> Schema:
    if "{id}" not in path:
        return {}
    return {
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": schema}
            for name, schema in operation.path_ids.items()
        ]
    }


def _item(operation: Operation, route: Route) -> Schema:
    item: Schema = {"operationId": operation.id, "tags": [operation.tag], "summary": operation.summary}
    if operation.description:
        item["description"] = operation.description
    if _is_open(operation, route):
        item["security"] = []
    if operation.parameters:
        item["parameters"] = list(operation.parameters)
    if operation.body is not None:
        bodies = {_key(name): {"summary": name, "value": value} for name, value in operation.bodies.items()}
        item["requestBody"] = {"required": True, "content": _content(operation.body, bodies)}
    item["responses"] = _successes(operation) | _errors(_types(operation, route), route.keystone)
    return item


def _key(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "-", name)


def _successes(operation: Operation) -> Schema:
    """The responses of success, that of a dry run among them."""
    answers = {str(operation.status): _success(operation)}
    if operation.rehearsed is None:
        return answers
    example = {dry_runs.ENVELOPE: dry_runs.EXAMPLE}
    changes = {"status": 200, "answer": operation.rehearsed, "example": example, "links": {}, "headers": {}}
    rehearsed = _success(msgspec.structs.replace(operation, **changes))
    if operation.status != 200:
        return {"200": rehearsed} | answers
    media, own = answers["200"]["content"]["application/json"], rehearsed["content"]["application/json"]
    media["schema"] = {"anyOf": [media["schema"], own["schema"]]}
    media["examples"] = {**media.get("examples", {}), "dry-run": own["examples"]["example"]}
    return answers


def _success(operation: Operation) -> Schema:
    headers = _headers(operation.status) | dict(operation.headers)
    response: Schema = {"description": HTTPStatus(operation.status).phrase, "headers": headers}
    if operation.answer is not None:
        shown = {"example": {"value": operation.example}} if operation.example is not None else {}
        response["content"] = _content(operation.answer, shown)
        if operation.streams:
            response["content"] |= {"text/event-stream": {"schema": {"type": "string"}}}
    if operation.links:
        response["links"] = dict(operation.links)
    return response


def _content(schema: Schema, shown: Schema) -> Schema:
    media: Schema = {"schema": schema}
    if shown:
        media["examples"] = shown
    return {"application/json": media}


# --- errors -------------------------------------------------------------------------------------------------------


def _is_open(operation: Operation, route: Route) -> bool:
    return route.public and not operation.login


def _types(operation: Operation, route: Route) -> tuple[str, ...]:
    """The types of all errors that an operation can answer."""
    return operation.refusals if _is_open(operation, route) else (*operation.refusals, *error_responses.ANY)


def _errors(types: Iterable[str], keystone: bool) -> Schema:
    by_code: dict[int, list[str]] = {}
    for type in types:
        by_code.setdefault(STATUS[type], []).append(type)
    return {str(code): _refusal(code, sorted(set(by_code[code])), keystone) for code in sorted(by_code)}


def _refusal(code: int, types: list[str], keystone: bool) -> Schema:
    shown = {type: ref(type, "examples") for type in types}
    if keystone:
        shown = {type: _problem(type, keystone) for type in types}
    if keystone or code == 401:
        schema = {**ref("IdentityError"), "properties": {"error": {"properties": {"code": {"const": code}}}}}
    else:
        schema = {**ref("Error"), "properties": {"NeutronError": {"properties": {"type": {"enum": types}}}}}
    return {"description": _CODES[code], "headers": _headers(code), "content": _content(schema, shown)}


def _headers(code: int) -> Schema:
    names = {"x-openstack-request-id": "RequestId"} | _MORE_HEADERS.get(code, {})
    return {name: ref(component, "headers") for name, component in names.items()}


_HEADERS: Final[Schema] = {
    "RequestId": {
        "description": "names the request in the server's log",
        "required": True,
        "schema": {"type": "string", "pattern": "^req-[0-9a-f-]{36}$"},
    },
    "Challenge": {"description": "how to authenticate", "required": True, "schema": {"type": "string"}},
    "RetryAfter": {
        "description": "seconds after which to try again",
        "required": True,
        "schema": {"type": "integer", "minimum": 0},
    },
}


def _error() -> Schema:
    inner = closed(
        type=described({"type": "string"}, "what clients match on"),
        message=described({"type": "string", "minLength": 1}, "what is wrong, for a person"),
        detail={"type": "string"},
    )
    return closed(NeutronError=inner)


def _identity_error() -> Schema:
    inner = closed(code={"type": "integer"}, title={"type": "string"}, message={"type": "string", "minLength": 1})
    return closed(error=inner)


def _problem(type: str, keystone: bool = False) -> Schema:
    message, code = error_responses.MEANING[type], STATUS[type]
    if keystone or code == 401:
        value: Any = {"error": {"code": code, "title": HTTPStatus(code).phrase, "message": message}}
    else:
        value = {"NeutronError": {"type": type, "message": message, "detail": ""}}
    return {"summary": message, "value": value}
