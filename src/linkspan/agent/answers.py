"""Answers to the API's questions: asked of the worker of a gateway, delivered on a thread of their own.

A question is worth a moment only: an answer that cannot be delivered is dropped, since nobody waits for it any more.
"""

from __future__ import annotations

import queue

import structlog

from linkspan.agent.api_client import ApiClient, ApiUnreachable
from linkspan.agent.gateway_worker import Ask, GatewayWorker
from linkspan.core.state.live_facts import LiveAnswer, Question

_log = structlog.get_logger("agent.answers")


class Answers:
    """`ask` is for the thread that reads hints, `deliver` runs on its own."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api
        self._queue: queue.SimpleQueue[tuple[str, LiveAnswer]] = queue.SimpleQueue()

    def ask(self, worker: GatewayWorker | None, question: Question) -> None:
        """Pass a question on to the worker of its gateway; returns at once."""
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
