"""Fuzzing outside the OpenAPI document: raw paths, raw bodies and the agents' API. No response is a 5xx.

Requests that the document describes are generated in `tests.api.openapi.test_schemathesis`.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.world import Api, LocalSite, encode
from tests.harness.examples import examples

PLAUSIBLE: st.SearchStrategy[Any] = st.sampled_from(
    ["10.9.0.0/24", "fd00::/64", "203.0.113.9", "psk", "cidr", "subnet", "v1", "group5", 1400, True, None, [], {}]
)
JSON = st.recursive(
    PLAUSIBLE
    | st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=5,
)
TAILS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
quickly = settings(max_examples=examples(40), deadline=None, suppress_health_check=list(HealthCheck))


def check(response: httpx.Response) -> None:
    """Asserts that a response is no server error and has the format of its kind."""
    assert response.status_code < 500, response.text
    if response.status_code >= 400:
        assert sorted(response.json()["NeutronError"]) == ["detail", "message", "type"]


def test_any_path(api: Api) -> None:
    @quickly
    @given(tail=TAILS, method=st.sampled_from(["GET", "PUT", "POST", "DELETE", "PATCH", "HEAD"]))
    def fuzz(tail: str, method: str) -> None:
        response = api.send(method, f"/networks/{quote(tail, safe='/')}")
        if method != "HEAD":
            check(response)

    fuzz()


def test_any_body(site: LocalSite) -> None:
    path = f"/routers/{site.router['id']}"

    @quickly
    @given(body=st.binary(max_size=40) | JSON.map(encode))
    def fuzz(body: bytes) -> None:
        for target in (path, f"{path}/add_router_interface"):
            check(site.api.send("PUT", target, content=body))
        check(site.api.send("POST", "/vpn/ipsec-site-connections", content=body))

    fuzz()


def test_any_query_string(site: LocalSite) -> None:
    @quickly
    @given(query=TAILS)
    def fuzz(query: str) -> None:
        check(site.api.send("GET", f"/networks?{quote(query, safe='=&+%')}"))

    fuzz()


WORDS = st.sampled_from(
    ["gateways", "connections", "id", "generation", "revision", "state", "reason", "backend", "agent_version"]
)


def test_any_body_of_an_agent(site: LocalSite) -> None:
    site.connection()
    node = site.api.node()
    node.apply_desired()
    inner = st.dictionaries(WORDS, JSON | st.lists(st.dictionaries(WORDS, JSON, max_size=4), max_size=2), max_size=4)

    @quickly
    @given(body=st.binary(max_size=40) | (JSON | inner).map(encode), since=TAILS | st.integers().map(str))
    def fuzz(body: bytes, since: str) -> None:
        for path in ("/hello", "/reports"):
            check(node.send("POST", path, content=body))
        check(node.send("GET", "/desired", params={"since": since}))

    fuzz()
    node.apply_desired()
    assert site.api.get("/vpn/ipsec-site-connections")["ipsec_site_connections"][0]["status"] == "ACTIVE"
