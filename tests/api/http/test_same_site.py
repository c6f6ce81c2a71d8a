"""Pages of other sites in a user's browser: neither their requests nor their names are accepted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from linkspan.bootstrap import wiring
from linkspan.settings import load
from tests.api.conftest import OpenApi
from tests.api.world import Api

IKE = "/v2.0/vpn/ikepolicies"
BODY = b'{"ikepolicy": {"name": "theirs"}}'
FORM = {"content-type": "text/plain"}
FOLLOWED = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


@pytest.fixture
def api(open_api: OpenApi) -> Iterator[Api]:
    """An API whose clients authenticate in the way of a browser that keeps their credentials."""
    with open_api(public_url="https://vpn.example.org") as opened:
        yield opened


FOREIGN = {
    "a form": {"origin": "http://evil.example", "sec-fetch-site": "cross-site"},
    "a form in an old browser": {"origin": "http://evil.example"},
    "a page without an origin": {"origin": "null"},
    "a page of a neighbour": {"origin": "http://other.example.org", "sec-fetch-site": "same-site"},
    "another port": {"origin": "http://testserver:8080"},
    "only the site": {"sec-fetch-site": "cross-site"},
    "an unknown site": {"sec-fetch-site": "whatever"},
    "an extension of the name": {"origin": "http://testserver.evil.example"},
    "a file": {"origin": "file://"},
    "a link with a form": FOLLOWED,
    "a name in the user part": {"origin": "http://testserver@evil.example"},
}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_requests_of_other_sites_are_refused(api: Api) -> None:
    for kind, headers in FOREIGN.items():
        response = api.send("POST", "/vpn/ikepolicies", content=BODY, headers=FORM | headers)
        assert (kind, response.status_code) == (kind, 403)
        assert response.json()["NeutronError"]["type"] == "HTTPForbidden"
        if headers is not FOLLOWED:
            assert (kind, api.send("GET", "/vpn/ikepolicies", headers=headers).status_code) == (kind, 403)
    assert api.get("/vpn/ikepolicies") == {"ikepolicies": []}


OWN: dict[str, dict[str, str]] = {
    "a program": {},
    "the same page": {"origin": "http://testserver", "sec-fetch-site": "same-origin"},
    "the same page in an old browser": {"origin": "http://testserver"},
    "the same page with its port": {"origin": "http://TESTSERVER:80"},
    "a page behind the proxy": {"origin": "https://vpn.example.org"},
    "an address that the user typed": {"sec-fetch-site": "none"},
}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_own_pages_and_programs_are_accepted(api: Api) -> None:
    for kind, headers in OWN.items():
        response = api.send("POST", "/vpn/ikepolicies", content=BODY, headers=headers)
        assert (kind, response.status_code) == (kind, 201)
    assert api.send("GET", "/vpn/ikepolicies", headers=FOLLOWED).status_code == 200, "a link from another page"


NAMES = ["evil.example", "evil.example:9696", "localhost.evil.example", "127.0.0.1.evil.example", "[evil", "", "10.1"]
OWN_NAMES = ["127.0.0.1", "127.0.0.1:9696", "[::1]:9696", "localhost", "LOCALHOST:9696", "localhost.", "192.0.2.1"]


def codes(state: Path, *hosts: str, **settings: str) -> dict[str, int]:
    """Returns the status of GET / by the name in Host, of an API with these settings."""
    overrides = {f"api.{key}": value for key, value in settings.items()}
    loaded = load(environment={}, overrides={"state": state, "log.terminal": "off"} | overrides)
    with wiring.open_application(loaded) as (app, _), TestClient(app) as client:
        return {host: client.get("/", headers={"host": host}).status_code for host in hosts}


def test_on_a_loopback_address_only_its_own_names_are_accepted(tmp_path: Path) -> None:
    found = codes(tmp_path, *NAMES, *OWN_NAMES, auth="none")
    assert found == dict.fromkeys(NAMES, 403) | dict.fromkeys(OWN_NAMES, 200)


def test_the_settings_add_names(tmp_path: Path) -> None:
    hosts = ("a.example", "B.example:1", "vpn.example.org", "evil.example")
    settings = {"hosts": "a.example, b.example", "public_url": "https://vpn.example.org"}
    assert list(codes(tmp_path, *hosts, **settings).values()) == [200, 200, 200, 403]
    # Beyond loopback addresses callers have credentials, which a browser does not send under another name.
    assert codes(tmp_path, "any.example", host="192.0.2.1", plain_http="allow") == {"any.example": 200}
    assert codes(tmp_path, "any.example", host="192.0.2.1", hosts="a.example") == {"any.example": 403}


def test_every_host_header_counts(open_api: OpenApi) -> None:
    with open_api(hosts=frozenset({"testserver"})) as api:
        for headers in ([("host", "testserver"), ("host", "evil.example")], [("host", "evil.example")]):
            assert api.client.get("/", headers=headers).status_code == 403
        assert api.client.get("/").status_code == 200
