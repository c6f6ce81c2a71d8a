"""Holds answers to the OpenAPI document: every answer that a test of the API sees has to be one that is declared, and
every body that is accepted."""

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
# Nobody asks it anything; only how many write at a time is read, to make the threads.
_NO_STORE: Any = SimpleNamespace(one_writer=True)


def routes_of(app: Application) -> list[Route]:
    """The route table of an application, as it is used."""
    return app.dispatcher.routes


@functools.cache
def default_app() -> Application:
    """An application without a database: its routes are those of every other, with the identity that some have."""
    store: Store = _NO_STORE
    return create_app(store, EmbeddedKeystone(store), Notifier())


ALIAS = f"{PREFIXES[1]}/"
"""Where the identity answers as well: the document has each of its operations once."""


@functools.cache
def whole() -> dict[str, Any]:
    """The document."""
    return document(routes_of(default_app()))


@functools.cache
def registry() -> jsonschema_rs.Registry:
    """The document as something that schemas refer to."""
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
    """The document of the application that a client in this process asks."""
    assert isinstance(client, TestClient)
    return document(routes_of(client.app))  # type: ignore[arg-type] # Starlette's own type


def check(client: httpx.Client, method: str, answer: httpx.Response) -> None:
    """Asserts that an answer is what the document says of its operation. What is no operation is not judged."""
    if not isinstance(client, TestClient):
        return
    path = answer.request.url.path
    if f"{path}/".startswith(ALIAS):
        path = PREFIXES[0] + path.removeprefix(PREFIXES[1])
    route, _ = client.app.dispatcher.find(method, path)  # type: ignore[attr-defined] # an ASGI application to the client
    # A server that fails is not declared; tests that make it fail say so themselves.
    if route.operation is None or method == "HEAD" or answer.status_code == 500:
        return
    path = path_of(route)
    declared = whole()["paths"][path][route.method.lower()]["responses"]
    said = f"{method} {answer.request.url}: {answer.status_code} {answer.text}"
    assert str(answer.status_code) in declared, f"this code is not declared: {said}"
    for name, header in declared[str(answer.status_code)]["headers"].items():
        shared = whole()["components"]["headers"]
        required = header["required"] if "$ref" not in header else shared[header["$ref"].rpartition("/")[2]]["required"]
        assert name in answer.headers or not required, f"no {name}: {said}"
    if "content" not in declared[str(answer.status_code)]:
        assert not answer.content, said
        return
    assert answer.headers["content-type"] == "application/json", said
    if answer.status_code in (200, 201) and route.operation.body is not None:
        _hold_body(path, route.method.lower(), answer)
    place = ("paths", path, route.method.lower(), "responses", str(answer.status_code))
    fault = next(validator(*place, "content", "application/json", "schema").iter_errors(answer.json()), None)
    assert fault is None, f"not as declared: {fault}\n{said}"


def _hold_body(path: str, method: str, answer: httpx.Response) -> None:
    """What was accepted has to be declared too."""
    place = ("paths", path, method, "requestBody", "content", "application/json", "schema")
    given = json.loads(answer.request.read())
    fault = next(validator(*place).iter_errors(given), None)
    assert fault is None, f"accepted, but not declared: {fault}\n{method} {path}: {given}"
