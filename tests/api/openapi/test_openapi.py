"""The OpenAPI document: it is valid, covers the application's route table, and the API accepts its examples."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from linkspan.api.app import create_app
from linkspan.api.embedded_keystone.caller import PREFIXES
from linkspan.api.embedded_keystone.service import EmbeddedKeystone
from linkspan.api.http.notifications import Notifier
from linkspan.api.http.operation import Operation
from linkspan.api.http.route import Route
from linkspan.api.openapi.document import path_of
from linkspan.api.resources.absent import ABSENT
from linkspan.core.errors import STATUS, ApiError
from linkspan.core.schema import error_responses, examples
from linkspan.core.schema.resources import CONNECTION, INVENTORY, RESOURCES, ROUTER, TRUST_ANCHOR, Attribute, Resource
from linkspan.store.store import Store
from tests.api.openapi import conformance
from tests.api.test_fuzz import JSON
from tests.api.users import PASSWORD, Client, embedded, quick
from tests.api.world import BLUE, Api
from tests.harness.examples import examples as sampled

__all__ = ["quick"]

MADE = {
    "crl",
    "csr",
    "certificate",
    "ca_bundle",
    "not_before",
    "not_after",
    "expires_at",
    "fingerprint",
    "key_identifier",
}
"""Attributes that are made anew for each object."""
METHODS = {"get", "put", "post", "patch", "delete"}


def walk(value: Any) -> Iterator[Any]:
    """Yields every value inside a JSON value."""
    yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from walk(inner)


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    """Returns (path, method, operation) of all operations of the document."""
    return [
        (path, method, operation)
        for path, item in conformance.whole()["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    ]


def for_users(route: Route) -> bool:
    """True if the document should contain a route.

    It omits the agents' API, what always refuses (PUT and DELETE on collections, POST of what there is none of), the
    second prefix of Keystone, revocation lists, which are DER for everybody, and the console."""
    if route.path.endswith("/{id}/crl") or route.path.startswith("/console"):
        return False
    if f"{route.path}/".startswith(conformance.ALIAS):
        return False
    if route.method == "POST" and route.path in {f"/v2.0/{absent.path}" for absent in ABSENT}:
        return False
    on_collection = route.method in ("PUT", "DELETE") and "{id}" not in route.path
    return not route.path.startswith("/agent/") and not (on_collection and route.path.startswith("/v2.0/"))


def test_the_document_is_served(api: Api) -> None:
    response = api.as_("stranger").send("GET", "//openapi.json")
    assert response.status_code == 200
    assert response.json() == json.loads(json.dumps(conformance.of(api.client)))
    assert not [path for path in response.json()["paths"] if path.startswith("/identity")]


def test_the_document_has_the_paths_of_the_embedded_keystone(store: Store) -> None:
    with TestClient(create_app(store, EmbeddedKeystone(store), Notifier())) as client:
        assert client.get("/openapi.json").json() == json.loads(json.dumps(conformance.whole()))
    assert "/identity/v3/users/{user_id}/application_credentials/{id}" in conformance.whole()["paths"]


def test_both_prefixes_of_the_embedded_keystone_have_the_same_routes() -> None:
    table = conformance.routes_of(conformance.default_app())
    first, second = (
        {
            (route.method, route.path.removeprefix(prefix))
            for route in table
            if f"{route.path}/".startswith(f"{prefix}/")
        }
        for prefix in PREFIXES
    )
    assert first == second
    assert len(first) > 15


def test_the_document_is_valid() -> None:
    whole = copy.deepcopy(conformance.whole())
    schemathesis.openapi.from_dict(whole).validate()
    assert whole["openapi"].startswith("3.1.")
    whole["paths"]["/v2.0/networks"]["get"]["responses"]["200"].pop("description")
    with pytest.raises(jsonschema_rs.ValidationError):
        schemathesis.openapi.from_dict(whole).validate()


def test_every_schema_is_a_json_schema() -> None:
    for schema in conformance.whole()["components"]["schemas"].values():
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})


def test_every_route_of_users_is_in_the_document() -> None:
    table = conformance.routes_of(conformance.default_app())
    undocumented = [f"{route.method} {route.path}" for route in table if for_users(route) and route.operation is None]
    assert not undocumented, "these routes need an Operation, or a reason in for_users"
    declared = {(path, method.upper()) for path, method, _ in operations()}
    assert declared == {(path_of(route), route.method) for route in table if for_users(route)}
    assert len(declared) > 60


def test_undocumented_routes_only_refuse(api: Api) -> None:
    for route in conformance.routes_of(conformance.default_app()):
        if not for_users(route) and route.path.startswith("/v2.0/"):
            response = api.send(route.method, route.path.removeprefix("/v2.0"), {})
            assert response.status_code == (400 if route.method == "POST" else 404), route.path


def test_every_resource_is_in_the_document() -> None:
    paths = conformance.whole()["paths"]
    for resource in RESOURCES:
        assert set(paths[f"/v2.0/{resource.path}"]) == ({"get", "post"} if resource.writable else {"get"})
        member = set(paths[f"/v2.0/{resource.path}/{{id}}"]) - {"parameters"}
        assert member == ({"get", "put", "delete"} if resource.writable else {"get"})


def test_references_and_names() -> None:
    whole = conformance.whole()
    references = {
        value["$ref"] for value in walk(whole) if isinstance(value, dict) and isinstance(value.get("$ref"), str)
    }
    assert len(references) > 50
    for reference in references:
        target = whole
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]
    for kind, components in whole["components"].items():
        unused = [name for name in components if f"#/components/{kind}/{name}" not in references]
        assert not unused or kind == "securitySchemes", unused
    ids = [operation["operationId"] for _, _, operation in operations()]
    assert len(ids) == len(set(ids))
    for path, _, operation in operations():
        declared = {parameter["name"] for parameter in whole["paths"][path].get("parameters", ())}
        assert declared == set(re.findall(r"\{(\w+)\}", path))
        assert operation["summary"]
        assert operation["tags"][0] in {tag["name"] for tag in whole["tags"]}


def test_schemas_of_successful_responses_are_closed() -> None:
    """Closed schemas, without additional properties, detect undeclared attributes in responses."""
    whole = conformance.whole()
    for path, method, operation in operations():
        successes = [response for status, response in operation["responses"].items() if status < "300"]
        assert successes, (path, method)
        schemas = [each.get("content", {}).get("application/json", {}).get("schema", {}) for each in successes]
        objects = [value for value in walk(schemas) if isinstance(value, dict) and value.get("type") == "object"]
        assert all(value.get("additionalProperties") is False for value in objects) or path == "/openapi.json", (
            path,
            method,
        )
    shown = [
        f"{name}Fields" for name in whole["components"]["schemas"] if f"{name}Fields" in whole["components"]["schemas"]
    ]
    assert len(shown) == len(RESOURCES)
    for name in shown:
        assert whole["components"]["schemas"][name]["additionalProperties"] is False


# --- errors -------------------------------------------------------------------------------------------------------


def test_every_error_type_has_a_description_and_an_operation() -> None:
    assert error_responses.MEANING.keys() == STATUS.keys()
    declared = {
        type
        for _, _, operation in operations()
        for code, response in operation["responses"].items()
        if code >= "400"
        for type in response["content"]["application/json"]["examples"]
    }
    # The error of an unsupported method belongs to no operation.
    assert STATUS.keys() - declared == {"HTTPMethodNotAllowed"}


def test_every_operation_declares_the_errors_of_authentication() -> None:
    for path, method, operation in operations():
        public = operation.get("security") == []
        assert public or {"401", "429", "503"} <= set(operation["responses"]), (method, path)


@contextmanager
def undeclared(schema: str, attribute: str) -> Iterator[None]:
    """Removes an attribute from a schema of the document."""
    properties = conformance.whole()["components"]["schemas"][schema]["properties"]
    declared = properties.pop(attribute)
    _forget_validators()
    try:
        yield
    finally:
        properties[attribute] = declared
        _forget_validators()


def _forget_validators() -> None:
    conformance.validator.cache_clear()
    conformance.registry.cache_clear()


def test_an_undeclared_response_is_detected(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control of `conformance.check`, which checks every response in the tests of the API."""
    network = api.create("/networks", "network", name="office")
    path = f"/networks/{network['id']}"
    with undeclared("NetworkFields", "description"), pytest.raises(AssertionError, match="not as declared"):
        api.send("GET", path)
    assert api.send("GET", path).status_code == 200
    monkeypatch.setitem(STATUS, "NetworkNotFound", 410)
    with pytest.raises(AssertionError, match="this code is not declared"):
        api.send("GET", f"/networks/{examples.OUTSIDE}")
    monkeypatch.setitem(STATUS, "NetworkNotFound", 404)
    monkeypatch.setattr(
        "linkspan.api.resources.collection.not_found", lambda resource, id: ApiError("PortNotFound", "no port")
    )
    with pytest.raises(AssertionError, match="not as declared"):
        api.send("GET", f"/networks/{examples.OUTSIDE}")


