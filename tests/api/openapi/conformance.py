"""Checks responses against the OpenAPI document: every response that a test of the API receives has to be declared, and
so has every accepted body."""

from __future__ import annotations

import functools
import json
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import httpx
import jsonschema_rs
from starlette.testclient import TestClient

from linkspan.api.app import Application, create_app
from linkspan.api.embedded_keystone.caller import PREFIXES
from linkspan.api.embedded_keystone.service import EmbeddedKeystone
from linkspan.api.http.notifications import Notifier
from linkspan.api.http.route import Route
from linkspan.api.openapi.document import document, path_of
from linkspan.store.store import Store

BASE = "linkspan:/openapi"
# A stand-in for a store. Only `one_writer` is read, to size the thread pools.
_NO_STORE: Any = SimpleNamespace(one_writer=True)


def routes_of(app: Application) -> list[Route]:
    """The route table of an application."""
    return app.dispatcher.routes


@functools.cache
def default_app() -> Application:
    """An application without a database that has every route, including those of the embedded Keystone."""
    store: Store = _NO_STORE
    return create_app(store, EmbeddedKeystone(store), Notifier())


ALIAS = f"{PREFIXES[1]}/"
"""The second prefix of the embedded Keystone; the document contains each of its operations once."""


@functools.cache
def whole() -> dict[str, Any]:
    """The document of `default_app`."""
    return document(routes_of(default_app()))


@functools.cache
def registry() -> jsonschema_rs.Registry:
    """A registry with the document, to resolve the references of schemas."""
    return jsonschema_rs.Registry([(BASE, whole())])


@functools.cache
def validator(*place: str) -> Any:
    """A validator of the schema at a place in the document."""
    pointer = "/".join(quote(part.replace("~", "~0").replace("/", "~1")) for part in place)
    return jsonschema_rs.validator_for(
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "$ref": f"{BASE}#/{pointer}"},
        registry=registry(),
        validate_formats=True,
    )


def of(client: httpx.Client) -> dict[str, Any]:
    """The document of the application behind an in-process client."""
    assert isinstance(client, TestClient)
    return document(routes_of(client.app))  # type: ignore[arg-type] # Starlette's own type


def check(client: httpx.Client, method: str, response: httpx.Response) -> None:
    """Asserts that a response is declared for its operation. Requests to paths without an operation are not checked."""
    if not isinstance(client, TestClient):
        return
    path = response.request.url.path
    if f"{path}/".startswith(ALIAS):
        path = PREFIXES[0] + path.removeprefix(PREFIXES[1])
    route, _ = client.app.dispatcher.find(method, path)  # type: ignore[attr-defined] # an ASGI application to the client
    # 500 is not declared; the tests that provoke it check it themselves.
    if route.operation is None or method == "HEAD" or response.status_code == 500:
        return
    path = path_of(route)
    declared = whole()["paths"][path][route.method.lower()]["responses"]
    exchange = f"{method} {response.request.url}: {response.status_code} {response.text}"
    assert str(response.status_code) in declared, f"this code is not declared: {exchange}"
    for name, header in declared[str(response.status_code)]["headers"].items():
        shared = whole()["components"]["headers"]
        required = header["required"] if "$ref" not in header else shared[header["$ref"].rpartition("/")[2]]["required"]
        assert name in response.headers or not required, f"no {name}: {exchange}"
    if "content" not in declared[str(response.status_code)]:
        assert not response.content, exchange
        return
    assert response.headers["content-type"] == "application/json", exchange
    if response.status_code in (200, 201) and route.operation.body is not None:
        _check_body(path, route.method.lower(), response)
    place = ("paths", path, route.method.lower(), "responses", str(response.status_code))
    fault = next(validator(*place, "content", "application/json", "schema").iter_errors(response.json()), None)
    assert fault is None, f"not as declared: {fault}\n{exchange}"


def _check_body(path: str, method: str, response: httpx.Response) -> None:
    """Asserts that an accepted body fits the declared schema."""
    place = ("paths", path, method, "requestBody", "content", "application/json", "schema")
    body = json.loads(response.request.read())
    fault = next(validator(*place).iter_errors(body), None)
    assert fault is None, f"accepted, but not declared: {fault}\n{method} {path}: {body}"
