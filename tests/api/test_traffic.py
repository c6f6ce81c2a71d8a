"""Traffic at the API: the node is asked for its samples, which are shown, and every refusal has a sentence."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from sqlalchemy import Engine

from linkspan.api.resources import traffic
from linkspan.core.state.live_facts import LiveAnswer, Question
from linkspan.core.state.traffic import ConnectionTraffic, TrafficSample
from linkspan.store.nodes import questions
from tests.api.serving import served
from tests.api.test_questions import answering, connection_on_node
from tests.api.world import CONNECTIONS, Api, LocalSite

SAMPLES = (
    TrafficSample(1795960010.0, 10.0, 1000, 2000, 10, 20, 21.5),
    TrafficSample(1795960070.0, 60.0),
    TrafficSample(1795960080.0, 10.0, 0, 0, 0, 0),
)


def sampled(question: Question, samples: tuple[TrafficSample, ...] = SAMPLES) -> LiveAnswer:
    """The answer of a node that has the same samples of each connection."""
    assert question.traffic is not None
    return LiveAnswer(None, traffic=tuple(ConnectionTraffic(id, samples) for _, id in question.traffic.connections))


def shown(api: Api, id: str, query: str = "") -> dict[str, Any]:
    """The traffic of a connection."""
    found: dict[str, Any] = api.get(f"{CONNECTIONS}/{id}/traffic{query}")["traffic"]
    return found


def test_the_samples_of_the_node_are_shown_in_columns(database: Engine) -> None:
    with served(database) as service:
        id = connection_on_node(service)
        with answering(service, sampled) as asked:
            found = shown(service.api, id)
    assert [(each.connection_id, each.traffic and each.traffic.since) for each in asked] == [(id, 0.0)]
    assert found == {
        "connection_id": id,
        "name": found["name"],
        "node": "node-1",
        "fault": "",
        "at": [1795960010.0, 1795960070.0, 1795960080.0],
        "seconds": [10.0, 60.0, 10.0],
        "in_bytes": [1000, None, 0],
        "out_bytes": [2000, None, 0],
        "in_packets": [10, None, 0],
        "out_packets": [20, None, 0],
        "rtt_ms": [21.5, None, None],
    }


def test_a_node_that_is_connected_to_another_process_is_asked_too(database: Engine) -> None:
    with served(database) as here, served(database) as there:
        id = connection_on_node(here)
        with answering(there, sampled) as asked:
            found = shown(here.api, id, "?since=1795960000.5")
    assert [each.traffic and each.traffic.since for each in asked] == [1795960000.5]
    assert len(found["at"]) == 3


@pytest.mark.parametrize(
    "since", ["2026-11-29T14:00:00Z", "2026-11-29T15:00:00%2B01:00", "2026-11-29T14:00:00", "1795960800"]
)
def test_since_is_a_time_of_iso_8601_or_seconds(database: Engine, since: str) -> None:
    with served(database) as service:
        id = connection_on_node(service)
        with answering(service, sampled) as asked:
            shown(service.api, id, f"?since={since}")
    assert [each.traffic and each.traffic.since for each in asked] == [1795960800.0]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("since=yesterday", "since is a time such as"),
        ("since=-5", "since is a time such as"),
        ("since=1e300", "since is a time such as"),
        ("since=nan", "since is a time such as"),
        ("since=99999999999999", "since is a time such as"),
        ("since=", "since is a time such as"),
        ("until=5", "'until' is not a parameter here"),
    ],
)
def test_what_is_no_time_is_refused(api: Api, query: str, message: str) -> None:
    id = LocalSite(api).connection()["id"]
    response = api.send("GET", f"{CONNECTIONS}/{id}/traffic?{query}")
    assert response.status_code == 400
    assert message in response.json()["NeutronError"]["message"]


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (None, "node node-1 has not answered within 0.5 s"),
        (LiveAnswer(None), "the agent of the node is older than traffic is"),
        (LiveAnswer(None, "the node does not run this gateway yet"), "the node does not run this gateway yet"),
        (LiveAnswer(None, traffic=()), "its agent has not sampled the connection yet"),
    ],
)
def test_without_samples_the_reason_is_said(
    database: Engine, monkeypatch: pytest.MonkeyPatch, answer: LiveAnswer | None, fault: str
) -> None:
    monkeypatch.setattr(traffic, "PATIENCE", 0.5)
    with served(database) as service:
        id = connection_on_node(service)
        with answering(service, lambda _question: answer):
            found = shown(service.api, id)
    assert found["fault"].startswith(fault)
    assert found["at"] == found["in_bytes"] == found["rtt_ms"] == []


def test_a_connection_without_a_node_needs_no_question(api: Api) -> None:
    id = LocalSite(api).connection()["id"]
    found = shown(api, id)
    assert "no node can run the gateway" in found["fault"]
    assert (found["node"], found["at"]) == (None, [])
    with api.store.read() as tx:
        assert questions.open_questions(tx, ("any",)) == []


def test_traffic_is_read_like_its_connection(api: Api) -> None:
    id = LocalSite(api).connection()["id"]
    assert api.as_("reader").get(f"{CONNECTIONS}/{id}/traffic")["traffic"]["connection_id"] == id
    response = api.as_("bob").send("GET", f"{CONNECTIONS}/{id}/traffic")
    assert response.status_code == 404


def test_a_question_for_traffic_is_no_probe(database: Engine) -> None:
    with served(database) as service:
        id = connection_on_node(service)
        with answering(service, sampled):
            shown(service.api, id)
        with service.api.store.read() as tx:
            assert questions.since_last_probe(tx, id) is None


# --- of many connections ------------------------------------------------------------------------------------------


def newest(api: Api, *ids: str) -> list[dict[str, Any]]:
    """The newest samples of connections."""
    query = "&".join(f"connection_id={id}" for id in ids)
    found: list[dict[str, Any]] = api.get(f"/linkspan/traffic?{query}")["traffic"]
    return found


def test_each_node_is_asked_once_for_its_connections(database: Engine) -> None:
    with served(database) as service:
        first = connection_on_node(service)
        more = LocalSite(service.api).connection(name="more", peer_address="198.51.100.88", peer_id="198.51.100.88")
        with answering(service, sampled) as asked:
            found = newest(service.api, first, more["id"], first, str(uuid.uuid4()))
    (question,) = asked
    assert question.traffic is not None
    assert question.traffic.since is None
    assert {id for _, id in question.traffic.connections} == {first, more["id"]}
    assert {each["connection_id"]: each["in_bytes"] for each in found} == {first: 0, more["id"]: 0}
    assert found[0] == {
        "connection_id": found[0]["connection_id"],
        "node": "node-1",
        "fault": "",
        "at": 1795960080.0,
        "seconds": 10.0,
        "in_bytes": 0,
        "out_bytes": 0,
        "in_packets": 0,
        "out_packets": 0,
        "rtt_ms": None,
    }


def test_what_one_node_does_not_say_keeps_nothing_from_others(
    database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traffic, "PATIENCE", 0.5)
    with served(database) as service:
        id = connection_on_node(service)
        silent = newest(service.api, id)
        with answering(service, lambda question: sampled(question, ())):
            unknown = newest(service.api, id)
    assert [(each["fault"], each["at"], each["out_bytes"]) for each in silent] == [
        ("node node-1 has not answered within 0.5 s", None, None)
    ]
    assert [each["fault"] for each in unknown] == [traffic._UNKNOWN]


def test_newest_samples_without_a_node(api: Api) -> None:
    id = LocalSite(api).connection()["id"]
    (found,) = newest(api, id)
    assert "no node can run the gateway" in found["fault"]
    assert newest(api.as_("bob"), id) == []


@pytest.mark.parametrize(
    "query",
    ["", "connection_id=", "connection_id=7", "name=x", "&".join(f"connection_id={uuid.uuid4()}" for _ in range(101))],
)
def test_what_names_no_connections_is_refused(api: Api, query: str) -> None:
    assert api.send("GET", f"/linkspan/traffic?{query}").status_code == 400
