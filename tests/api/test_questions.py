"""Questions to nodes and diagnoses: an answer reaches who asked, also through another process that shares the database;
without one the diagnosis says what is known."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import msgspec
import pytest
from sqlalchemy import Engine

from linkspan.agent.api_client import ApiClient, ApiUnreachable
from linkspan.api.resources.diagnosis import PATIENCE
from linkspan.core.state.live_facts import LARGEST_ANSWER, LiveAnswer, LiveFacts, Question
from linkspan.store.nodes import questions
from tests.api.serving import Served, served, wait_for
from tests.api.world import CONNECTIONS, Api, LocalSite

FACTS = LiveFacts(
    phase="backing off",
    cause="AUTHENTICATION_REFUSED",
    reason="compare the pre-shared key",
    failures=3,
    retry_in=4,
    revision=1,
    ike_sas=(),
)


SHOWN = msgspec.json.decode(msgspec.json.encode(FACTS))


def diagnosis_of(api: Api, id: str) -> dict[str, object]:
    """The diagnosis of a connection."""
    shown: dict[str, object] = api.get(f"{CONNECTIONS}/{id}/diagnosis")["diagnosis"]
    return shown


@contextmanager
def answering(service: Served, answer: Callable[[Question], LiveAnswer | None]) -> Iterator[list[Question]]:
    """An agent of node-1 that answers questions over its hint stream; yields those that it was asked."""
    asked: list[Question] = []
    with ExitStack() as stack:
        link = ApiClient(service.url, "token of node-1")
        ready = threading.Event()

        def take(question: Question) -> None:
            asked.append(question)
            if (found := answer(question)) is not None:
                link.answer(question.id, found)

        def follow() -> None:
            try:
                for _ in link.hints(take):
                    ready.set()
            except ApiUnreachable:
                pass

        thread = threading.Thread(target=follow)
        thread.start()
        stack.callback(thread.join)
        stack.callback(link.close)
        assert ready.wait(10.0)
        yield asked


def connection_on_node(service: Served) -> str:
    """A connection whose gateway a node carries; its id."""
    node = service.api.node()
    site = LocalSite(service.api)
    id: str = site.connection()["id"]
    node.apply_desired()
    return id


def test_what_the_node_says_is_in_the_diagnosis(database: Engine) -> None:
    with served(database) as service:
        id = connection_on_node(service)
        with answering(service, lambda _question: LiveAnswer(FACTS)) as asked:
            shown = diagnosis_of(service.api, id)
        assert [question.connection_id for question in asked] == [id]
        assert shown["live"] == SHOWN
        assert shown["verdict"] == {
            "name": "authentication",
            "state": "failed",
            "text": "compare the pre-shared key",
            "code": "",
        }
        assert shown["node"] == "node-1"


def test_a_node_that_is_connected_to_another_process_answers_too(database: Engine) -> None:
    with served(database) as here, served(database) as there:
        id = connection_on_node(here)
        with answering(there, lambda _question: LiveAnswer(FACTS)) as asked:
            shown = diagnosis_of(here.api, id)
        assert shown["live"] == SHOWN
        assert len(asked) == 1, "a question is asked once, although it is seen at each look into the database"


def test_without_an_answer_the_diagnosis_says_what_is_known(database: Engine) -> None:
    with served(database) as service:
        id = connection_on_node(service)
        with answering(service, lambda _question: None) as asked:
            shown = diagnosis_of(service.api, id)
        assert len(asked) == 1
        assert shown["live"] is None
        assert shown["verdict"] == {
            "name": "node",
            "state": "unknown",
            "text": f"node node-1 holds its lease, but: it has not answered within {PATIENCE:g} s",
            "code": "",
        }


def test_a_fault_of_the_node_is_told(database: Engine) -> None:
    with served(database) as service:
        id = connection_on_node(service)
        with answering(service, lambda _question: LiveAnswer(None, "charon does not run")):
            shown = diagnosis_of(service.api, id)
        assert (shown["live"], shown["verdict"]) == (
            None,
            {
                "name": "node",
                "state": "unknown",
                "text": "node node-1 holds its lease, but: charon does not run",
                "code": "",
            },
        )


def test_a_connection_without_a_node_needs_no_question(api: Api) -> None:
    site = LocalSite(api)
    id = site.connection()["id"]
    shown = diagnosis_of(api, id)
    verdict = shown["verdict"]
    assert isinstance(verdict, dict)
    assert (verdict["name"], verdict["state"], shown["node"], shown["live"]) == ("node", "failed", None, None)
    with api.store.read() as tx:
        assert questions.open_questions(tx, ("any",)) == []


def test_a_diagnosis_is_read_like_its_connection(api: Api) -> None:
    id = LocalSite(api).connection()["id"]
    path = f"{CONNECTIONS}/{id}/diagnosis"
    assert api.as_("reader").get(path)["diagnosis"]["connection_id"] == id
    assert api.as_("admin").get(path)["diagnosis"]["connection_id"] == id
    assert api.as_("bob").refused("GET", path) == (404, "IPsecSiteConnectionNotFound")
    assert api.as_("auditor").refused("GET", path)[0] in (403, 404)
    unknown = f"{CONNECTIONS}/{uuid.uuid4()}/diagnosis"
    assert api.refused("GET", unknown) == (404, "IPsecSiteConnectionNotFound")


# --- answers ------------------------------------------------------------------------------------------------------


def asked(api: Api) -> str:
    """The id of a question to node-1."""
    connection = LocalSite(api).connection()
    router = api.get(f"/vpn/vpnservices/{connection['vpnservice_id']}")["vpnservice"]["router_id"]
    with api.store.write() as tx:
        found = questions.ask(tx, router, connection["id"])
    assert found is not None
    return found[1].id


def test_only_the_node_that_was_asked_answers_and_once(api: Api) -> None:
    node = api.node("node-1")
    id = asked(api)
    other = api.node("node-2")
    body = msgspec.json.encode(LiveAnswer(FACTS))
    assert other.send("POST", f"/answers/{id}", content=body).status_code == 404
    assert node.send("POST", f"/answers/{id}", content=body).status_code == 204
    again = msgspec.json.encode(LiveAnswer(None, "something else"))
    assert node.send("POST", f"/answers/{id}", content=again).status_code == 404
    with api.store.read() as tx:
        assert questions.answer_of(tx, id) == LiveAnswer(FACTS)
    assert node.send("POST", f"/answers/{uuid.uuid4()}", content=body).status_code == 404


def test_nobody_else_answers(api: Api) -> None:
    api.node()
    id = asked(api)
    for header in ({}, {"authorization": "Bearer wrong"}, {"authorization": "alice"}):
        response = api.client.post(f"/agent/v1/answers/{id}", headers=header, content=b"{}")
        assert response.status_code == 401
    with api.store.read() as tx:
        assert questions.answer_of(tx, id) is None


BAD_ANSWERS = [
    b"",
    b"[]",
    b"{}",
    b'{"facts": {}}',
    msgspec.json.encode(LiveAnswer(msgspec.structs.replace(FACTS, reason="\x1b[2J"))),
    msgspec.json.encode(LiveAnswer(msgspec.structs.replace(FACTS, reason="x" * 1001))),
    msgspec.json.encode(LiveAnswer(msgspec.structs.replace(FACTS, phase="\u202eup"))),
    msgspec.json.encode(LiveAnswer(msgspec.structs.replace(FACTS, failures=-1))),
    msgspec.json.encode(LiveAnswer(None, "\x9b")),
]


@pytest.mark.parametrize("body", BAD_ANSWERS)
def test_what_is_no_answer_is_refused(api: Api, body: bytes) -> None:
    node = api.node()
    id = asked(api)
    assert node.send("POST", f"/answers/{id}", content=body).status_code == 400
    with api.store.read() as tx:
        assert questions.answer_of(tx, id) is None


def test_an_answer_is_bounded(api: Api) -> None:
    node = api.node()
    id = asked(api)
    assert node.send("POST", f"/answers/{id}", content=b" " * (LARGEST_ANSWER + 1)).status_code == 413


def test_a_late_answer_is_dropped_and_old_questions_go(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    node = api.node()
    id = asked(api)
    monkeypatch.setattr(questions, "OPEN", -1.0)
    assert node.send("POST", f"/answers/{id}", content=msgspec.json.encode(LiveAnswer(FACTS))).status_code == 404
    monkeypatch.setattr(questions, "OPEN", 3600.0)
    monkeypatch.setattr(questions, "KEPT", -1.0)
    newer = asked(api)
    with api.store.read() as tx:
        found = [question.id for _, question in questions.open_questions(tx, _nodes(api))]
    assert id not in found
    assert newer in found


def _nodes(api: Api) -> list[str]:
    return [node["id"] for node in api.as_("admin").get("/linkspan/nodes")["nodes"]]


def test_many_questions_are_each_answered(database: Engine) -> None:
    with served(database) as service:
        id = connection_on_node(service)
        with answering(service, lambda _question: LiveAnswer(FACTS)) as asked:
            begun = time.monotonic()
            threads = [threading.Thread(target=diagnosis_of, args=(service.api, id)) for _ in range(20)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            wait_for(lambda: len(asked) == 20)
            assert len({question.id for question in asked}) == 20
            print(f"20 questions at once: {time.monotonic() - begun:.2f} s")