def test_an_accepted_but_undeclared_body_is_detected(api: Api) -> None:
    """The negative control of the check of accepted bodies in `conformance.check`."""
    path, body = f"/networks/{api.create('/networks', 'network')['id']}", {"network": {"description": "office"}}
    with undeclared("NetworkUpdate", "description"), pytest.raises(AssertionError, match="accepted, but not declared"):
        api.send("PUT", path, body)
    assert api.send("PUT", path, body).status_code == 200


# --- examples -----------------------------------------------------------------------------------------------------


def shown_examples() -> list[tuple[str, tuple[str, ...], Any]]:
    """Returns (name, path of the schema, value) of every example of a body or a response."""
    shown: list[tuple[str, tuple[str, ...], Any]] = []
    for path, method, operation in operations():
        places: dict[tuple[str, ...], Any] = {("requestBody",): operation.get("requestBody", {})}
        places |= {("responses", code): response for code, response in operation["responses"].items()}
        for place, holder in places.items():
            media = holder.get("content", {}).get("application/json", {})
            for name, example in media.get("examples", {}).items():
                value = example.get("value", {"$ref": example.get("$ref")})
                if "$ref" in example:
                    value = conformance.whole()["components"]["examples"][example["$ref"].rpartition("/")[2]]["value"]
                schema = ("paths", path, method, *place, "content", "application/json", "schema")
                shown.append((f"{method} {path} {place} {name}", schema, value))
    return shown


