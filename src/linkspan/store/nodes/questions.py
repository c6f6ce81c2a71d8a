"""Questions to nodes and their answers: rows of some seconds, by which API processes that share a database reach each
other's nodes.

The process that is asked writes the question; the one to which the node is connected reads it and passes it on; any of
them takes the answer.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable
from typing import Final

import msgspec
from sqlalchemy import bindparam, delete, func, insert, select, update

from linkspan.core.state.live_facts import LiveAnswer, Question
from linkspan.core.state.probes import ProbeRequest
from linkspan.core.state.traffic import TrafficRequest
from linkspan.store.database.statements import Statement, chunks, fill_slots, in_slots, slot_count, statement
from linkspan.store.database.tables import GATEWAY, NODE_QUESTION
from linkspan.store.transaction import Transaction

OPEN: Final = 15.0
"""Seconds for which a question waits for its answer: longer than a probe takes."""
KEPT: Final = 60.0
"""Seconds after which a question is removed: when the next one is asked."""

_question: Final = NODE_QUESTION.c
_TRAFFIC: Final = '{"connections":'
"""The begin of a request for traffic, which is in the column of probes: a question is for one or the other."""
_ask: Final = Statement(insert(NODE_QUESTION))
_node: Final = Statement(
    select(GATEWAY.c.node_id).where(GATEWAY.c.router_id == bindparam("router"), GATEWAY.c.deleted_at.is_(None))
)
_purge: Final = Statement(delete(NODE_QUESTION).where(_question.asked_at < bindparam("before")))
_open: Final = Statement(
    select(_question.node_id, _question.id, _question.gateway_id, _question.connection_id, _question.probe)
    .where(_question.asked_at >= bindparam("since"), _question.answer.is_(None))
    .order_by(_question.asked_at, _question.id)
)
_answer: Final = Statement(
    update(NODE_QUESTION)
    .where(
        _question.id == bindparam("question"),
        _question.node_id == bindparam("node"),
        _question.asked_at >= bindparam("since"),
        _question.answer.is_(None),
    )
    .values(answer=bindparam("text"))
)
_probed: Final = Statement(
    select(func.max(_question.asked_at)).where(
        _question.connection_id == bindparam("connection"),
        _question.probe.is_not(None),
        _question.probe.not_like(f"{_TRAFFIC}%"),
    )
)
_answer_of: Final = Statement(select(_question.answer).where(_question.id == bindparam("question")))


@statement
def _answered(count: int) -> Statement:
    return Statement(select(_question.id).where(in_slots(_question.id, "id", count), _question.answer.is_not(None)))


def ask(
    tx: Transaction, gateway_id: str, connection_id: str, probe: ProbeRequest | None = None
) -> tuple[str, Question] | None:
    """A new question about a connection of a gateway, with the id of the gateway's node; None if no node has it.

    `probe`: what the node is to probe before it answers.
    """
    node_id = _node_of(tx, gateway_id)
    if node_id is None:
        return None
    return _put(tx, node_id, Question(str(uuid.uuid4()), gateway_id, connection_id, probe))


def ask_traffic(
    tx: Transaction, connections: Iterable[tuple[str, str]], since: float | None = None
) -> list[tuple[str, Question]]:
    """New questions about the traffic of connections, one to each node that has some of them, with its id.

    `connections`: of each the ids of its gateway and its own. `since`: as in `TrafficRequest`.
    """
    wanted = list(connections)
    node_ids = {gateway_id: _node_of(tx, gateway_id) for gateway_id, _ in wanted}
    by_node: dict[str, list[tuple[str, str]]] = {}
    for gateway_id, connection_id in wanted:
        if (node_id := node_ids[gateway_id]) is not None:
            by_node.setdefault(node_id, []).append((gateway_id, connection_id))
    return [
        _put(tx, node_id, Question(str(uuid.uuid4()), *of[0], traffic=TrafficRequest(tuple(of), since)))
        for node_id, of in by_node.items()
    ]


def _node_of(tx: Transaction, gateway_id: str) -> str | None:
    found = tx.first(_node, router=gateway_id)
    return found[0] if found else None


def _put(tx: Transaction, node_id: str, question: Question) -> tuple[str, Question]:
    tx.run(_purge, before=tx.wall - KEPT)
    request = question.probe or question.traffic
    tx.run(
        _ask,
        id=question.id,
        node_id=node_id,
        gateway_id=question.gateway_id,
        connection_id=question.connection_id,
        asked_at=tx.wall,
        answer=None,
        probe=None if request is None else msgspec.json.encode(request).decode(),
    )
    return node_id, question


def open_questions(tx: Transaction, nodes: Collection[str]) -> list[tuple[str, Question]]:
    """The questions to these nodes that wait for an answer, each with the id of its node."""
    rows = tx.rows(_open, since=tx.wall - OPEN)
    return [
        (node_id, _asked(id, gateway_id, connection_id, request))
        for node_id, id, gateway_id, connection_id, request in rows
        if node_id in nodes
    ]


def _asked(id: str, gateway_id: str, connection_id: str, request: str | None) -> Question:
    if request is not None and request.startswith(_TRAFFIC):
        traffic = msgspec.json.decode(request, type=TrafficRequest)
        return Question(id, gateway_id, connection_id, traffic=traffic)
    probe = None if request is None else msgspec.json.decode(request, type=ProbeRequest)
    return Question(id, gateway_id, connection_id, probe)


def since_last_probe(tx: Transaction, connection_id: str) -> float | None:
    """Seconds since a connection was last probed, by any process; None if it was not within the last minute."""
    found = tx.first(_probed, connection=connection_id)
    return None if found is None or found[0] is None else max(0.0, tx.wall - found[0])


def answer(tx: Transaction, node_id: str, question_id: str, answer: LiveAnswer) -> bool:
    """Records the answer of a node to a question that it was asked, and that is open; false if there is none."""
    text = msgspec.json.encode(answer).decode()
    return tx.run(_answer, question=question_id, node=node_id, since=tx.wall - OPEN, text=text) == 1


def answered(tx: Transaction, question_ids: Iterable[str]) -> list[str]:
    """Those of these questions that have an answer."""
    found: list[str] = []
    for ids in chunks(sorted(question_ids)):
        found += (row[0] for row in tx.rows(_answered(slot_count(ids)), **fill_slots("id", ids)))
    return found


def answer_of(tx: Transaction, question_id: str) -> LiveAnswer | None:
    """The answer to a question, if there is one."""
    found = tx.first(_answer_of, question=question_id)
    return msgspec.json.decode(found[0], type=LiveAnswer) if found and found[0] else None
