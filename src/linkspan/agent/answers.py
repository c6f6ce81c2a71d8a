"""Answers to the API's questions: asked of the worker of a gateway, delivered on a thread of their own.

A question is worth a moment only: an answer that cannot be delivered is dropped, since nobody waits for it any more.
"""

from __future__ import annotations

import queue
from collections.abc import Callable

import structlog

from linkspan.agent.api_client import ApiClient, ApiUnreachable
from linkspan.agent.gateway_worker import Ask, GatewayWorker
from linkspan.core.state.live_facts import LiveAnswer, Question
from linkspan.core.state.traffic import ConnectionTraffic, TrafficRequest

_log = structlog.get_logger("agent.answers")


class Answers:
    """`ask` is for the thread that reads hints, `deliver` runs on its own."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api
        self._queue: queue.SimpleQueue[tuple[str, LiveAnswer]] = queue.SimpleQueue()

    def ask(self, workers: Callable[[str], GatewayWorker | None], question: Question) -> None:
        """Pass a question on to the worker of its gateway; returns at once. `workers`: by the ids of gateways."""
        if question.traffic is not None:
            self._queue.put((question.id, LiveAnswer(None, traffic=_traffic(workers, question.traffic))))
            return
        worker = workers(question.gateway_id)
        if worker is None:
            self._queue.put((question.id, LiveAnswer(None, "the node does not run this gateway yet")))
            return
        worker.send(Ask(question.connection_id, lambda answer: self._queue.put((question.id, answer)), question.probe))

    def deliver(self) -> None:
        """Deliver answers for ever."""
        while True:
            id, answer = self._queue.get()
            try:
                self._api.answer(id, answer)
            except ApiUnreachable as error:
                _log.debug("an answer cannot be delivered", error=str(error))


def _traffic(workers: Callable[[str], GatewayWorker | None], request: TrafficRequest) -> tuple[ConnectionTraffic, ...]:
    """The traffic of the connections that the node has, without a question to a worker: a charon that hangs delays the
    answer about no other gateway."""
    ids: dict[str, list[str]] = {}
    for gateway_id, connection_id in request.connections:
        ids.setdefault(gateway_id, []).append(connection_id)
    known = [(worker, of) for gateway_id, of in ids.items() if (worker := workers(gateway_id)) is not None]
    return tuple(traffic for worker, of in known for traffic in worker.traffic(of, request.since))
