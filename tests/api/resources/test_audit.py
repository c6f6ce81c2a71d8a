"""The audit trail through the API: an entry for each mutation, for whom, and never a value."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, text

from linkspan.api.authentication import failed_logins
from linkspan.api.embedded_keystone.service import EmbeddedKeystone
from linkspan.core.schema.resources import RESOURCES
from tests.api.conftest import OpenApi
from tests.api.resources.test_bulk import bodies
from tests.api.world import ADMIN, BLUE, CONNECTIONS, RED, Api, LocalSite
from tests.harness.statements import Statements

NEEDLE = "a-value-that-is-nowhere"


def entries(api: Api, query: str = "") -> list[dict[str, Any]]:
    """The entries that a user reads, the oldest one first."""
    found: list[dict[str, Any]] = api.get(f"/linkspan/audit{query}")["audit"]
    return found[::-1]


def told(entry: dict[str, Any]) -> tuple[Any, ...]:
    """What an entry says, without ids and times."""
    return entry["action"], entry["resource"], entry["project_id"], entry["user_name"], entry["fields"]


@pytest.mark.security(
    "14",
    tried="every mutation of every resource",
    control="test_what_was_refused_has_none",
)
@pytest.mark.parametrize("resource", [each for each in RESOURCES if each.writable], ids=lambda each: each.name)
def test_every_mutation_of_every_resource_has_an_entry(site: LocalSite, resource: Any) -> None:
    api, path = site.api, f"/{resource.path}"
    values, _ = bodies(site, resource)
    before = len(entries(api))
    created = api.create(path, resource.singular, **values)
    member = f"{path}/{created['id']}"
    answer = api.send("PUT", member, {resource.singular: {"description": NEEDLE, "name": created["name"]}})
    api.send("PUT", member, {resource.singular: {"description": NEEDLE}})
    api.delete(member)
    new = entries(api)[before:]
    assert [told(entry) for entry in new] == [
        ("create", resource.name, BLUE, "alice", sorted(values)),
        ("update", resource.name, BLUE, "alice", ["description"]),
        ("delete", resource.name, BLUE, "alice", []),
    ], "what changes nothing has no entry"
    assert {entry["object_id"] for entry in new} == {created["id"]}
    assert new[1]["request_id"] == answer.headers["x-openstack-request-id"]
    assert len({entry["request_id"] for entry in new}) == 3
    assert {(entry["user_id"], entry["user_project_id"]) for entry in new} == {("1", BLUE)}


def test_other_mutations_have_one_too(api: Api) -> None:
    outside, lan = api.outside(), api.inside()
    router = api.create("/routers", "router", name="r")
    before = len(entries(api))
    path = f"/routers/{router['id']}"
    api.update(path, "router", external_gateway_info={"network_id": outside["id"]})
    api.update(path, "router", external_gateway_info={"network_id": outside["id"]})
    for verb in ("add_router_interface", "remove_router_interface"):
        assert api.send("PUT", f"{path}/{verb}", {"subnet_id": lan["id"]}).status_code == 200
    admin = api.as_("admin")
    admin.update(f"/quotas/{BLUE}", "quota", ikepolicy=7, router=-1)
    admin.delete(f"/quotas/{BLUE}")
    api.send("POST", "/vpn/ikepolicies", {"ikepolicies": [{"name": "a"}, {"name": "b"}]})
    assert [told(entry) for entry in entries(api)[before:]] == [
        ("update", "router", BLUE, "alice", ["external_gateway_info"]),
        ("add_router_interface", "router", BLUE, "alice", ["subnet_id"]),
        ("remove_router_interface", "router", BLUE, "alice", ["subnet_id"]),
        ("update", "quota", BLUE, "admin", ["ikepolicy", "router"]),
        ("delete", "quota", BLUE, "admin", []),
        ("create", "ike_policy", BLUE, "alice", ["name"]),
        ("create", "ike_policy", BLUE, "alice", ["name"]),
    ]


def test_what_was_refused_has_none(site: LocalSite) -> None:
    api = site.api
    connection = site.connection()
    before = len(entries(api.as_("admin")))
    assert site.refused(psk="another", peer_cidrs=["10.8.0.0/24"]) == (409, "IPsecSiteConnectionConflict")
    api.refused("POST", "/vpn/ikepolicies", {"ikepolicies": [{"name": "a"}, {"ike_version": "v3"}]})
    api.refused("DELETE", f"/vpn/ikepolicies/{site.ike['id']}")
    api.as_("reader").refused("DELETE", f"{CONNECTIONS}/{connection['id']}")
    api.as_("bob").refused("DELETE", f"{CONNECTIONS}/{connection['id']}")
    assert len(entries(api.as_("admin"))) == before


@pytest.mark.security(
    "14",
    tried="the values of mutations in the trail",
    control="test_every_mutation_of_every_resource_has_an_entry",
)
def test_no_value_is_in_the_trail(site: LocalSite, database: Engine) -> None:
    """Neither keys nor names nor networks; the control: the names of attributes are."""
    connection = site.connection(psk=NEEDLE, name=NEEDLE, description=NEEDLE, peer_id=f"keyid:{NEEDLE}")
    path = f"{CONNECTIONS}/{connection['id']}"
    site.api.update(path, "ipsec_site_connection", psk=f"{NEEDLE}-2", peer_cidrs=["10.77.0.0/24"], mtu=1234)
    site.api.delete(path)
    with database.connect() as opened:
        rows = opened.execute(text("SELECT * FROM audit")).all()
    everything = " ".join(str(value) for row in rows for value in row)
    for value in (NEEDLE, "10.77.0.0", "1234", "203.0.113.9"):
        assert value not in everything.replace(connection["id"], "")
    assert all(name in everything for name in ("psk", "peer_cidrs", "mtu"))


def test_admins_read_all_and_others_their_projects_entries(api: Api) -> None:
    mine, foreign = api.ike(name="mine"), api.as_("bob").ike(name="foreign")
    api.as_("admin").update(f"/vpn/ikepolicies/{mine['id']}", "ikepolicy", name="theirs")
    for user in ("alice", "reader"):
        seen = entries(api.as_(user))
        assert {entry["project_id"] for entry in seen} == {BLUE}
        assert [entry["user_name"] for entry in seen] == ["alice", "admin"]
        assert {entry["source"] for entry in seen} == {None}
        assert entries(api.as_(user), f"?project_id={RED}") == []
    everything = entries(api.as_("admin"))
    assert {entry["object_id"] for entry in everything} == {mine["id"], foreign["id"]}
    assert all(isinstance(entry["source"], str) for entry in everything)
    assert api.as_("auditor").refused("GET", "/linkspan/audit") == (403, "PolicyNotAuthorized")


def test_a_policy_file_decides_who_reads(open_api: OpenApi) -> None:
    from linkspan.core.authorization.policy import policy_of

    with open_api(policy=policy_of({"get_audit": "role:auditor and rule:owner"})) as api:
        api.ike()
        api.as_("bob").ike()
        assert len(entries(api.as_("auditor"))) == 1
        assert api.refused("GET", "/linkspan/audit") == (403, "PolicyNotAuthorized")


def test_pages_and_filters(api: Api) -> None:
    ids = [api.ike(name=str(number))["id"] for number in range(5)]
    api.delete(f"/vpn/ikepolicies/{ids[0]}")
    newest = api.get("/linkspan/audit?limit=2")["audit"]
    assert [entry["action"] for entry in newest] == ["delete", "create"]
    rest = api.get(f"/linkspan/audit?marker={newest[-1]['id']}")["audit"]
    assert [entry["object_id"] for entry in rest] == ids[3::-1]
    assert [entry["action"] for entry in entries(api, f"?object_id={ids[0]}")] == ["create", "delete"]
    assert len(entries(api, "?action=create&resource=ike_policy&user_name=alice")) == 5
    assert entries(api, "?user_id=nobody") == []
    for query, type_ in (("limit=x", "BadRequest"), ("limit=-1", "BadRequest"), ("color=red", "HTTPBadRequest")):
        assert api.refused("GET", f"/linkspan/audit?{query}") == (400, type_)
    assert api.refused("GET", "/linkspan/audit?user_name=%00") == (400, "HTTPBadRequest")
    assert api.refused("GET", "/linkspan/audit?marker=%00") == (400, "HTTPBadRequest")


def test_a_mutation_costs_one_statement_more(database: Engine, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    statements = Statements(database)
    with statements.counted() as with_entry:
        api.ike()
    monkeypatch.setattr("linkspan.store.audit.record", lambda *_, **__: None)
    with statements.counted() as without:
        api.ike()
    assert len(with_entry) == len(without) + 1


# --- failed logins ------------------------------------------------------------------------------------------------


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[failed_logins.FailedLogins]:
    """Every recorder that is made; tests write what it has gathered."""
    made: list[failed_logins.FailedLogins] = []
    original = failed_logins.FailedLogins.__init__

    def init(self: failed_logins.FailedLogins, store: Any, gather: float = 3600.0) -> None:
        original(self, store, 3600.0)
        made.append(self)

    monkeypatch.setattr(failed_logins.FailedLogins, "__init__", init)
    return made


def basic(name: str, password: str) -> dict[str, str]:
    """The header of a login."""
    return {"authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


LOGIN = {"auth": {"identity": {"methods": ["password"], "password": {"user": {"name": "mallory", "password": NEEDLE}}}}}


def test_failed_logins_are_written(
    open_api: OpenApi, database: Engine, written: list[failed_logins.FailedLogins]
) -> None:
    from tests.harness.databases import open_store

    with open_api(auth=EmbeddedKeystone(open_store(database))) as api:
        client = api.client
        for _ in range(3):
            assert client.get("/v2.0/networks", headers=basic("mallory", NEEDLE)).status_code == 401
        assert client.get("/v2.0/networks", headers=basic("eve\x1b[2J" + "x" * 300, NEEDLE)).status_code == 401
        assert client.get("/v2.0/networks", headers={"x-auth-token": NEEDLE}).status_code == 401
        assert client.post("/v3/auth/tokens", json=LOGIN).status_code == 401
        assert client.get("/agent/v1/desired", headers={"authorization": f"Bearer {NEEDLE}"}).status_code == 401
        # No credentials are no failed login: the client asks how to log in.
        assert client.get("/v2.0/networks").status_code == 401
        written[-1].write()
        written[-1].write()
        with database.connect() as opened:
            rows = opened.execute(text("SELECT action, user_name, project_id, source, count AS times FROM audit")).all()
            everything = str(opened.execute(text("SELECT * FROM audit")).all())
    names = {row.user_name: row.times for row in rows}
    assert {row.action for row in rows} == {"login_failed"}
    assert names["mallory"] == 4
    assert names[""] == 2, "a token and a node's"
    assert [name for name in names if name.startswith("eve<U+001B>[2J") and len(name) == 255]
    assert len(rows) == 3
    assert all(row.source and not row.project_id for row in rows)
    assert NEEDLE not in everything


def test_a_flood_of_failures_is_bounded(api: Api) -> None:
    failed = failed_logins.FailedLogins(api.store, gather=3600.0)

    class Stranger:
        """A request."""

        body, path, request_id = b"", "/v2.0/networks", "req-1"

        def __init__(self, number: int) -> None:
            self.source = f"192.0.2.{number}"

        def header(self, _name: bytes) -> bytes:
            return b"Basic " + base64.b64encode(f"user-{self.source}:x".encode())

    for number in range(10_000):
        failed.add(Stranger(number))  # type: ignore[arg-type] # all that it reads
    failed.close()
    found = api.as_("admin").get("/linkspan/audit?action=login_failed")["audit"]
    assert len(found) <= failed_logins.MOST + 1
    assert sum(entry["count"] for entry in found) == 10_000


def test_failed_logins_are_only_shown_to_admins(api: Api) -> None:
    failed = failed_logins.FailedLogins(api.store, gather=3600.0)
    request: Callable[[str], Any] = lambda name: type(  # noqa: E731
        "Request",
        (),
        {
            "source": "192.0.2.1",
            "body": b"",
            "path": "/",
            "request_id": "",
            "header": lambda _self, _name: b"Basic " + base64.b64encode(f"{name}:x".encode()),
        },
    )()
    failed.add(request("alice"))
    failed.close()
    assert entries(api) == []
    (entry,) = entries(api.as_("admin"))
    assert (entry["action"], entry["user_name"], entry["source"]) == ("login_failed", "alice", "192.0.2.1")


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (LOGIN, "mallory"),
        ({"auth": {"identity": {"password": {"user": {"id": "u1"}}}}}, "u1"),
        ({"auth": {"identity": {"application_credential": {"user": {"name": "eve"}}}}}, "eve"),
        ({"auth": 7}, ""),
        ([], ""),
        ("x", ""),
    ],
)
def test_the_claimed_name_of_a_token_request(body: Any, name: str) -> None:
    assert failed_logins._name_in(json.dumps(body).encode()) == name
    assert failed_logins._name_in(b"[" * 100_000) == ""


def test_admins_project_is_another(api: Api) -> None:
    """The control of the tests above: what an admin does in its own project is not the members'."""
    api.as_("admin").ike()
    assert entries(api) == []
    assert [entry["project_id"] for entry in entries(api.as_("admin"))] == [ADMIN]


def writers() -> set[threading.Thread]:
    """Returns the threads that write failed logins."""
    return {thread for thread in threading.enumerate() if thread.name == "api-failed-logins"}


def test_what_is_gathered_is_written_when_the_api_stops(open_api: OpenApi, database: Engine) -> None:
    """And nothing writes afterwards: the thread ends with the application."""
    before = writers()
    with open_api() as api:
        assert api.client.get("/v2.0/networks", headers=basic("mallory", NEEDLE)).status_code == 401
        assert writers() - before
    assert not writers() - before
    with database.connect() as opened:
        assert opened.execute(text("SELECT user_name FROM audit")).scalars().all() == ["mallory"]
