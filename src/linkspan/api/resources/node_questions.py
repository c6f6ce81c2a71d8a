"""Questions to nodes: asked by a request, which holds no thread while it waits for the answer.

The node may be connected to another process of the API that shares the database: `QuestionTicker` passes questions on
and looks for their answers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from linkspan.api.http.messages import Request, Response, WaitFor
from linkspan.api.http.notifications import Notifier
from linkspan.core.state.live_facts import LiveAnswer, Question
from linkspan.store.nodes import questions
from linkspan.store.store import Conflict, Store, Unavailable
from linkspan.store.ticker import Ticker
from linkspan.store.transaction import Transaction

INTERVAL: Final = 0.2
INTERVAL_OF_SQLITE: Final = 0.4
"""Seconds between two looks for questions and answers of other processes, which are rare beside SQLite."""

Asked = tuple[str, Question]
"""The id of a node, and a question to it that is in the database."""


class QuestionTicker(Ticker):
    """Passes open questions on to the nodes that are connected here, and wakes those who wait here for answers."""

    def __init__(self, store: Store, notifier: Notifier) -> None:
        super().__init__("questions", INTERVAL_OF_SQLITE if store.one_writer else INTERVAL)
        self._store = store
        self._notifier = notifier
        # By id: when nobody waits any more.
        self._waiting: dict[str, float] = {}

    def ask(self, node_id: str, question: Question, patience: float) -> None:
        """Send a question that is in the database, if its node is connected here; look for its answer in any case, for
        `patience` seconds."""
        self._waiting[question.id] = time.monotonic() + patience
        self._notifier.ask([(node_id, question)])

    def tick(self) -> None:
        """Look into the database, if anybody here may be concerned."""
        now = time.monotonic()
        for id in [id for id, until in self._waiting.copy().items() if until <= now]:
            del self._waiting[id]
        nodes, waiting = self._notifier.nodes(), [*self._waiting]
        if not nodes and not waiting:
            return
        try:
            with self._store.read() as tx:
                asked = questions.open_questions(tx, nodes) if nodes else []
                answered = questions.answered(tx, waiting)
        except (Conflict, Unavailable):
            return  # who asks has other worries then
        self._notifier.ask(asked)
        self._notifier.changed(answered)


class NodeQuestions:
    """Asks nodes. `ticker`: to be entered where several processes share the database."""

    def __init__(self, store: Store, notifier: Notifier) -> None:
        self.ticker = QuestionTicker(store, notifier)
        self._store = store
        self._notifier = notifier

    def ask(
        self,
        write: Callable[[Transaction], Asked | None],
        patience: float,
        then: Callable[[Request, LiveAnswer | None], Response],
    ) -> Response | None:
        """Ask a node, and answer the request with what `then` makes of its answer, which is None after `patience`
        seconds.

        `write` puts the question into the database, or returns None: so does this then. Raises Conflict, Unavailable,
        and what `write` raises.
        """
        return self.ask_all(
            lambda tx: [] if (asked := write(tx)) is None else [asked],
            patience,
            lambda request, answers: then(request, answers[0]),
        )

    def ask_all(
        self,
        write: Callable[[Transaction], Sequence[Asked]],
        patience: float,
        then: Callable[[Request, list[LiveAnswer | None]], Response],
    ) -> Response | None:
        """Ask several nodes, as `ask`: `then` gets the answers in the order of the questions. None without any."""
        waiter = None
        try:
            with self._store.write() as tx:
                asked = write(tx)
                if not asked:
                    return None
                # Before the commit: the answers may come right after it.
                waiter = self._notifier.register(*(question.id for _, question in asked))
        except BaseException:
            if waiter is not None:
                self._notifier.forget(waiter)
            raise
        for node_id, question in asked:
            self.ticker.ask(node_id, question, patience)
        return Response(
            200,
            wait_for=WaitFor(
                waiter,
                lambda: None not in self._answers_to(asked),
                patience,
                then=lambda request: then(request, self._answers_to(asked)),
            ),
        )

    def _answers_to(self, asked: Sequence[Asked]) -> list[LiveAnswer | None]:
        with self._store.read() as tx:
            return [questions.answer_of(tx, question.id) for _, question in asked]