def test_examples_fit_their_schemas() -> None:
    shown = shown_examples()
    assert len(shown) > 300
    for name, place, value in shown:
        fault = next(conformance.validator(*place).iter_errors(value), None)
        assert fault is None, f"{name}: {fault}"


def test_every_body_has_an_example() -> None:
    for path, method, operation in operations():
        if "requestBody" in operation:
            assert operation["requestBody"]["content"]["application/json"]["examples"], (method, path)


class ExampleSender:
    """Sends the examples in an order that satisfies their references, with the ids of the created objects."""

    def __init__(self, api: Api) -> None:
        self.api = api
        outside = api.outside("198.51.100.0/24")
        self.real = {examples.OUTSIDE: outside["id"], examples.PROJECT: "b1" * 16}
        self.sent: set[tuple[str, str]] = set()

    def send(self, method: str, path: str, name: str, user: str = "alice") -> Any:
        """Sends an example of an operation."""
        operation = conformance.whole()["paths"][path][method]
        example = operation["requestBody"]["content"]["application/json"]["examples"][name]
        response = self.api.as_(user).send(
            method.upper(), self._real(path.removeprefix("/v2.0")), json.loads(self._real(json.dumps(example["value"])))
        )
        assert response.status_code in (200, 201), response.text
        self.sent.add((f"{method} {path}", name))
        return response.json()

    def create(self, resource: Resource) -> None:
        """Creates all example objects of a resource."""
        path = f"/v2.0/{resource.path}"
        for name in examples.CREATE[resource.name]:
            key = name.replace(" ", "-")
            created = self.send("post", path, key)[resource.singular]
            self.real[examples.IDS[resource.name, name]] = created["id"]
            if name == next(iter(examples.CREATE[resource.name])):
                self._compare(resource, created)
        for name, members in examples.BULK.get(resource.name, {}).items():
            assert len(self.send("post", path, name)[resource.plural]) == len(members)

    def _compare(self, resource: Resource, created: dict[str, Any]) -> None:
        """Asserts that the response equals its example, apart from ids and times."""
        operation = conformance.whole()["paths"][f"/v2.0/{resource.path}"]["post"]
        example = operation["responses"]["201"]["content"]["application/json"]["examples"]["example"]["value"]
        expected = json.loads(self._real(json.dumps(example)))[resource.singular]
        for shown in (created, expected):
            for name in ("created_at", "updated_at", "revision_number"):
                shown.pop(name)
            for name in MADE & shown.keys():
                shown[name] = shown[name] is not None
            for fixed in (shown.get("external_gateway_info") or {}).get("external_fixed_ips", ()):
                fixed.pop("subnet_id")
        assert created == expected

    def update(self, resource: Resource) -> None:
        """Sends all example updates of a resource's first object."""
        first = examples.IDS[resource.name, next(iter(examples.CREATE[resource.name]))]
        self.real["{id}"] = self.real[first]
        for name in examples.UPDATE[resource.name]:
            self.send("put", f"/v2.0/{resource.path}/{{id}}", name.replace(" ", "-"))

    def interface(self, verb: str) -> None:
        """Adds or removes the router's interface."""
        self.real["{id}"] = self.real[examples.IDS[ROUTER.name, "gateway"]]
        self.send("put", f"/v2.0/routers/{{id}}/{verb}_router_interface", "example")

    def tags(self, resource: Resource) -> None:
        """Replaces and adds tags of an object."""
        self.real["{id}"] = self.api.get(f"/{resource.path}?project_id={BLUE}")[resource.plural][0]["id"]
        for method in ("put", "post"):
            self.send(method, f"/v2.0/{resource.path}/{{id}}/tags", "two")

    def probe(self) -> None:
        """Has a connection probed."""
        connection = next(iter(examples.CREATE[CONNECTION.name]))
        self.real["{id}"] = self.real[examples.IDS[CONNECTION.name, connection]]
        self.send("post", f"/v2.0/{CONNECTION.path}/{{id}}/probe", "example")

    def compare(self) -> None:
        """Has a connection compared."""
        connection = next(iter(examples.CREATE[CONNECTION.name]))
        self.real["{id}"] = self.real[examples.IDS[CONNECTION.name, connection]]
        self.send("post", f"/v2.0/{CONNECTION.path}/{{id}}/compare", "example")

    def rollback(self) -> None:
        """Brings the first revision of a connection back."""
        connection = next(iter(examples.CREATE[CONNECTION.name]))
        self.real["{id}"] = self.real[examples.IDS[CONNECTION.name, connection]]
        self.send("post", f"/v2.0/{CONNECTION.path}/{{id}}/rollback", "example")

    def authority(self) -> None:
        """Has the own CA issue a certificate for a request, and revoke it."""
        self.real["{id}"] = self.real[examples.IDS[TRUST_ANCHOR.name, "own CA"]]
        issued = self.send("post", "/v2.0/vpn/trust-anchors/{id}/issue", "example")["certificate"]
        self.real[json.dumps(examples.REVOKED["certificate"])[1:-1]] = json.dumps(issued)[1:-1]
        self.send("put", "/v2.0/vpn/trust-anchors/{id}/revoke", "example")

    def quota(self) -> None:
        """Sets quotas, as admin."""
        self.real["{project_id}"] = self.real[examples.PROJECT]
        self.send("put", "/v2.0/quotas/{project_id}", "connections", "admin")

    def _real(self, text: str) -> str:
        for shown, real in self.real.items():
            text = text.replace(shown, real)
        return text


