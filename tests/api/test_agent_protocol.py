"""The agents' API: authentication, desired state, reports and hints."""

from __future__ import annotations

import json
import threading
import time
import uuid
from contextlib import ExitStack
from typing import Any

import httpx
import msgspec
import pytest
from sqlalchemy import Engine

from linkspan.agent.api_client import ApiClient, ApiUnreachable
from linkspan.api.http.notifications import MOST_STREAMS
from linkspan.core.state.observed import Hello
from tests.api.conftest import OpenApi
from tests.api.serving import served, wait_for
from tests.api.world import CONNECTIONS, Api, LocalSite

PATHS = [
    ("POST", "/hello"),
    ("GET", "/desired"),
    ("GET", "/hints"),
    ("POST", "/reports"),
]


@pytest.mark.parametrize(("method", "path"), PATHS)
@pytest.mark.parametrize(
    "header", [None, "Bearer", "Bearer ", "Bearer wrong", "Basic YTpi", "token of node-1", "alice"]
)
def test_an_agent_without_its_token_is_refused(api: Api, method: str, path: str, header: str | None) -> None:
    api.node()
    headers = {} if header is None else {"authorization": header}
    response = api.client.request(method, f"/agent/v1{path}", headers=headers, content=b"{}")
    assert (response.status_code, response.content) == (401, b"")


def test_a_nodes_token_does_not_authenticate_a_user(api: Api) -> None:
    node = api.node()
    assert api.client.get("/v2.0/networks", headers=node.headers).status_code == 401


def test_hello(api: Api) -> None:
    node = api.node()
    welcome = node.hello()
    assert welcome == {"node_id": welcome["node_id"], "node_name": "node-1", "revision": 0, "lease": api.store.lease}
    nodes = api.as_("admin").get("/linkspan/nodes")["nodes"]
    assert [(node["name"], node["alive"], node["backend"], node["gateways"]) for node in nodes] == [
        ("node-1", True, "kernel", 0)
    ]
    assert api.refused("GET", "/linkspan/nodes") == (403, "PolicyNotAuthorized")


def test_a_node_gets_only_its_own_desired_state(api: Api) -> None:
    first, site = api.node("north"), LocalSite(api)
    connection = site.connection(psk="only for north")
    second = api.node("south")
    assert second.desired()["connections"] == []
    desired = first.desired()
    assert [(row["id"], row["psk"]) for row in desired["connections"]] == [(connection["id"], "only for north")]
    assert first.desired(desired["revision"])["connections"] == []


@pytest.mark.parametrize("since", ["x", "-1", "1.5", "9" * 30])
def test_an_invalid_revision_is_a_400(api: Api, since: str) -> None:
    assert api.node().send("GET", f"/desired?since={since}").status_code == 400


@pytest.mark.parametrize("path", ["/hello", "/reports"])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b'{"gateways": [{"id": 1}]}',
        b'{"backend": "magic", "connections": 7}',
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_an_invalid_body_of_an_agent_is_a_400(api: Api, path: str, content: bytes) -> None:
    response = api.node().send("POST", path, content=content)
    assert response.status_code == 400
    assert response.json()["NeutronError"]["type"] == "HTTPBadRequest"


def test_an_empty_report_is_accepted_as_a_liveness_signal(api: Api) -> None:
    node = api.node()
    node.report()


def test_a_large_report_is_accepted(api: Api) -> None:
    node = api.node()
    reports = [{"id": str(uuid.UUID(int=n)), "generation": 1, "revision": 1, "state": "up"} for n in range(1500)]
    assert node.send("POST", "/reports", content=msgspec.json.encode({"connections": reports})).status_code == 204


# --- bounds -------------------------------------------------------------------------------------------------------


def report_of(connection: dict[str, Any], **values: Any) -> dict[str, Any]:
    """A report of a connection."""
    return {"id": connection["id"], "generation": 1, "revision": 1, "state": "down"} | values


