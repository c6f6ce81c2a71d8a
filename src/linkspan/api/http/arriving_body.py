"""A request's body as it arrives, within a budget for the bodies of all requests.

The dispatcher identifies the caller before it reads a body that has not come together with its head. Until then the
server holds what it reads ahead for any connection, 64 KiB and the rest of one read; it drops that with the answer.
Bodies of callers that are not identified, such as logins, have a budget of their own, so that strangers leave room to
everybody else. All of it runs on the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any, Final

from linkspan.api.http.messages import Request
from linkspan.api.http.route import Receive
from linkspan.core.errors import ApiError

TIME: Final = 30.0
"""Seconds in which a body has to arrive."""
SOON: Final = 0.02
"""Seconds to wait for a body before its caller is identified separately: most come right after their head."""
STRANGERS: Final = 4
"""The part of the budget that callers get who are not identified: one in so many bytes."""


class BodyBudget:
    """The bytes of request bodies that may be in memory at a time."""

    def __init__(self, total: int) -> None:
        self.left = total

    def take(self, size: int) -> bool:
        """Takes bytes out of the budget if it has that many."""
        if size > self.left:
            return False
        self.left -= size
        return True

    def give_back(self, size: int) -> None:
        """Returns bytes to the budget."""
        self.left += size


class ArrivingBody:
    """The body of one request. `release` has to be called at the end of the request."""

    def __init__(self, request: Request, receive: Receive, largest: int, is_whole: bool = False) -> None:
        """`is_whole`: nothing of it has to be waited for. Raises ApiError RequestTooLarge for a body that is announced
        as larger than `largest` bytes."""
        length = request.header(b"content-length")
        if length is not None and (not length.isdigit() or len(length) > 12 or int(length) > largest):
            raise _too_large(largest)
        self._receive = receive
        self._largest = largest
        # A client that waits for "100 Continue" gets it from the first call of `receive`.
        self._expects = request.header(b"expect") is not None
        self._is_whole = is_whole
        self._whole: MutableMapping[str, Any] | None = None
        self._first: asyncio.Future[MutableMapping[str, Any]] | None = None
        self._budget: BodyBudget | None = None
        self._taken = 0

    async def came_with_head(self, budget: BodyBudget) -> bool:
        """True if the whole body is there already, and has room in the budget."""
        if self._expects:
            return False
        if self._is_whole:
            self._whole = await self._receive()
            return len(_part(self._whole)) <= budget.left
        self._first = asyncio.ensure_future(self._receive())
        await asyncio.wait({self._first}, timeout=SOON)
        if not self._first.done():
            return False
        message = self._first.result()
        return not message.get("more_body") and len(_part(message)) <= budget.left

    async def read(self, budget: BodyBudget) -> bytes:
        """The whole body. Raises ApiError: RequestTooLarge; BadRequest if it is late; ServiceUnavailable without
        room."""
        self._budget = budget
        if self._whole is not None:
            return self._counted(self._whole)
        try:
            return await asyncio.wait_for(self._read(), TIME)
        except TimeoutError:
            raise ApiError("BadRequest", f"The request body did not arrive within {TIME:.0f} seconds") from None

    async def _read(self) -> bytes:
        message = await (self._first or self._receive())
        parts = [self._counted(message)]
        while message.get("more_body"):
            message = await self._receive()
            parts.append(self._counted(message))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _counted(self, message: MutableMapping[str, Any]) -> bytes:
        part = _part(message)
        if self._taken + len(part) > self._largest:
            raise _too_large(self._largest)
        assert self._budget is not None
        if not self._budget.take(len(part)):
            raise ApiError("ServiceUnavailable", "Too many request bodies at a time: try again")
        self._taken += len(part)
        return part

    def release(self) -> None:
        """Returns the body's bytes to the budget, and reads no more."""
        if self._first is not None:
            self._first.cancel()
        if self._budget is not None:
            self._budget.give_back(self._taken)
        self._taken = 0


def _part(message: MutableMapping[str, Any]) -> bytes:
    if message["type"] == "http.disconnect":
        raise ApiError("BadRequest", "The client left before its request was complete")
    part: bytes = message.get("body", b"")
    return part


def _too_large(largest: int) -> ApiError:
    return ApiError("RequestTooLarge", f"A request body can have {largest} bytes at most")