def test_every_example_is_accepted(api: Api) -> None:
    sender = ExampleSender(api)
    for resource in examples.STORY:
        sender.create(resource)
        if resource is ROUTER:
            # The services need the interface, so it is added again.
            for verb in ("add", "remove", "add"):
                sender.interface(verb)
    for resource in examples.STORY:
        sender.update(resource)
    for resource in INVENTORY:
        sender.tags(resource)
    sender.authority()
    sender.probe()
    sender.compare()
    sender.rollback()
    sender.quota()
    sender.send("post", "/v2.0/linkspan/nodes", "ten-minutes", "admin")
    declared = {
        (f"{method} {path}", name)
        for path, method, operation in operations()
        if "requestBody" in operation and not operation["operationId"].endswith("_by_short_path")
        if operation["tags"] != ["identity"]
        for name in operation["requestBody"]["content"]["application/json"]["examples"]
    }
    assert sender.sent == declared


def _operation_of(method: str, path: str) -> Operation:
    operation = conformance.default_app().dispatcher.find(method, path)[0].operation
    assert operation is not None
    return operation


@pytest.mark.usefixtures("quick")
def test_every_example_of_the_embedded_keystone_is_accepted(store: Store) -> None:
    with TestClient(create_app(store, embedded(store), Notifier())) as http:
        client = Client(http, store)
        token = client.token("alice", {"project": {"name": "blue"}})
        real = {"office": "blue", "a good password": PASSWORD, "a token": token}
        root, alice = client.token("root"), client.id("alice")
        story = (
            (f"/users/{alice}/application_credentials", token, "POST"),
            ("/auth/tokens", token, "POST"),
            ("/projects", root, "POST"),
            (f"/projects/{'r' * 32}", root, "PATCH"),
            ("/users", root, "POST"),
            (f"/users/{client.id('bob')}", root, "PATCH"),
            (f"/users/{alice}/password", token, "POST"),
        )
        sent = set()
        for path, by, method in story:
            url = f"/identity/v3{path}"
            operation = _operation_of(method, url)
            for name, body in operation.bodies.items():
                text = json.dumps(body)
                for shown, value in real.items():
                    text = text.replace(json.dumps(shown), json.dumps(value))
                response = http.request(method, url, content=text, headers={"x-auth-token": by})
                assert response.status_code == operation.status, response.text
                conformance.check(http, method, response)
                sent.add((operation.id, name.replace(" ", "-")))
    assert sent == {
        (operation["operationId"], name)
        for _, _, operation in operations()
        if "requestBody" in operation and operation["tags"] == ["identity"]
        for name in operation["requestBody"]["content"]["application/json"]["examples"]
    }


