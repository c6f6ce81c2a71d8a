"""POST of several objects in one request: all or none is created, and each is checked like a single one."""

from __future__ import annotations

from typing import Any

import pytest

from linkspan.core.checks.cross_resource import Limits
from linkspan.core.schema.resources import RESOURCES, Resource
from tests.api.conftest import OpenApi
from tests.api.world import BLUE, CONNECTIONS, Api, LocalSite, Node

IKE = "/vpn/ikepolicies"
WRITABLE = [resource for resource in RESOURCES if resource.writable]


def create(api: Api, resource: Resource, *members: dict[str, Any]) -> list[dict[str, Any]]:
    """Creates several objects; asserts 201."""
    response = api.send("POST", f"/{resource.path}", {resource.plural: list(members)})
    assert response.status_code == 201, response.text
    assert list(response.json()) == [resource.plural]
    created: list[dict[str, Any]] = response.json()[resource.plural]
    return created


def bodies(site: LocalSite, resource: Resource) -> list[dict[str, Any]]:
    """Returns two valid objects of a resource."""
    network = site.api.create("/networks", "network", name="for subnets")["id"]
    good: dict[str, list[dict[str, Any]]] = {
        "service": [{"router_id": site.router["id"]}, {"router_id": site.router["id"]}],
        "connection": [site.values(), site.values(peer_cidrs=["10.8.0.0/24"])],
        "endpoint_group": [{"type": "cidr", "endpoints": [f"10.{n}.0.0/24"]} for n in (3, 4)],
        "certificate": [{"subject": "CN=gw", "subject_alt_names": ["gw.example.org"]}, {"subject": "CN=gw"}],
        "trust_anchor": [{"source": "generated"}, {"source": "generated"}],
        "subnet": [{"network_id": network, "cidr": f"10.{n}.0.0/24"} for n in (5, 6)],
    }
    return [values | {"name": name} for name, values in zip("ab", good.get(resource.name, [{}, {}]), strict=True)]


@pytest.mark.parametrize("resource", WRITABLE, ids=lambda resource: resource.name)
def test_every_resource_can_be_created_in_bulk(site: LocalSite, resource: Resource) -> None:
    first, second = create(site.api, resource, *bodies(site, resource))
    assert (first["name"], second["name"]) == ("a", "b")
    assert first["id"] != second["id"]
    for item in (first, second):
        assert site.api.get(f"/{resource.path}/{item['id']}")[resource.singular] == item
        assert item["project_id"] == BLUE


@pytest.mark.parametrize("resource", WRITABLE, ids=lambda resource: resource.name)
def test_one_invalid_object_fails_the_whole_request(site: LocalSite, resource: Resource) -> None:
    good, bad = bodies(site, resource)
    before = site.api.get(f"/{resource.path}")
    body = {resource.plural: [good, bad | {"name": "n" * 256}]}
    assert site.api.refused("POST", f"/{resource.path}", body) == (400, "HTTPBadRequest")
    assert site.api.get(f"/{resource.path}") == before


def test_the_error_names_the_invalid_object(site: LocalSite) -> None:
    def message(*members: dict[str, Any]) -> str:
        response = site.api.send("POST", CONNECTIONS, {"ipsec_site_connections": list(members)})
        assert response.status_code == 400
        text: str = response.json()["NeutronError"]["message"]
        return text

    good, other = site.values(), site.values(peer_cidrs=["10.8.0.0/24"])
    # The first is invalid by itself, the second conflicts with other objects.
    assert message(good, good | {"mtu": {}}).startswith("ipsec_site_connections[1]: Invalid input")
    assert message(other | {"mtu": 7}, good).startswith("ipsec_site_connections[0]: ipsec_site_connection MTU 7 is")
    assert site.api.get(CONNECTIONS) == {"ipsec_site_connections": []}


def test_objects_of_one_request_are_checked_against_each_other(site: LocalSite) -> None:
    clash = {"ipsec_site_connections": [site.values(), site.values(psk="another", peer_cidrs=["10.8.0.0/24"])]}
    assert site.api.refused("POST", CONNECTIONS, clash) == (409, "IPsecSiteConnectionConflict")
    network = site.api.create("/networks", "network")["id"]
    twice = {"subnets": [{"network_id": network, "cidr": "10.5.0.0/24"}] * 2}
    assert site.api.refused("POST", "/subnets", twice)[0] == 400
    assert site.api.get(CONNECTIONS) == {"ipsec_site_connections": []}
    assert site.api.get(f"/networks/{network}")["network"]["subnets"] == []


def test_a_bulk_request_cannot_exceed_the_limit_of_a_gateway(open_api: OpenApi) -> None:
    with open_api(limits=Limits(connections=3)) as api:
        site = LocalSite(api)
        members = [site.values(peer_id=f"peer-{number}") for number in range(4)]
        assert api.refused("POST", CONNECTIONS, {"ipsec_site_connections": members}) == (409, "OverQuota")
        assert api.send("POST", CONNECTIONS, {"ipsec_site_connections": members[1:]}).status_code == 201


def test_a_bulk_request_is_one_revision_for_the_node(site: LocalSite) -> None:
    node = Node(site.api, site.api.node().name)
    node.apply_desired()
    since = node.desired()["revision"]
    members = [site.values(peer_id=f"peer-{number}") for number in range(5)]
    response = site.api.send("POST", CONNECTIONS, {"ipsec_site_connections": members})
    connections = response.json()["ipsec_site_connections"]
    assert {item["status"] for item in connections} == {"PENDING_CREATE"}
    delta = node.desired(since)
    assert delta["revision"] == since + 1
    assert {item["id"] for item in delta["connections"]} == {item["id"] for item in connections}
    node.apply_desired()
    assert {item["status"] for item in site.api.get(CONNECTIONS)["ipsec_site_connections"]} == {"ACTIVE"}


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ([], (400, "HTTPBadRequest")),
        ({}, (400, "HTTPBadRequest")),
        ("x", (400, "HTTPBadRequest")),
        ([1], (400, "HTTPBadRequest")),
        ([{}, None], (400, "HTTPBadRequest")),
        ([{"ikepolicy": 1}], (400, "HTTPBadRequest")),
        ([{}] * 4, (400, "HTTPBadRequest")),
    ],
)
def test_malformed_lists_are_refused(open_api: OpenApi, members: Any, expected: tuple[int, str]) -> None:
    with open_api(bulk=3) as api:
        assert api.refused("POST", IKE, {"ikepolicies": members}) == expected
        assert api.get(IKE) == {"ikepolicies": []}
        assert api.send("POST", IKE, {"ikepolicies": [{}] * 3}).status_code == 201


def test_each_object_may_have_its_own_envelope(api: Api) -> None:
    response = api.send("POST", IKE, {"ikepolicies": [{"ikepolicy": {"name": "a"}}, {"name": "b"}]})
    assert [policy["name"] for policy in response.json()["ikepolicies"]] == ["a", "b"]


def test_bulk_creation_needs_the_same_permission(api: Api) -> None:
    body = {"ikepolicies": [{"name": "a"}, {"name": "b"}]}
    assert api.as_("reader").refused("POST", IKE, body) == (403, "PolicyNotAuthorized")
    foreign = {"ikepolicies": [{"name": "a"}, {"name": "b", "project_id": "ed" * 16}]}
    assert api.refused("POST", IKE, foreign) == (400, "HTTPBadRequest")
    assert api.get(IKE) == {"ikepolicies": []}
