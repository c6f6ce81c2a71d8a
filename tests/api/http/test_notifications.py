"""The hub: who is woken by what, from which thread, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

from linkspan.api.http.notifications import Notifier


def attached(test: Coroutine[Any, Any, None]) -> None:
    """Runs a test in an event loop."""
    asyncio.run(test)


def from_a_thread(call: Any, *given: Any) -> None:
    """Calls something as a worker thread would."""
    thread = threading.Thread(target=call, args=given)
    thread.start()
    thread.join()


def test_a_ticket_is_woken_by_its_key_only() -> None:
    async def run() -> None:
        notifier = Notifier()
        notifier.attach(asyncio.get_running_loop())
        mine, other = notifier.register("a"), notifier.register("b")
        from_a_thread(notifier.changed, ["a", "c"])
        assert await mine.wait(1.0)
        assert not await mine.wait(0.01)
        assert not await other.wait(0.01)
        from_a_thread(notifier.changed, ["a"])
        assert await mine.wait(1.0)
        for waiter in (mine, mine, other):
            notifier.forget(waiter)
        assert not notifier._waiters

    attached(run())


def test_news_before_the_wait_are_not_missed() -> None:
    async def run() -> None:
        notifier = Notifier()
        notifier.attach(asyncio.get_running_loop())
        waiter = notifier.register("a")
        from_a_thread(notifier.changed, ["a"])
        await asyncio.sleep(0.05)
        assert await waiter.wait(0.0 + 1.0)

    attached(run())


def test_a_stream_hears_the_newest_revision_of_its_node() -> None:
    async def run() -> None:
        notifier = Notifier()
        notifier.attach(asyncio.get_running_loop())
        first, second, other = notifier.subscribe("n"), notifier.subscribe("n"), notifier.subscribe("m")
        from_a_thread(notifier.publish, {"n": 42, "x": 1})
        from_a_thread(notifier.publish, {"n": 41})
        assert await first.wait(1.0)
        assert await second.wait(1.0)
        assert not await other.wait(0.01)
        assert (first.revision, second.revision, other.revision) == (42, 42, 0)
        for stream in (first, second, other, other):
            notifier.unsubscribe(stream)
        assert not notifier._streams

    attached(run())


def test_closing_wakes_everybody() -> None:
    async def run() -> None:
        notifier = Notifier()
        notifier.attach(asyncio.get_running_loop())
        waiting = [notifier.register("a"), notifier.subscribe("n")]
        notifier.close()
        assert notifier.closed
        for each in waiting:
            assert await each.wait(1.0)

    attached(run())


def test_without_a_loop_nobody_is_woken_and_nothing_breaks() -> None:
    notifier = Notifier()
    notifier.register("a")
    notifier.changed(["a"])
    notifier.publish({"n": 1})

    async def once() -> None:
        notifier.attach(asyncio.get_running_loop())

    asyncio.run(once())
    notifier.changed(["a"])
    notifier.close()
