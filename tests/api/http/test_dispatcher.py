"""Behaviour common to all paths: request ids, errors, identity headers, discovery, health."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import pytest
from structlog.testing import capture_logs

from linkspan import __version__
from linkspan.api.http.dispatcher import strip_identity_headers
from linkspan.api.http.messages import Request
from linkspan.api.resources.collection import Hooks
from linkspan.store.store import Conflict, Store, Unavailable
from tests.api.conftest import OpenApi
from tests.api.world import CONNECTIONS, Api, ByName, LocalSite

IKE = "/vpn/ikepolicies"


def test_every_response_has_a_request_id(api: Api) -> None:
    seen = set()
    for path in ("//", "//healthz", "//nothing", IKE, f"{IKE}/x", "//agent/v1/desired"):
        id = api.send("GET", path).headers["x-openstack-request-id"]
        assert re.fullmatch("req-[0-9a-f-]{36}", id)
        seen.add(id)
    assert len(seen) == 6


def test_a_request_without_credentials_is_a_401(api: Api) -> None:
    stranger = api.as_("stranger")
    for method, path in (("GET", IKE), ("POST", IKE), ("GET", "/nothing"), ("GET", "/extensions"), ("PATCH", IKE)):
        response = stranger.send(method, path)
        assert response.status_code == 401
        assert response.json() == {
            "error": {
                "code": 401,
                "title": "Unauthorized",
                "message": "The request you have made requires authentication.",
            }
        }
        assert response.headers["www-authenticate"].startswith("Basic ")


IDENTITY_HEADERS = [
    "X-Project-Id",
    "X-User-Id",
    "X-Roles",
    "X-Role",
    "X-Tenant-Id",
    "X-Tenant",
    "X-User",
    "X-Domain-Name",
    "X-Identity-Status",
    "X-Service-Roles",
    "X-Service-Catalog",
    "X-Is-Admin-Project",
    "OpenStack-System-Scope",
    "x_project_id",
    "X-PROJECT-ID",
]


def test_identity_headers_are_dropped() -> None:
    headers = [(name.lower().encode(), b"admin") for name in IDENTITY_HEADERS]
    headers += [(name.encode(), b"admin") for name in IDENTITY_HEADERS]
    kept = [(b"x-auth-token", b"t"), (b"host", b"h"), (b"authorization", b"Basic x")]
    assert strip_identity_headers([*headers, *kept]) == kept


def test_identity_headers_never_reach_authentication(open_api: OpenApi) -> None:
    class Watching(ByName):
        seen: ClassVar[list[bytes]] = []

        def identify(self, request: Request) -> Any:
            type(self).seen += [name for name, _ in request.headers]
            return super().identify(request)

    with open_api(auth=Watching()) as api:
        api.send("GET", IKE, headers=dict.fromkeys(IDENTITY_HEADERS, "admin"))
    assert b"authorization" in Watching.seen
    assert not {name.lower().encode() for name in IDENTITY_HEADERS} & set(Watching.seen)


def test_no_answer_is_stored_by_a_cache(site: LocalSite) -> None:
    api, node = site.api, site.api.node()
    connection = site.connection(psk="a key that nobody else may see")
    shown = api.send("GET", f"{CONNECTIONS}/{connection['id']}")
    assert "a key that nobody else may see" in shown.text
    answers = [
        shown,
        api.send("GET", CONNECTIONS),
        api.send("PUT", f"{CONNECTIONS}/{connection['id']}", {"ipsec_site_connection": {"name": "x"}}),
        api.send("GET", "//agent/v1/desired", headers=node.headers),
        api.send("GET", f"{CONNECTIONS}/nothing"),
        api.as_("stranger").send("GET", CONNECTIONS),
        api.send("GET", "//openapi.json"),
        api.send("DELETE", f"{CONNECTIONS}/{connection['id']}"),
    ]
    assert [answer.headers.get_list("cache-control") for answer in answers] == [["no-store"]] * len(answers)


# --- errors -------------------------------------------------------------------------------------------------------


def test_an_unexpected_error_is_a_500_without_details(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("the key is hunter2")

    monkeypatch.setattr(Hooks, "create", broken)
    with capture_logs() as logs:
        response = api.send("POST", "/vpn/ipsecpolicies", {"ipsecpolicy": {}})
    assert response.status_code == 500
    assert response.json() == {
        "NeutronError": {
            "type": "HTTPInternalServerError",
            "message": "Request Failed: internal server error while processing your request.",
            "detail": "",
        }
    }
    entry = next(entry for entry in logs if entry["event"] == "request failed")
    assert entry["request_id"] == response.headers["x-openstack-request-id"]
    assert (entry["method"], entry["path"]) == ("POST", "/v2.0/vpn/ipsecpolicies")


def test_a_conflicting_transaction_is_retried(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts: list[int] = []
    create = Hooks.create

    def losing(self: Hooks, *rest: Any) -> Any:
        attempts.append(1)
        if len(attempts) < 4:
            raise Conflict("another transaction was faster")
        return create(self, *rest)

    monkeypatch.setattr(Hooks, "create", losing)
    api.ike(name="once")
    assert len(attempts) == 4
    assert [policy["name"] for policy in api.get(IKE)["ikepolicies"]] == ["once"]


@pytest.mark.parametrize("error", [Conflict("lost"), Unavailable("the disk is full")])
def test_a_database_error_is_a_503(api: Api, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def failing(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(Hooks, "create", failing)
    response = api.send("POST", IKE, {"ikepolicy": {}})
    assert (response.status_code, response.json()["NeutronError"]["type"]) == (503, "ServiceUnavailable")
    assert response.headers["retry-after"] == "1"


@pytest.mark.security(
    "8",
    tried="a body beyond the limit",
    control="tests/api/test_agent_protocol.py::test_a_large_report_is_accepted",
)
def test_a_large_body_is_refused_before_it_is_read(api: Api) -> None:
    def endless() -> Any:
        for _ in range(100):
            yield b"x" * 4096

    assert api.refused("POST", IKE, content=endless()) == (413, "RequestTooLarge")


# --- discovery ----------------------------------------------------------------------------------------------------


def test_versions(api: Api) -> None:
    stranger = api.as_("stranger")
    version = {
        "id": "v2.0",
        "status": "CURRENT",
        "links": [{"rel": "self", "href": "http://vpn.example.org:9696/v2.0/"}],
    }
    host = {"host": "vpn.example.org:9696"}
    assert stranger.send("GET", "//", headers=host).json() == {"versions": [version]}
    for path in ("", "/"):
        response = stranger.send("GET", path, headers=host).json()
        assert response["version"] == version
        assert {
            "name": "ikepolicy",
            "collection": "ikepolicies",
            "links": [{"rel": "self", "href": "http://vpn.example.org:9696/v2.0/vpn/ikepolicies"}],
        } in response["resources"]


@pytest.mark.parametrize("host", ["evil.example/path", 'a"b', "a b", "[::1", "x" * 300, "a:b:c"])
def test_an_invalid_host_header_is_ignored(host: str) -> None:
    request = Request("GET", "/", headers=[(b"host", host.encode())], server="127.0.0.1:9696")
    assert request.base == "http://127.0.0.1:9696"


@pytest.mark.parametrize("host", ["localhost", "10.0.0.1:9696", "[::1]:9696", "vpn.example.org"])
def test_a_valid_host_header_is_used_in_links(host: str) -> None:
    assert Request("GET", "/", headers=[(b"host", host.encode())], scheme="https").base == f"https://{host}"


def test_extensions(api: Api) -> None:
    aliases = {extension["alias"] for extension in api.get("/extensions")["extensions"]}
    assert aliases >= {
        "vpnaas",
        "vpn-endpoint-groups",
        "vpn-flavors",
        "vpn-aes-ctr",
        "vpn-aes-ccm-gcm",
        "router",
        "external-net",
        "net-mtu",
        "project-id",
        "sorting",
        "pagination",
        "agent",
        "standard-attr-description",
        "standard-attr-tag",
        "quotas",
        "quota_details",
        "quota-check-limit",
        "revision-if-match",
        "standard-attr-revisions",
        "standard-attr-timestamp",
    }
    for alias in aliases:
        shown = api.get(f"/extensions/{alias}")["extension"]
        assert sorted(shown) == ["alias", "description", "links", "name", "updated"]
    # What there is nothing of is not advertised: clients would use it.
    assert aliases.isdisjoint({"security-group", "subnet_allocation", "ext-gw-mode", "extraroute", "dvr", "provider"})
    assert api.refused("GET", "/extensions/nothing") == (404, "HTTPNotFound")
    assert api.get("/service-providers")["service_providers"][0]["service_type"] == "VPN"


def test_health(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    response = api.as_("stranger").send("GET", "//healthz")
    assert (response.status_code, response.json()) == (200, {"status": "ok", "version": __version__})

    def unavailable(_self: Store) -> Any:
        raise Unavailable("the database does not answer")

    monkeypatch.setattr(Store, "read", unavailable)
    assert api.as_("stranger").send("GET", "//healthz").status_code == 503
