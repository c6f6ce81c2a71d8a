"""Probes at the API: the question reaches the node, the findings reach the caller, and every refusal has a sentence."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from sqlalchemy import Engine

from linkspan.api.resources import probes
from linkspan.core.state.live_facts import LiveAnswer, Question
from linkspan.core.state.probes import ProbeRequest
from linkspan.store.nodes import questions
from tests.api.serving import served
from tests.api.test_questions import FACTS, answering, connection_on_node
from tests.api.world import CONNECTIONS, Api, LocalSite
from tests.core.diagnosis.test_findings import WHOLE

PROBED = LiveAnswer(msgspec.structs.replace(FACTS, probe=WHOLE, probe_age=0))


def probe(api: Api, id: str, **values: Any) -> dict[str, Any]:
    """The answer to a probe; asserts 200."""
    response = api.send("POST", f"{CONNECTIONS}/{id}/probe", {"probe": values})
    assert response.status_code == 200, response.text
    shown: dict[str, Any] = response.json()["probe"]
    return shown


def test_the_node_is_asked_and_its_findings_are_shown(database: Engine) -> None:
    with served(database) as service:
        id = connection_on_node(service)
        with answering(service, lambda _question: PROBED) as asked:
            shown = probe(service.api, id, target="10.2.0.10")
    assert [question.probe for question in asked] == [ProbeRequest("10.2.0.10")]
    assert (shown["fault"], shown["node"], shown["connection_id"]) == ("", "node-1", id)
    assert [finding["state"] for finding in shown["findings"]] == ["ok"] * 6
    assert shown["result"] == msgspec.json.decode(msgspec.json.encode(WHOLE))


def test_a_node_that_is_connected_to_another_process_probes_too(database: Engine) -> None:
    with served(database) as here, served(database) as there:
        id = connection_on_node(here)
        with answering(there, lambda _question: PROBED) as asked:
            shown = probe(here.api, id)
    assert [question.probe for question in asked] == [ProbeRequest()]
    assert shown["result"] is not None


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (None, "node node-1 has not answered within 0.5 s"),
        (LiveAnswer(FACTS, "a connection that is down by request sends nothing"), "a connection that is down"),
        (LiveAnswer(None, "charon does not run"), "charon does not run"),
        (LiveAnswer(FACTS), "the agent of the node is older than probes are"),
    ],
)
def test_without_a_result_the_reason_is_said(
    database: Engine, monkeypatch: pytest.MonkeyPatch, answer: LiveAnswer | None, fault: str
) -> None:
    monkeypatch.setattr(probes, "PATIENCE", 0.5)
    with served(database) as service:
        id = connection_on_node(service)
        with answering(service, lambda _question: answer):
            shown = probe(service.api, id)
    assert shown["fault"].startswith(fault)
    assert (shown["result"], shown["findings"]) == (None, [])


def test_a_connection_is_probed_once_in_some_seconds_whoever_asks(
    database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(database) as here, served(database) as there:
        id = connection_on_node(here)
        other = LocalSite(here.api).connection(name="other", peer_address="198.51.100.88", peer_id="198.51.100.88")[
            "id"
        ]
        with answering(here, lambda _question: PROBED) as asked:
            probe(here.api, id)
            for api in (here.api, there.api, here.api.as_("admin")):
                response = api.send("POST", f"{CONNECTIONS}/{id}/probe", {"probe": {}})
                assert response.status_code == 429
                assert "was probed less than 10 s ago" in response.json()["NeutronError"]["message"]
                assert 1 <= int(response.headers["retry-after"]) <= 10
            probe(here.api, other)
            assert here.api.get(f"{CONNECTIONS}/{id}/diagnosis")["diagnosis"]["live"] is not None
            assert [question.probe is None for question in asked] == [False, False, True]
            monkeypatch.setattr(probes, "PAUSE", 0.0)
            probe(here.api, id)


def test_a_node_that_is_lost_is_not_asked(api: Api) -> None:
    id = LocalSite(api).connection()["id"]
    shown = probe(api, id)
    assert "no node can run the gateway" in shown["fault"]
    with api.store.read() as tx:
        assert questions.since_last_probe(tx, id) is None


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "Resource body required"),
        ({"probe": []}, "Unable to find 'probe'"),
        ({"probe": {}, "more": 1}, "Unrecognized attribute(s) 'more'"),
        ({"probe": {"targets": "10.2.0.1"}}, "Unrecognized attribute(s) 'targets'"),
        ({"probe": {"target": "10.2.0.0/24"}}, "Invalid input for target"),
        ({"probe": {"target": "example.org"}}, "Invalid input for target"),
        ({"probe": {"target": ["10.2.0.1"]}}, "Invalid input for target"),
        ({"probe": {"target": 7}}, "Invalid input for target"),
    ],
)
def test_what_is_no_probe_is_refused(api: Api, body: dict[str, Any], message: str) -> None:
    id = LocalSite(api).connection()["id"]
    response = api.send("POST", f"{CONNECTIONS}/{id}/probe", body)
    assert response.status_code == 400
    assert message in response.json()["NeutronError"]["message"]


def test_a_probe_is_in_the_audit_trail(database: Engine) -> None:
    with served(database) as service:
        id = connection_on_node(service)
        with answering(service, lambda _question: PROBED):
            probe(service.api, id)
        entries = service.api.as_("admin").get(f"/linkspan/audit?object_id={id}")["audit"]
    assert [entry["action"] for entry in entries if entry["action"] == "probe"] == ["probe"]


def test_a_question_keeps_its_probe_in_the_database(api: Api) -> None:
    api.node()
    connection = LocalSite(api).connection()
    router = api.get(f"/vpn/vpnservices/{connection['vpnservice_id']}")["vpnservice"]["router_id"]
    nodes = [node["id"] for node in api.as_("admin").get("/linkspan/nodes")["nodes"]]
    with api.store.write() as tx:
        for request in (None, ProbeRequest(), ProbeRequest("fd00::1")):
            questions.ask(tx, router, connection["id"], request)
    with api.store.read() as tx:
        found: list[Question] = [question for _, question in questions.open_questions(tx, nodes)]
    assert {question.probe for question in found} == {None, ProbeRequest(), ProbeRequest("fd00::1")}
