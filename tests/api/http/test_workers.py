"""Worker threads: results and errors reach the coroutine that waits, threads come when they are needed, calls end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from linkspan.api.http.workers import Workers

Test = Callable[[Workers], Awaitable[None]]


def run(test: Test, count: int = 3) -> None:
    workers = Workers(count, "worker")
    try:
        asyncio.run(asyncio.wait_for(test(workers), 30.0))
    finally:
        workers.close()


def test_a_result_and_an_error_reach_the_one_who_waits() -> None:
    async def test(workers: Workers) -> None:
        wrong, right = workers.run(lambda: 1 // 0), workers.run(int.__add__, 3, 4)
        assert await right == 7
        with pytest.raises(ZeroDivisionError):
            await wrong

    run(test)


def test_one_call_after_the_other_has_one_thread() -> None:
    async def test(workers: Workers) -> None:
        assert {await workers.run(threading.get_ident) for _ in range(20)} == {await workers.run(threading.get_ident)}

    run(test)


def test_calls_at_once_have_as_many_threads_as_there_may_be() -> None:
    async def test(workers: Workers) -> None:
        meeting, busy = threading.Barrier(4), threading.Event()
        held = [workers.run(meeting.wait, 20.0) for _ in range(3)]
        waiting = workers.run(busy.is_set)
        await asyncio.sleep(0)
        assert not waiting.done()
        # The fourth party is here: had there been a fourth thread, it would have answered False by then.
        busy.set()
        await asyncio.to_thread(meeting.wait, 20.0)
        await asyncio.gather(*held)
        assert await waiting is True

    run(test)


def test_a_cancelled_call_is_not_made() -> None:
    async def test(workers: Workers) -> None:
        gate, made = threading.Event(), list[int]()
        first = workers.run(gate.wait)
        second = workers.run(made.append, 1)
        second.cancel()
        gate.set()
        await first
        await workers.run(str)
        assert made == []

    run(test, 1)


def test_a_call_whose_waiter_left_ends_and_its_thread_goes_on() -> None:
    async def test(workers: Workers) -> None:
        gate = threading.Event()
        workers.run(gate.wait).cancel()
        gate.set()
        assert await workers.run(str, 5) == "5"

    run(test, 1)


def test_after_the_end_waiting_calls_are_made_and_no_others() -> None:
    async def test(workers: Workers) -> None:
        gate = threading.Event()
        held, waiting = workers.run(gate.wait), [workers.run(str, number) for number in range(5)]
        workers.close()
        with pytest.raises(RuntimeError, match="closed"):
            workers.run(str)
        gate.set()
        assert await held
        assert await asyncio.gather(*waiting) == ["0", "1", "2", "3", "4"]

    run(test)


def test_all_threads_end() -> None:
    before = set(threading.enumerate())

    async def test(workers: Workers) -> None:
        meeting = threading.Barrier(3)
        await asyncio.gather(*(workers.run(meeting.wait, 20.0) for _ in range(3)))

    run(test)
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith("worker"):
            thread.join(20.0)
            assert not thread.is_alive()


def test_the_loop_may_be_closed_before_a_call_ends() -> None:
    gate, ended = threading.Event(), threading.Event()
    workers = Workers(1, "worker")

    async def leave() -> None:
        workers.run(gate.wait)

    asyncio.run(leave())
    gate.set()

    async def again() -> None:
        await workers.run(ended.set)

    # The thread has survived the closed loop.
    asyncio.run(asyncio.wait_for(again(), 20.0))
    assert ended.is_set()
    workers.close()
