"""The writer thread: delivers results in batches, in order, completely and without long delays."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from linkspan.api.http.writer_thread import MOST, WriterThread
from tests.harness.world import until

NEVER_FLUSH = 60.0


@pytest.fixture(params=[NEVER_FLUSH, 0.0], ids=["patient", "hasty"])
def writer(request: pytest.FixtureRequest) -> Iterator[WriterThread]:
    writer = WriterThread("writer", request.param)
    yield writer
    writer.shutdown()


class TaskLog:
    """The order of executed tasks and delivered results; no task runs before `run`."""

    def __init__(self, writer: WriterThread) -> None:
        self.seen: list[tuple[str, int]] = []
        self._writer = writer
        self._gate = threading.Event()
        self._added = 0
        self.add(self._gate.wait)

    def add(self, work: Callable[[], object] = str) -> None:
        number = self._added
        self._added += 1

        def task() -> None:
            work()
            self.seen.append(("executed", number))

        self._writer.submit(task).add_done_callback(lambda _: self.seen.append(("delivered", number)))

    def run(self) -> list[tuple[str, int]]:
        self._gate.set()
        until(lambda: len(self.seen) == 2 * self._added, 10.0, lambda: str(self.seen))
        return self.seen


def batches(*sizes: int) -> list[tuple[str, int]]:
    seen, first = list[tuple[str, int]](), 0
    for size in sizes:
        seen += [(step, number) for step in ("executed", "delivered") for number in range(first, first + size)]
        first += size
    return seen


def test_results_are_delivered_in_batches_and_in_order() -> None:
    log = TaskLog(WriterThread("writer", NEVER_FLUSH))
    for _ in range(2 * MOST):
        log.add()
    assert log.run() == batches(MOST, MOST, 1)


def test_a_result_does_not_wait_for_slow_tasks() -> None:
    log = TaskLog(WriterThread("writer", 0.0))
    for _ in range(4):
        log.add()
    assert log.run() == batches(1, 1, 1, 1, 1)


def test_the_result_of_a_single_task_is_delivered_at_once(writer: WriterThread) -> None:
    assert writer.submit(lambda left, right: left + right, 1, right=2).result(5.0) == 3


def test_an_error_reaches_only_its_own_task(writer: WriterThread) -> None:
    gate = threading.Event()
    first = writer.submit(gate.wait)
    wrong, right = writer.submit(lambda: 1 // 0), writer.submit(lambda: 7)
    gate.set()
    with pytest.raises(ZeroDivisionError):
        wrong.result(5.0)
    assert (first.result(5.0), right.result(5.0)) == (True, 7)


def test_a_cancelled_task_does_not_run(writer: WriterThread) -> None:
    log = TaskLog(writer)
    done: list[int] = []
    assert writer.submit(lambda: done.append(1)).cancel()
    log.add()
    assert sorted(log.run()) == sorted(batches(2))
    assert done == []


def test_shutdown_runs_waiting_tasks_and_accepts_no_others(writer: WriterThread) -> None:
    log = TaskLog(writer)
    log.add()
    writer.shutdown()
    assert sorted(log.run()) == sorted(batches(2))
    with pytest.raises(RuntimeError, match="shut down"):
        writer.submit(str)