REASONS = {
    "x" * 3_900_000: "x" * 999 + "…",
    "one\x1b[2Jtwo": "one<U+001B>[2Jtwo",
    "one\x00two": "one<U+0000>two",
    "one\x9b2Jtwo": "one<U+009B>2Jtwo",
    "one\u202etwo": "one<U+202E>two",
    "one\ntwo\r": "one<U+000A>two<U+000D>",
    "one\u200btwo": "one<U+200B>two",
    "\x1b" * 1000: "<U+001B>" * 124 + "<U+001B…",
    "the peer's word: ünïcode 🔒": "the peer's word: ünïcode 🔒",
}


def test_a_reason_is_bounded_and_printable(open_api: OpenApi) -> None:
    with open_api(grace=0.0) as api:
        node = api.node()
        node.hello()
        connection = LocalSite(api).connection()
        revision = node.desired()["revision"]
        for reason, shown in REASONS.items():
            body = {"connections": [report_of(connection, revision=revision, reason=reason)]}
            assert node.send("POST", "/reports", content=msgspec.json.encode(body)).status_code == 204
            read = api.get(f"{CONNECTIONS}/{connection['id']}")["ipsec_site_connection"]["status_reason"]
            assert read == shown, reason[:100]


BAD_REPORTS: tuple[dict[str, Any], ...] = (
    {"effective_mtu": 2**70},
    {"effective_mtu": 65_536},
    {"effective_mtu": -1},
    {"revision": 2**70},
    {"revision": 2**63},
    {"revision": -1},
    {"generation": 2**64},
    {"id": "../../etc"},
    {"id": "\x00"},
    {"id": "x" * 1_000_000},
    {"id": "0D1C7C3E-6A55-4B8C-9A56-2F6F5A9F0B11"},
    {"id": "0d1c7c3e-6a55-4b8c-9a56-2f6f5a9f0b11\n"},
    {"reason": 7},
)


def test_what_a_node_reports_has_bounds(api: Api) -> None:
    node, site = api.node(), LocalSite(api)
    node.hello()
    connection = site.connection()
    for values in BAD_REPORTS:
        body = json.dumps({"connections": [report_of(connection, **values)]}).encode()
        assert node.send("POST", "/reports", content=body).status_code == 400, str(values)[:100]
    control = json.dumps({"connections": [report_of(connection, effective_mtu=1400)]}).encode()
    assert node.send("POST", "/reports", content=control).status_code == 204


NO_REPORTS = (
    b"[" * 100_000,
    b"[" * 100_000 + b"]" * 100_000,
    b'{"unknown":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"connections":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_001,
    json.dumps({"connections": [{}] * 10_001}).encode(),
    b'{"gateways": [{"id": "\\ud800"}]}',
    b"\xff",
    b"9" * 10_000,
    b"null",
)


def test_what_is_no_report_is_refused(api: Api) -> None:
    node = api.node()
    for body in NO_REPORTS:
        for path in ("/reports", "/hello"):
            assert node.send("POST", path, content=body).status_code == 400, body[:100]


BAD_HELLOS: tuple[dict[str, Any], ...] = (
    {"agent_version": "1\x1b[2J"},
    {"agent_version": "1" * 65},
    {"charon_version": "6\x00"},
    {"charon_version": "6\u202e"},
    {"backend": "none"},
    {"capabilities": {"encryption": ["x" * 65]}},
    {"capabilities": {"encryption": ["x"] * 257}},
    {"capabilities": {"encryption": ["\x9b"]}},
)


def test_what_a_node_says_of_itself_has_bounds(api: Api) -> None:
    node = api.node()
    listed: dict[str, Any] = {"ikev1": True, "ah": True, "transport": True, "traps": True}
    listed |= {name: ["aes-128"] for name in ("encryption", "integrity", "key_exchanges")}
    hello: dict[str, Any] = {"backend": "kernel", "agent_version": "1", "charon_version": "6", "capabilities": listed}
    assert node.send("POST", "/hello", content=json.dumps(hello).encode()).status_code == 200
    for values in BAD_HELLOS:
        changed = values | ({"capabilities": listed | values["capabilities"]} if "capabilities" in values else {})
        answer = node.send("POST", "/hello", content=json.dumps(hello | changed).encode())
        assert answer.status_code == 400, str(values)[:100]


