"""The timeline over HTTP: who changed what, what nodes have seen, for whom, in pages."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from linkspan.core.state.observed import Report
from linkspan.core.state.timeline import NodeEvent
from linkspan.store import timeline
from tests.api.world import Api, LocalSite, Node, encode

CONNECTIONS = "/vpn/ipsec-site-connections"
EVENTS = "/linkspan/events"


def order(api: Api) -> None:
    """Put into order what was committed so far, as the ticker of an API process does."""
    with api.store.write() as tx:
        timeline.order(tx, 1000)


def events_of(api: Api, id: str, query: str = "") -> list[dict[str, Any]]:
    order(api)
    found: list[dict[str, Any]] = api.get(f"{CONNECTIONS}/{id}/events{query}")["events"]
    return found


def all_events(api: Api, query: str = "") -> list[dict[str, Any]]:
    order(api)
    found: list[dict[str, Any]] = api.get(f"{EVENTS}{query}")["events"]
    return found


def saw(
    connection: dict[str, Any], kind: str, at: float = 1_700_000_000.0, code: str = "", reason: str = ""
) -> NodeEvent:
    return NodeEvent(uuid.uuid4().hex, connection["id"], at, kind, code, reason)


def tell(node: Node, *events: NodeEvent) -> None:
    response = node.send("POST", "/reports", content=encode(Report(events=events)))
    assert response.status_code == 204, response.text


@pytest.mark.security("needle", tried="a psk in a revision", control="itself: its name is there")
def test_a_revision_has_no_values(site: LocalSite) -> None:
    connection = site.connection(psk="the old secret key")
    site.api.update(f"{CONNECTIONS}/{connection['id']}", "ipsec_site_connection", psk="the new secret key")
    order(site.api)
    text = site.api.send("GET", f"{CONNECTIONS}/{connection['id']}/events").text
    assert '"psk"' in text
    assert "secret key" not in text


def test_a_revision_names_its_author_and_fields(site: LocalSite) -> None:
    connection = site.connection(name="berlin")
    path = f"{CONNECTIONS}/{connection['id']}"
    site.api.update(path, "ipsec_site_connection", mtu=1400, description="")
    site.api.as_("admin").update(path, "ipsec_site_connection", name="oslo")
    newest, edit, creation = events_of(site.api, connection["id"])
    assert [event["kind"] for event in (newest, edit, creation)] == ["revision"] * 3
    assert (edit["revision"]["action"], edit["revision"]["fields"]) == ("update", ["mtu"])
    assert (edit["connection_name"], edit["revision"]["user_name"]) == ("berlin", "alice")
    assert edit["revision"]["request_id"].startswith("req-")
    assert creation["revision"]["action"] == "create"
    assert (newest["connection_name"], newest["revision"]["user_name"]) == ("oslo", "admin")
    assert int(newest["id"]) > int(edit["id"]) > int(creation["id"])


def test_a_change_of_what_it_uses_is_a_revision_and_others_are_none(site: LocalSite) -> None:
    api = site.api
    api.node()
    connections = [
        site.connection(peer_address=f"203.0.113.{last}", peer_id=str(last), peer_cidrs=[f"10.9.{last}.0/24"])
        for last in (7, 8)
    ]
    api.update(f"/vpn/ikepolicies/{site.ike['id']}", "ikepolicy", encryption_algorithm="aes-256")
    api.update(f"/vpn/ikepolicies/{site.ike['id']}", "ikepolicy", name="of the policy alone")
    for connection in connections:
        newest, *_ = events_of(api, connection["id"], "?kind=revision")
        edit = newest["revision"]
        assert (edit["resource"], edit["object_id"]) == ("ike_policy", site.ike["id"])
        assert edit["fields"] == ["encryption_algorithm"]


def test_what_a_node_has_seen_has_both_times(site: LocalSite) -> None:
    node = site.api.node()
    connection = site.connection()
    down = saw(connection, "down", 1_700_000_000.25, "PEER_DELETED", "the peer has ended it\x1b[2J")
    tell(node, saw(connection, "up", 1_600_000_000.0), down)
    newest, before, *_ = events_of(site.api, connection["id"])
    assert (newest["kind"], newest["status_code"], newest["node"]) == ("down", "PEER_DELETED", "node-1")
    assert newest["at"] == "2023-11-14T22:13:20.250Z"
    assert newest["recorded_at"] > "2024"
    assert "\x1b" not in newest["reason"]
    assert before["kind"] == "up"


def test_a_report_that_is_repeated_adds_nothing(site: LocalSite) -> None:
    node = site.api.node()
    connection = site.connection()
    event = saw(connection, "up")
    for _ in range(3):
        tell(node, event)
    assert len(events_of(site.api, connection["id"], "?kind=up")) == 1
    tell(node, saw(connection, "up"))
    assert len(events_of(site.api, connection["id"], "?kind=up")) == 2, "another event is another one"


def test_a_node_tells_of_its_own_connections_only(site: LocalSite) -> None:
    site.api.node()
    connection = site.connection()
    other = site.api.node("node-2")
    tell(other, saw(connection, "down"), NodeEvent("0" * 32, str(uuid.uuid4()), 1.0, "down"))
    assert [event["kind"] for event in events_of(site.api, connection["id"])] == ["revision"]


def test_kinds_of_newer_agents_are_left_out(site: LocalSite) -> None:
    node = site.api.node()
    connection = site.connection()
    tell(node, saw(connection, "levitation"), saw(connection, "revision"), saw(connection, "up"))
    assert [event["kind"] for event in events_of(site.api, connection["id"])] == ["up", "revision"]


def test_a_gateway_that_gets_a_node_moves_its_connections(site: LocalSite) -> None:
    connection = site.connection()
    site.api.node("late")
    newest, _ = events_of(site.api, connection["id"])
    assert (newest["kind"], newest["node"], newest["revision"]) == ("move", "late", None)


def test_pages_and_filters(site: LocalSite) -> None:
    node = site.api.node()
    connection = site.connection()
    for number in range(10):
        tell(node, saw(connection, ("up", "down")[number % 2], float(number)))
    path = f"{CONNECTIONS}/{connection['id']}/events"
    seen: list[dict[str, Any]] = []
    order(site.api)
    url = f"{path}?limit=4"
    for _ in range(3):
        page = site.api.get(url)
        seen += page["events"]
        url = page.get("events_links", [{"href": ""}])[0]["href"].partition("/v2.0")[2]
    assert not url
    assert seen == events_of(site.api, connection["id"])
    assert len(seen) == 11
    assert [event["kind"] for event in events_of(site.api, connection["id"], "?kind=down")] == ["down"] * 5
    assert len(events_of(site.api, connection["id"], "?kind=down&kind=revision")) == 6
    known = seen[4]["id"]
    assert events_of(site.api, connection["id"], f"?after={known}") == seen[:4][::-1]
    assert events_of(site.api, connection["id"], "?since=2999-01-01T00:00:00Z") == []
    assert events_of(site.api, connection["id"], "?until=2999-01-01") == seen
    assert events_of(site.api, connection["id"], "?until=2020-01-01T00:00:00%2B02:00") == []
    assert all_events(site.api, f"?connection_id={connection['id']}") == seen
    assert all_events(site.api, f"?connection_id={uuid.uuid4()}") == []


@pytest.mark.parametrize(
    "query", ["kind=levitation", "after=x", "marker=-1", "since=yesterday", "name=a", "kind=%00", f"after={'9' * 30}"]
)
def test_what_cannot_be_asked(site: LocalSite, query: str) -> None:
    connection = site.connection()
    for path in (f"{CONNECTIONS}/{connection['id']}/events", EVENTS):
        assert site.api.refused("GET", f"{path}?{query}") == (400, "HTTPBadRequest")
    assert site.api.refused("GET", f"{CONNECTIONS}/{connection['id']}/events?project_id=x") == (400, "HTTPBadRequest")


@pytest.mark.security("10", tried="another project's events", control="itself: its owner and readers see them")
def test_another_project_sees_nothing(site: LocalSite) -> None:
    connection = site.connection()
    path = f"{CONNECTIONS}/{connection['id']}/events"
    bob = site.api.as_("bob")
    assert bob.refused("GET", path) == (404, "IPsecSiteConnectionNotFound")
    assert all_events(bob) == []
    project = connection["project_id"]
    assert all_events(bob, f"?project_id={project}") == []
    assert all_events(bob, f"?connection_id={connection['id']}") == []
    assert site.api.as_("auditor").refused("GET", EVENTS)[0] == 403
    for user in ("alice", "reader", "admin"):
        assert len(all_events(site.api.as_(user), f"?project_id={project}")) == 1
        assert len(events_of(site.api.as_(user), connection["id"])) == 1


def test_who_edited_another_projects_object_is_not_told(site: LocalSite) -> None:
    """An admin of another project moves what a connection stands on."""
    api = site.api
    api.node()
    connection = site.connection()
    admin = api.as_("admin")
    admin.update(f"/networks/{site.outside['id']}", "network", admin_state_up=False)
    (event, *_) = events_of(api, connection["id"])
    assert event["revision"]["resource"] == "network"
    assert (event["revision"]["user_name"], event["revision"]["request_id"]) == ("", "")
    (seen, *_) = events_of(admin, connection["id"])
    assert seen["revision"]["user_name"] == "admin"


def test_what_happened_to_a_deleted_connection_stays(site: LocalSite) -> None:
    connection = site.connection(name="berlin")
    site.api.delete(f"{CONNECTIONS}/{connection['id']}")
    assert site.api.refused("GET", f"{CONNECTIONS}/{connection['id']}/events")[0] == 404
    newest, creation = all_events(site.api)
    assert (newest["revision"]["action"], newest["connection_name"]) == ("delete", "berlin")
    assert creation["revision"]["action"] == "create"