# --- values -------------------------------------------------------------------------------------------------------

ACCEPTED = [
    (resource, attribute)
    for resource in RESOURCES
    for attribute in resource.attributes
    if attribute.post or attribute.put
]


@pytest.mark.parametrize(("resource", "attribute"), ACCEPTED, ids=[f"{r.name}.{a.name}" for r, a in ACCEPTED])
def test_an_attribute_type_accepts_what_its_schema_declares(resource: Resource, attribute: Attribute) -> None:
    body = "".join(part.capitalize() for part in resource.name.split("_")) + ("Create" if attribute.post else "Update")
    schema = conformance.validator("components", "schemas", body, "properties", attribute.name)
    assert schema.is_valid(None) or not attribute.nullable
    assert attribute.required or attribute.default is None or schema.is_valid(attribute.default)
    words = st.sampled_from(
        [
            "1",
            "on",
            "TRUE",
            " 1500 ",
            "+60",
            "-1",
            "1500",
            "10.0.0.0/8",
            "10.0.0.0/33",
            "::/0",
            "10.0.0.1",
            "a.b.",
            "x\ny",
        ]
    )
    units = st.fixed_dictionaries(
        {}, optional={"units": st.sampled_from(["seconds", "kilobytes", 1]), "value": JSON, "interval": JSON}
    )

    @settings(max_examples=sampled(50))
    @given(value=JSON | words | st.lists(words, max_size=3) | units)
    def check(value: Any) -> None:
        try:
            attribute.kind.convert(attribute.name, value)
        except ApiError:
            return
        assert schema.is_valid(value), f"accepted, but not declared: {value!r}"

    check()
