"""Lists: filters, fields, order, pages; the same for every resource."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from linkspan.core.schema.conditions import conditions_of
from linkspan.core.schema.resources import RESOURCES, Resource
from tests.api.conftest import OpenApi
from tests.api.world import BLUE, CONNECTIONS, Api, LocalSite

IKE = "/vpn/ikepolicies"


def names(api: Api, query: str) -> list[str]:
    """Returns the names of the policies that match a query string."""
    return [policy["name"] for policy in api.get(f"{IKE}?{query}")["ikepolicies"]]


@pytest.fixture
def many(api: Api) -> Api:
    """An API with five policies, a to e; c and d use another Diffie-Hellman group."""
    for name in "bdace":
        api.ike(name=name, pfs="group19" if name in "cd" else "group14")
    return api


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "abcde"),
        ("name=a", "a"),
        ("name=a&name=e&name=x", "ae"),
        ("name=", ""),
        ("pfs=group19", "cd"),
        ("pfs=group19&name=c&name=a", "c"),
        ("pfs=rubbish", ""),
        ("id=rubbish", ""),
        (f"project_id={BLUE}", "abcde"),
        (f"tenant_id={BLUE}", "abcde"),
        ("revision_number=1", "abcde"),
        ("revision_number=2", ""),
        ("revision_number=1&limit=2&sort_key=name&sort_dir=desc", "ed"),
        ("sort_key=name&sort_dir=desc", "edcba"),
        ("sort_key=pfs&sort_dir=desc&sort_key=name&sort_dir=asc", "cdabe"),
        ("limit=2", "ab"),
        ("limit=0", "abcde"),
        ("limit=1000000000000", "abcde"),
    ],
)
def test_queries(many: Api, query: str, expected: str) -> None:
    assert "".join(names(many, query)) == expected


def test_fields(many: Api) -> None:
    assert many.get(f"{IKE}?name=a&fields=name&fields=pfs&fields=colour")["ikepolicies"] == [
        {"name": "a", "pfs": "group14"}
    ]
    id = many.get(f"{IKE}?name=a&fields=id")["ikepolicies"][0]["id"]
    assert many.get(f"{IKE}/{id}?fields=name&fields=tenant_id")["ikepolicy"] == {"name": "a", "tenant_id": BLUE}


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_next_links_lead_through_all_objects(many: Api, size: int) -> None:
    seen: list[str] = []
    path = f"{IKE}?limit={size}&fields=name"
    for _ in range(7):
        response = many.get(path)
        seen += [policy["name"] for policy in response["ikepolicies"]]
        links = {link["rel"]: link["href"] for link in response["ikepolicies_links"]}
        if "next" not in links:
            break
        assert links["next"].startswith("http://testserver/v2.0/vpn/ikepolicies?limit=")
        parts = urlsplit(links["next"])
        path = f"{parts.path.removeprefix('/v2.0')}?{parts.query}"
    assert "".join(seen) == "abcde"


def test_previous_links_lead_back(many: Api) -> None:
    ids = {policy["name"]: policy["id"] for policy in many.get(IKE)["ikepolicies"]}
    response = many.get(f"{IKE}?limit=2&page_reverse=True&marker={ids['d']}")
    assert [policy["name"] for policy in response["ikepolicies"]] == ["b", "c"]
    links = {link["rel"]: link["href"] for link in response["ikepolicies_links"]}
    assert f"marker={ids['c']}" in links["next"]
    assert f"marker={ids['b']}" in links["previous"]


@pytest.mark.parametrize("marker", ["1d712268-1f0d-4412-b4eb-faaa07d0941a", "a", "a%00b", "%ff", ""])
def test_an_unknown_marker_gives_an_empty_page(many: Api, marker: str) -> None:
    response = many.get(f"{IKE}?limit=1&marker={marker}")
    assert response["ikepolicies"] == []
    assert [link["rel"] for link in response["ikepolicies_links"]] == ["previous"]


def test_a_markers_case_does_not_matter(many: Api) -> None:
    first, second, *_ = many.get(IKE)["ikepolicies"]
    assert many.get(f"{IKE}?limit=1&marker={first['id'].upper()}")["ikepolicies"] == [second]


def test_no_response_holds_more_than_a_page(open_api: OpenApi) -> None:
    with open_api(page=3) as api:
        for name in "abcde":
            api.ike(name=name)
        response = api.get(IKE)
        assert [policy["name"] for policy in response["ikepolicies"]] == ["a", "b", "c"]
        assert [link["rel"] for link in response["ikepolicies_links"]] == ["next", "previous"]
        assert names(api, "limit=100") == ["a", "b", "c"]


@pytest.mark.parametrize("truth", ["true", "True", "1"])
def test_booleans(site: LocalSite, truth: str) -> None:
    connection = site.connection()
    assert site.api.get(f"{CONNECTIONS}?admin_state_up={truth}")["ipsec_site_connections"] == [connection]
    assert site.api.get(f"{CONNECTIONS}?admin_state_up=false")["ipsec_site_connections"] == []
    assert site.api.refused("GET", f"{CONNECTIONS}?admin_state_up=maybe") == (400, "InvalidInput")


def test_computed_attributes(site: LocalSite) -> None:
    path = "/vpn/vpnservices"
    other = site.api.service(site.router, name="another")
    order = "sort_key=status&sort_dir=asc&sort_key=name&sort_dir=asc"
    listed = site.api.get(f"{path}?external_v4_ip=198.51.100.2&{order}")["vpnservices"]
    assert [service["id"] for service in listed] == [other["id"], site.service["id"]]
    assert site.api.get(f"{path}?external_v4_ip=198.51.100.3")["vpnservices"] == []
    assert site.api.get(f"{path}?status=ACTIVE&limit=1")["vpnservices"] == []
    page = site.api.get(f"{path}?status=PENDING_CREATE&limit=1&marker={other['id']}")
    assert [service["id"] for service in page["vpnservices"]] == [site.service["id"]]
    assert site.api.get(f"{path}?subnet_id=")["vpnservices"][0]["id"] == other["id"]


def test_filters_on_a_connection(site: LocalSite) -> None:
    connection = site.connection(mtu=1400)
    for query in (
        f"vpnservice_id={site.service['id']}",
        f"ikepolicy_id={site.ike['id']}",
        "mtu=1400&mtu=9",
        "peer_address=203.0.113.9",
        "route_mode=static",
        "status=PENDING_CREATE&status=ACTIVE",
    ):
        assert site.api.get(f"{CONNECTIONS}?{query}")["ipsec_site_connections"] == [connection], query
    for query in ("psk=correct horse", "peer_cidrs=10.9.0.0/24", "dpd=hold"):
        assert site.api.refused("GET", f"{CONNECTIONS}?{query}") == (400, "HTTPBadRequest"), query
    assert site.api.refused("GET", f"{CONNECTIONS}?mtu=99999999999999") == (400, "InvalidInput")


@pytest.mark.parametrize("name", ["type", "endpoint_type"])
def test_a_groups_type_can_be_filtered_by_the_sdks_name(api: Api, name: str) -> None:
    group = api.group("cidr", "10.0.0.0/24")
    api.group("vlan", "7")
    assert api.get(f"/vpn/endpoint-groups?{name}=cidr")["endpoint_groups"] == [group]


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("networks?is_default=false", 2),
        ("networks?is_default=True", 0),
        ("networks?ipv4_address_scope=", 2),
        ("networks?ipv4_address_scope=x", 0),
        ("routers?flavor_id=", 1),
        ("subnets?subnetpool_id=x&subnetpool_id=", 1),
        ("subnets?router:external=False", 1),
        ("subnets?router:external=1", 0),
        ("ports?binding:vnic_type=normal&limit=1", 1),
        ("ports?binding:vnic_type=direct", 0),
        ("networks?sort_key=is_default&sort_dir=asc&sort_key=name&sort_dir=asc", 2),
    ],
)
def test_attributes_outside_the_schema_can_be_filtered(site: LocalSite, query: str, count: int) -> None:
    assert len(site.api.get(f"/{query}")[query.partition("?")[0]]) == count


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.name)
def test_every_scalar_attribute_filters_and_sorts(site: LocalSite, resource: Resource) -> None:
    site.connection()
    site.api.group("cidr", "10.0.0.0/24")
    site.api.create("/vpn/certificates", "certificate", subject="CN=gw")
    site.api.create("/vpn/trust-anchors", "trust_anchor", source="generated")
    path = f"/{resource.path}"
    every: list[dict[str, Any]] = site.api.get(path)[resource.plural]
    assert every
    for attribute in resource.attributes:
        value = every[0][attribute.name]
        query = f"{path}?{attribute.name}={'' if value is None else quote(str(value))}"
        if attribute.name in conditions_of(resource):
            continue
        if attribute.kind.column == "json" or attribute.secret:
            assert site.api.refused("GET", query) == (400, "HTTPBadRequest"), attribute.name
            continue
        assert every[0] in site.api.get(query)[resource.plural], attribute.name
        ordered = site.api.get(f"{path}?sort_key={attribute.name}&sort_dir=desc")[resource.plural]
        assert sorted(item["id"] for item in ordered) == sorted(item["id"] for item in every)


def test_a_time_is_a_filter(api: Api) -> None:
    policy = api.ike()
    for name in ("created_at", "updated_at"):
        assert api.get(f"/vpn/ikepolicies?{name}={policy[name]}")["ikepolicies"] == [policy]
        assert api.get(f"/vpn/ikepolicies?{name}=2001-01-01T00:00:00Z")["ikepolicies"] == []
        assert api.get(f"/vpn/ikepolicies?{name}=then")["ikepolicies"] == []
