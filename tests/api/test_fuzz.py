"""Nothing that a client sends makes the server fail: answers are below 500, errors have their shape."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from linkspan.core import quota
from linkspan.core.resources import RESOURCES, Resource
from tests.api.world import BLUE, Api, Site

LIKELY: st.SearchStrategy[Any] = st.sampled_from(
    ["10.9.0.0/24", "fd00::/64", "203.0.113.9", "psk", "cidr", "subnet", "v1", "group5", 1400, True, None, [], {}]
)
JSON = st.recursive(
    LIKELY
    | st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=5,
)
quickly = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def check(answer: httpx.Response) -> None:
    """An answer that may be given."""
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert sorted(answer.json()["NeutronError"]) == ["detail", "message", "type"]


def whole_json(value: Any) -> Any:
    """A value that JSON can say."""
    return value.hex() if isinstance(value, bytes) else value


@pytest.mark.parametrize("resource", [each for each in RESOURCES if each.writable], ids=lambda each: each.name)
def test_any_body(site: Site, resource: Resource) -> None:
    api, path = site.api, f"/{resource.path}"
    good: dict[str, Any] = site.values() if resource.name == "connection" else {}
    made = {
        "connection": lambda: site.connection(peer_id="the one to change"),
        "service": lambda: site.service,
        "ike_policy": lambda: site.ike,
        "ipsec_policy": lambda: site.ipsec,
        "endpoint_group": lambda: api.group("cidr", "10.0.0.0/24"),
        "network": lambda: api.create("/networks", "network"),
        "subnet": lambda: site.subnet,
        "router": lambda: site.router,
    }[resource.name]()
    names = st.sampled_from(sorted(a.name for a in resource.attributes))
    values = st.dictionaries(names, JSON, max_size=4)

    @quickly
    @given(values=values, replace=st.booleans(), whole=JSON | st.binary(max_size=20))
    def fuzz(values: dict[str, Any], replace: bool, whole: Any) -> None:
        check(api.send("POST", path, {resource.singular: (good if replace else {}) | values}))
        check(api.send("POST", path, {resource.plural: [(good if replace else {}) | values, whole_json(whole)]}))
        check(api.send("PUT", f"{path}/{made['id']}", {resource.singular: values}))
        if isinstance(whole, bytes):
            check(api.send("POST", path, content=whole))
        else:
            check(api.send("POST", path, whole))
        check(api.send("GET", path))

    fuzz()


def test_any_quota(api: Api) -> None:
    names = st.sampled_from([*quota.COUNTED, "check_limit", "force", "tenant_id"]) | st.text(max_size=6)

    @quickly
    @given(values=st.dictionaries(names, JSON, max_size=4) | JSON)
    def fuzz(values: Any) -> None:
        check(api.as_("admin").send("PUT", f"/quotas/{BLUE}", {"quota": values}))
        check(api.as_("admin").send("PUT", f"/quotas/{BLUE}", values))
        check(api.send("GET", f"/quotas/{BLUE}/details"))

    fuzz()


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda each: each.name)
def test_any_query(site: Site, resource: Resource) -> None:
    names = st.sampled_from(
        [*(a.name for a in resource.attributes), "limit", "marker", "sort_key", "sort_dir", "fields", "page_reverse"]
    )
    values = st.sampled_from(["asc", "name", "id", "true", "1", "0", site.router["id"]]) | st.text(max_size=6)

    @quickly
    @given(pairs=st.lists(st.tuples(names, values), max_size=4))
    def fuzz(pairs: list[tuple[str, str]]) -> None:
        check(site.api.send("GET", f"/{resource.path}", params=pairs))

    fuzz()


@quickly
@given(tail=st.text(st.characters(exclude_categories=["Cs"]), max_size=12))
def check_path(api: Api, tail: str) -> None:
    """Any path under a collection."""
    answer = api.send("GET", f"/networks/{quote(tail, safe='/')}")
    if answer.status_code != 200:
        check(answer)


def test_any_path(api: Api) -> None:
    check_path(api)


def test_any_router_action(site: Site) -> None:
    path = f"/routers/{site.router['id']}"

    @quickly
    @given(body=st.dictionaries(st.sampled_from(["subnet_id", "port_id", "x"]), JSON) | JSON, add=st.booleans())
    def fuzz(body: Any, add: bool) -> None:
        check(site.api.send("PUT", f"{path}/{'add' if add else 'remove'}_router_interface", body))

    fuzz()
