"""Common parts of streams of server-sent events (HTML Living Standard, 9.2)."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from linkspan.api.http.messages import Request
from linkspan.api.http.route import Receive

HEADERS: Final = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]
"""Headers of the response: no proxy may keep an event back."""
MEDIA_TYPE: Final = b"text/event-stream"


def is_wanted(request: Request) -> bool:
    """True if a client asks for a stream, where a page would do."""
    return request.method == "GET" and MEDIA_TYPE in (request.header(b"accept") or b"")


async def disconnect(receive: Receive) -> None:
    """Returns when the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def wait(news: asyncio.Event, disconnected: asyncio.Future[Any], seconds: float) -> None:
    """Waits for news or for the client to go, for so many seconds at most."""
    waiting: asyncio.Future[Any] = asyncio.ensure_future(news.wait())
    try:
        await asyncio.wait({waiting, disconnected}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