# --- hints: over a real server ------------------------------------------------------------------------------------


def test_hints(database: Engine) -> None:
    with served(database, heartbeat=0.2) as service:
        service.api.node()
        link = ApiClient(service.url, "token of node-1")
        link.hello(Hello("kernel", "1.0", "6.0.1"))
        heard: list[tuple[float, int]] = []
        ended: list[Exception | None] = []

        def listen() -> None:
            try:
                heard.extend((time.monotonic(), revision) for revision in link.hints())
                ended.append(None)
            except ApiUnreachable as error:
                ended.append(error)

        thread = threading.Thread(target=listen)
        thread.start()
        wait_for(lambda: bool(heard))
        assert heard[0][1] == 0
        site = LocalSite(service.api)
        wait_for(lambda: heard[-1][1] == 1)
        started = time.monotonic()
        connection = site.connection()
        wait_for(lambda: heard[-1][1] == 2)
        assert heard[-1][0] - started < 1.0
        assert [desired.id for desired in link.desired(1).connections] == [connection["id"]]
        assert service.stop() < 3.0
        thread.join(5.0)
        assert ended == [None]
        link.close()


def test_a_stream_gets_keepalives_and_is_removed_after_it_closes(database: Engine) -> None:
    with served(database, heartbeat=0.1) as service:
        node = service.api.node()
        with httpx.stream("GET", f"{service.url}/agent/v1/hints", headers=node.headers) as response:
            assert response.headers["content-type"] == "text/event-stream"
            lines = response.iter_lines()
            received = [next(lines) for _ in range(8)]
        assert received == ["event: revision", "data: 0", "", ": alive", "", ": alive", "", ": alive"]
        wait_for(lambda: not service.api.notifier._streams)


def test_the_oldest_streams_of_a_node_end(database: Engine) -> None:
    """One node holds few streams, and the newest ones go on."""
    with served(database, heartbeat=0.1) as service, ExitStack() as opened:
        node = service.api.node()
        url = f"{service.url}/agent/v1/hints"
        streams = []
        for _ in range(MOST_STREAMS + 2):
            stream = opened.enter_context(httpx.stream("GET", url, headers=node.headers))
            # One after the other, so that their order is known.
            lines = stream.iter_lines()
            assert next(lines) == "event: revision"
            streams.append(lines)
        for lines in streams[:2]:
            assert set(lines) <= {"data: 0", "", ": alive"}
        assert len(service.api.notifier._streams[node.hello()["node_id"]]) == MOST_STREAMS
        LocalSite(service.api)
        for lines in streams[2:]:
            assert "data: 1" in lines


def test_a_server_stops_while_a_delete_waits(database: Engine) -> None:
    with served(database, delete_wait=30.0) as service:
        node, site = service.api.node(), LocalSite(service.api)
        connection = site.connection()
        node.apply_desired()
        codes: list[int] = []
        thread = threading.Thread(
            target=lambda: codes.append(service.api.send("DELETE", f"{CONNECTIONS}/{connection['id']}").status_code)
        )
        thread.start()
        wait_for(lambda: bool(service.api.notifier._waiters))
        assert service.stop() < 5.0
        thread.join(5.0)
        assert codes == [204]


def test_a_node_learns_service_name_and_order_of_creation(api: Api) -> None:
    """By these it knows which of several connections for the same ends is in charge, and how to name it."""
    node = api.node()
    site = LocalSite(api)
    node.hello()
    ids = [site.connection(name=name, psk=name)["id"] for name in ("first", "second", "third")]
    shown = sorted(node.desired()["connections"], key=lambda entry: entry["created_at"])
    assert [entry["id"] for entry in shown] == ids
    assert [entry["name"] for entry in shown] == ["first", "second", "third"]
    assert {entry["service_id"] for entry in shown} == {site.service["id"]}
