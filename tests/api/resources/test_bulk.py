"""POST of several objects in one request: all of them or none, each judged as if it came alone."""

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
    """Several new objects; it has to be 201."""
    answer = api.send("POST", f"/{resource.path}", {resource.plural: list(members)})
    assert answer.status_code == 201, answer.text
    assert list(answer.json()) == [resource.plural]
    made: list[dict[str, Any]] = answer.json()[resource.plural]
    return made


def bodies(site: LocalSite, resource: Resource) -> list[dict[str, Any]]:
    """Two good objects of a resource."""
    network = site.api.create("/networks", "network", name="for subnets")["id"]
    good: dict[str, list[dict[str, Any]]] = {
        "service": [{"router_id": site.router["id"]}, {"router_id": site.router["id"]}],
        "connection": [site.values(), site.values(peer_cidrs=["10.8.0.0/24"])],
        "endpoint_group": [{"type": "cidr", "endpoints": [f"10.{n}.0.0/24"]} for n in (3, 4)],
        "subnet": [{"network_id": network, "cidr": f"10.{n}.0.0/24"} for n in (5, 6)],
    }
    return [values | {"name": name} for name, values in zip("ab", good.get(resource.name, [{}, {}]), strict=True)]


@pytest.mark.parametrize("resource", WRITABLE, ids=lambda resource: resource.name)
def test_every_resource_is_made_in_bulk(site: LocalSite, resource: Resource) -> None:
    first, second = create(site.api, resource, *bodies(site, resource))
    assert (first["name"], second["name"]) == ("a", "b")
    assert first["id"] != second["id"]
    for each in (first, second):
        assert site.api.get(f"/{resource.path}/{each['id']}")[resource.singular] == each
        assert each["project_id"] == BLUE


@pytest.mark.parametrize("resource", WRITABLE, ids=lambda resource: resource.name)
def test_one_bad_object_leaves_nothing(site: LocalSite, resource: Resource) -> None:
    good, bad = bodies(site, resource)
    before = site.api.get(f"/{resource.path}")
    body = {resource.plural: [good, bad | {"name": "n" * 256}]}
    assert site.api.refused("POST", f"/{resource.path}", body) == (400, "HTTPBadRequest")
    assert site.api.get(f"/{resource.path}") == before


def test_the_message_says_which_object_is_meant(site: LocalSite) -> None:
    def message(*members: dict[str, Any]) -> str:
        answer = site.api.send("POST", CONNECTIONS, {"ipsec_site_connections": list(members)})
        assert answer.status_code == 400
        text: str = answer.json()["NeutronError"]["message"]
        return text

    good, other = site.values(), site.values(peer_cidrs=["10.8.0.0/24"])
    # The first by itself, the second beside other objects.
    assert message(good, good | {"mtu": {}}).startswith("ipsec_site_connections[1]: Invalid input")
    assert message(other | {"mtu": 7}, good).startswith("ipsec_site_connections[0]: ipsec_site_connection MTU 7 is")
    assert site.api.get(CONNECTIONS) == {"ipsec_site_connections": []}


def test_objects_of_one_request_are_judged_beside_each_other(site: LocalSite) -> None:
    clash = {"ipsec_site_connections": [site.values(), site.values(psk="another", peer_cidrs=["10.8.0.0/24"])]}
    assert site.api.refused("POST", CONNECTIONS, clash) == (409, "IPsecSiteConnectionConflict")
    network = site.api.create("/networks", "network")["id"]
    twice = {"subnets": [{"network_id": network, "cidr": "10.5.0.0/24"}] * 2}
    assert site.api.refused("POST", "/subnets", twice)[0] == 400
    assert site.api.get(CONNECTIONS) == {"ipsec_site_connections": []}
    assert site.api.get(f"/networks/{network}")["network"]["subnets"] == []


def test_a_gateway_has_room_for_no_more_at_once(open_api: OpenApi) -> None:
    with open_api(limits=Limits(connections=3)) as api:
        site = LocalSite(api)
        members = [site.values(peer_id=f"peer-{number}") for number in range(4)]
        assert api.refused("POST", CONNECTIONS, {"ipsec_site_connections": members}) == (409, "OverQuota")
        assert api.send("POST", CONNECTIONS, {"ipsec_site_connections": members[1:]}).status_code == 201


def test_a_node_takes_them_all_up_at_one_revision(site: LocalSite) -> None:
    node = Node(site.api, site.api.node().name)
    node.apply_desired()
    since = node.desired()["revision"]
    members = [site.values(peer_id=f"peer-{number}") for number in range(5)]
    answer = site.api.send("POST", CONNECTIONS, {"ipsec_site_connections": members})
    made = answer.json()["ipsec_site_connections"]
    assert {each["status"] for each in made} == {"PENDING_CREATE"}
    delta = node.desired(since)
    assert delta["revision"] == since + 1
    assert {each["id"] for each in delta["connections"]} == {each["id"] for each in made}
    node.apply_desired()
    assert {each["status"] for each in site.api.get(CONNECTIONS)["ipsec_site_connections"]} == {"ACTIVE"}


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
def test_what_is_no_list_of_objects(open_api: OpenApi, members: Any, expected: tuple[int, str]) -> None:
    with open_api(bulk=3) as api:
        assert api.refused("POST", IKE, {"ikepolicies": members}) == expected
        assert api.get(IKE) == {"ikepolicies": []}
        assert api.send("POST", IKE, {"ikepolicies": [{}] * 3}).status_code == 201


def test_members_may_have_an_envelope_each(api: Api) -> None:
    answer = api.send("POST", IKE, {"ikepolicies": [{"ikepolicy": {"name": "a"}}, {"name": "b"}]})
    assert [each["name"] for each in answer.json()["ikepolicies"]] == ["a", "b"]


def test_who_may_not_make_one_may_not_make_many(api: Api) -> None:
    body = {"ikepolicies": [{"name": "a"}, {"name": "b"}]}
    assert api.as_("reader").refused("POST", IKE, body) == (403, "PolicyNotAuthorized")
    foreign = {"ikepolicies": [{"name": "a"}, {"name": "b", "project_id": "ed" * 16}]}
    assert api.refused("POST", IKE, foreign) == (400, "HTTPBadRequest")
    assert api.get(IKE) == {"ikepolicies": []}
