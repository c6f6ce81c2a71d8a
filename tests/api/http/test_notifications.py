"""`Notifier`: wakes waiters and streams from worker threads, and keeps no closed waiter or stream."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from linkspan.api.http.notifications import MOST_STREAMS, Notifier


def call_in_thread(call: Any, *args: Any) -> None:
    """Calls a function in another thread, as a worker thread does."""
    thread = threading.Thread(target=call, args=args)
    thread.start()
    thread.join()


def test_a_waiter_is_woken_by_its_key_only() -> None:
    async def run() -> None:
        notifier = Notifier()
        notifier.attach(asyncio.get_running_loop())
        mine, other = notifier.register("a"), notifier.register("b")
        call_in_thread(notifier.changed, ["a", "c"])
        assert await mine.wait(1.0)
        assert not await mine.wait(0.01)
        assert not await other.wait(0.01)
        call_in_thread(notifier.changed, ["a"])
        assert await mine.wait(1.0)
        for waiter in (mine, mine, other):
            notifier.forget(waiter)
        assert not notifier._waiters

    asyncio.run(run())


def test_a_change_before_the_wait_is_not_missed() -> None:
    async def run() -> None:
        notifier = Notifier()
        notifier.attach(asyncio.get_running_loop())
        waiter = notifier.register("a")
        call_in_thread(notifier.changed, ["a"])
        await asyncio.sleep(0.05)
        assert await waiter.wait(1.0)

    asyncio.run(run())


def test_a_stream_gets_the_newest_revision_of_its_node() -> None:
    async def run() -> None:
        notifier = Notifier()
        notifier.attach(asyncio.get_running_loop())
        first, second, other = notifier.subscribe("n"), notifier.subscribe("n"), notifier.subscribe("m")
        call_in_thread(notifier.publish, {"n": 42, "x": 1})
        call_in_thread(notifier.publish, {"n": 41})
        assert await first.wait(1.0)
        assert await second.wait(1.0)
        assert not await other.wait(0.01)
        assert (first.revision, second.revision, other.revision) == (42, 42, 0)
        for stream in (first, second, other, other):
            notifier.unsubscribe(stream)
        assert not notifier._streams

    asyncio.run(run())


def test_closing_wakes_every_waiter_and_stream() -> None:
    async def run() -> None:
        notifier = Notifier()
        notifier.attach(asyncio.get_running_loop())
        waiting = [notifier.register("a"), notifier.subscribe("n")]
        notifier.close()
        assert notifier.closed
        for waiter in waiting:
            assert await waiter.wait(1.0)

    asyncio.run(run())


def test_notifying_without_a_running_loop_does_nothing() -> None:
    notifier = Notifier()
    notifier.register("a")
    notifier.changed(["a"])
    notifier.publish({"n": 1})

    async def once() -> None:
        notifier.attach(asyncio.get_running_loop())

    asyncio.run(once())
    notifier.changed(["a"])
    notifier.close()


def test_a_node_has_few_streams_and_the_newest_ones() -> None:
    notifier = Notifier()
    streams = [notifier.subscribe("north") for _ in range(300)]
    other = notifier.subscribe("south")
    assert [stream.superseded for stream in streams] == [True] * (300 - MOST_STREAMS) + [False] * MOST_STREAMS
    assert not other.superseded
    notifier.publish({"north": 7, "south": 3})
    assert [stream.revision for stream in streams] == [0] * (300 - MOST_STREAMS) + [7] * MOST_STREAMS
    assert other.revision == 3
    for stream in streams:
        notifier.unsubscribe(stream)
