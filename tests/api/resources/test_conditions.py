"""Filters that compare more than one scalar attribute with a value: addresses of ports, shared networks."""

from __future__ import annotations

from typing import Any

import pytest

from linkspan.core.schema.conditions import conditions_of
from linkspan.core.schema.resources import RESOURCES
from tests.api.world import Api


class Ports:
    """Ports of two routers on three subnets: their addresses are the names of this test."""

    def __init__(self, api: Api) -> None:
        self.api = api
        outside = api.outside("198.51.100.0/24", "2001:db8::/64")
        self.first, self.second = api.inside("10.1.0.0/24"), api.inside("10.2.0.0/24")
        api.router(outside, self.first, self.second)
        api.router(outside)
        self.outside, _ = api.as_("admin").get(f"/subnets?network_id={outside['id']}&sort_key=cidr&sort_dir=asc")[
            "subnets"
        ]

    def found(self, query: str) -> set[str]:
        """Returns the first address of each port that a query finds."""
        return {port["fixed_ips"][0]["ip_address"] for port in self.api.get(f"/ports?{query}")["ports"]}


@pytest.fixture
def ports(api: Api) -> Ports:
    """The ports."""
    return Ports(api)


def test_ports_by_their_addresses(ports: Ports) -> None:
    one, other = f"fixed_ips=subnet_id={ports.first['id']}", f"fixed_ips=subnet_id={ports.second['id']}"
    outside = f"fixed_ips=subnet_id={ports.outside['id']}"
    for query, expected in (
        ("fixed_ips=ip_address=10.1.0.1", {"10.1.0.1"}),
        ("fixed_ips=ip_address=10.1.0.1&fixed_ips=ip_address=198.51.100.3", {"10.1.0.1", "198.51.100.3"}),
        ("fixed_ips=ip_address%3D2001:db8::2", {"198.51.100.2"}),
        ("fixed_ips=ip_address=10.1.0.9", set()),
        ("fixed_ips=ip_address=", set()),
        (one, {"10.1.0.1"}),
        (f"{one}&{other}", {"10.1.0.1", "10.2.0.1"}),
        (outside, {"198.51.100.2", "198.51.100.3"}),
        # One address has to match both.
        (f"{outside}&fixed_ips=ip_address=198.51.100.3", {"198.51.100.3"}),
        (f"{one}&fixed_ips=ip_address=198.51.100.3", set()),
        (f"{outside}&fixed_ips=ip_address=2001:db8::2", set()),
        ("fixed_ips=ip_address_substr=10.", {"10.1.0.1", "10.2.0.1"}),
        (
            "fixed_ips=ip_address_substr=.0.1&fixed_ips=ip_address_substr=db8::3",
            {"10.1.0.1", "10.2.0.1", "198.51.100.3"},
        ),
        ("fixed_ips=ip_address_substr=%25", set()),
        ("fixed_ips=ip_address_substr=1_.1", set()),
        (f"{outside}&device_owner=network:router_interface", set()),
        (f"{outside}&limit=1&sort_key=id&sort_dir=asc", None),
    ):
        found = ports.found(query)
        assert found == expected if expected is not None else len(found) == 1, query
    assert ports.api.as_("bob").get(f"/ports?{one}")["ports"] == []


def test_addresses_are_refused(api: Api) -> None:
    for query, type in (
        ("fixed_ips=10.1.0.1", "InvalidInput"),
        ("fixed_ips=", "InvalidInput"),
        ("fixed_ips=mac_address=fa:16:3e:00:00:01", "HTTPBadRequest"),
        ("fixed_ips=ip_address=%00", "InvalidInput"),
    ):
        assert api.refused("GET", f"/ports?{query}") == (400, type), query
    assert api.refused("GET", "/networks?fixed_ips=ip_address=10.1.0.1") == (400, "HTTPBadRequest")


def test_subnets_of_shared_networks(api: Api) -> None:
    admin = api.as_("admin")
    shared = admin.create("/networks", "network", name="shared", shared=True)
    common = admin.create("/subnets", "subnet", network_id=shared["id"], cidr="10.7.0.0/24")
    own = api.inside()

    def found(query: str) -> list[dict[str, Any]]:
        return admin.get(f"/subnets?{query}")["subnets"]  # type: ignore[no-any-return]

    for text in ("True", "true", "1"):
        assert found(f"shared={text}") == [common]
    assert found("shared=False") == [own]
    assert found(f"shared=True&network_id={own['network_id']}") == []
    assert len(found("shared=True&shared=False")) == 2
    # Together with an attribute that is not in the table of subnets.
    assert found("shared=True&router:external=False&limit=5") == [common]
    assert admin.refused("GET", "/subnets?shared=maybe") == (400, "InvalidInput")
    admin.update(f"/networks/{shared['id']}", "network", shared=False)
    assert found("shared=True") == []


def test_no_condition_has_the_name_of_an_attribute_that_filters() -> None:
    for resource in RESOURCES:
        for name in conditions_of(resource):
            assert name not in resource.by_name or not resource.by_name[name].filterable
