"""Head and body of an answer reach the connection in one write, and everything in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from linkspan.api.http.joined_writes import JoinedWrites


class Recorder(asyncio.Transport):
    """A transport that records what is done with it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def write(self, data: Any) -> None:
        self.seen.append(data)

    def writelines(self, list_of_data: Any) -> None:
        self.seen.append(b"|".join(list_of_data))

    def get_write_buffer_size(self) -> int:
        return 5

    def is_closing(self) -> bool:
        return "close" in self.seen

    def close(self) -> None:
        self.seen.append("close")

    def abort(self) -> None:
        self.seen.append("abort")


def seen(*steps: Callable[[JoinedWrites], object]) -> list[Any]:
    """What a transport sees of these steps; "turn" marks the end of the loop's turn."""
    recorder = Recorder()

    async def run() -> None:
        joined = JoinedWrites(recorder, asyncio.get_running_loop())
        for step in steps:
            step(joined)
        recorder.seen.append("turn")
        await asyncio.sleep(0)

    asyncio.run(run())
    return recorder.seen


def write(data: bytes) -> Callable[[JoinedWrites], object]:
    return lambda joined: joined.write(data)


def test_head_and_body_are_one_write() -> None:
    assert seen(write(b"head"), write(b"body")) == [b"head|body", "turn"]


def test_what_follows_is_in_order() -> None:
    assert seen(write(b"head"), write(b"1"), write(b"2"), write(b"3"), write(b"4")) == [
        b"head|1",
        b"2|3",
        "turn",
        b"4",
    ]


def test_a_head_alone_is_sent_in_the_next_turn() -> None:
    assert seen(write(b"head")) == ["turn", b"head"]


def test_nothing_is_written_for_nothing() -> None:
    assert seen(write(b"")) == ["turn"]
    assert seen(write(b"head"), write(b"")) == [b"head|", "turn"]


def test_what_is_kept_is_sent_before_the_end_and_counts_as_unsent() -> None:
    sizes: list[int] = []
    steps = (write(b"head"), lambda joined: sizes.append(joined.get_write_buffer_size()), JoinedWrites.close)
    assert seen(*steps) == [b"head", "close", "turn"]
    assert sizes == [9]


def test_nothing_is_sent_after_an_abort() -> None:
    assert seen(write(b"head"), JoinedWrites.abort) == ["abort", "turn"]


def test_everything_else_is_the_transports() -> None:
    closing: list[bool] = []

    def look(joined: JoinedWrites) -> None:
        closing.append(joined.is_closing())

    seen(look, JoinedWrites.close, look)
    assert closing == [False, True]
