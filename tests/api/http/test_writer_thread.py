"""One thread that hands out results several at a time: in order, none forgotten, none kept for long."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from linkspan.api.http.writer_thread import MOST, WriterThread
from tests.harness.world import until

EVER = 60.0


@pytest.fixture(params=[EVER, 0.0], ids=["patient", "hasty"])
def turns(request: pytest.FixtureRequest) -> Iterator[WriterThread]:
    turns = WriterThread("turns", request.param)
    yield turns
    turns.shutdown()


class Log:
    """What was done and what was told, in order; nothing is before `run`."""

    def __init__(self, turns: WriterThread) -> None:
        self.seen: list[tuple[str, int]] = []
        self._turns = turns
        self._gate = threading.Event()
        self._added = 0
        self.add(self._gate.wait)

    def add(self, work: Callable[[], object] = str) -> None:
        number = self._added
        self._added += 1

        def task() -> None:
            work()
            self.seen.append(("did", number))

        self._turns.submit(task).add_done_callback(lambda _: self.seen.append(("told", number)))

    def run(self) -> list[tuple[str, int]]:
        self._gate.set()
        until(lambda: len(self.seen) == 2 * self._added, 10.0, lambda: str(self.seen))
        return self.seen


def batches(*sizes: int) -> list[tuple[str, int]]:
    seen, first = list[tuple[str, int]](), 0
    for size in sizes:
        seen += [(what, number) for what in ("did", "told") for number in range(first, first + size)]
        first += size
    return seen


def test_what_waits_is_told_several_at_a_time_and_in_order() -> None:
    log = Log(WriterThread("turns", EVER))
    for _ in range(2 * MOST):
        log.add()
    assert log.run() == batches(MOST, MOST, 1)


def test_a_result_does_not_wait_for_slow_ones() -> None:
    log = Log(WriterThread("turns", 0.0))
    for _ in range(4):
        log.add()
    assert log.run() == batches(1, 1, 1, 1, 1)


def test_alone_it_is_told_at_once(turns: WriterThread) -> None:
    assert turns.submit(lambda left, right: left + right, 1, right=2).result(5.0) == 3


def test_an_error_is_told_to_whom_it_belongs(turns: WriterThread) -> None:
    gate = threading.Event()
    first = turns.submit(gate.wait)
    wrong, right = turns.submit(lambda: 1 // 0), turns.submit(lambda: 7)
    gate.set()
    with pytest.raises(ZeroDivisionError):
        wrong.result(5.0)
    assert (first.result(5.0), right.result(5.0)) == (True, 7)


def test_what_was_cancelled_is_not_done(turns: WriterThread) -> None:
    log = Log(turns)
    done: list[int] = []
    assert turns.submit(lambda: done.append(1)).cancel()
    log.add()
    assert sorted(log.run()) == sorted(batches(2))
    assert done == []


def test_after_the_end_nothing_is_taken_and_what_waits_is_done(turns: WriterThread) -> None:
    log = Log(turns)
    log.add()
    turns.shutdown()
    assert sorted(log.run()) == sorted(batches(2))
    with pytest.raises(RuntimeError, match="shut down"):
        turns.submit(str)
