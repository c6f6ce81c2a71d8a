"""Work of several threads is done together, and each thread learns of its own."""

from __future__ import annotations

import threading
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor

import pytest

from linkspan.drivers.gateway.batches import Batches
from tests.harness.world import until

OTHERS = 5


class Work:
    """Records its calls; the first one waits until `OTHERS` more requests wait. Refuses the word "bad"."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.gate = threading.Event()
        self.batches: Batches[str] = Batches(self)

    def __call__(self, items: Collection[str]) -> None:
        self.calls.append(sorted(items))
        self.gate.wait(20.0)
        if "bad" in items:
            raise OSError("it is bad")

    def run(self, *others: str) -> list[BaseException | None]:
        """Ask for "first", and for the others by a thread each while that is done; what each of these got."""
        with ThreadPoolExecutor(1 + len(others)) as pool:
            first = pool.submit(self.batches.run, ["first"])
            until(lambda: self.calls == [["first"]], 10.0)
            waiting = [pool.submit(self.batches.run, [word]) for word in others]
            until(lambda: len(self.batches._waiting) == len(others), 10.0)
            self.gate.set()
            first.result(10.0)
            return [future.exception(10.0) for future in waiting]


def test_what_waits_is_done_at_once() -> None:
    work = Work()
    assert work.run("a", "b", "c", "d", "e") == [None] * OTHERS
    assert work.calls == [["first"], ["a", "b", "c", "d", "e"]]


def test_one_alone_does_not_wait_for_others() -> None:
    work = Work()
    work.gate.set()
    work.batches.run(["a"])
    work.batches.run(["b", "c"])
    assert work.calls == [["a"], ["b", "c"]]


def test_who_asked_for_what_fails_gets_the_error_and_nobody_else() -> None:
    work = Work()
    answers = work.run("a", "bad", "c")
    assert [type(answer) for answer in answers] == [type(None), OSError, type(None)]
    assert work.calls[1] == ["a", "bad", "c"]
    assert sorted(work.calls[2:]) == [["a"], ["bad"], ["c"]]


def test_one_alone_fails_once() -> None:
    work = Work()
    work.gate.set()
    with pytest.raises(OSError, match="bad"):
        work.batches.run(["bad"])
    assert work.calls == [["bad"]]
