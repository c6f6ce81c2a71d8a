"""The port through which a request gets its caller."""

from __future__ import annotations

from typing import Protocol

from linkspan.api.http.caller import Caller
from linkspan.api.http.messages import Request


class Authenticator(Protocol):
    """Identifies the caller of a request."""

    def cached(self, request: Request) -> Caller | None:
        """Returns the caller if that is known without any I/O; None: call `identify`.

        Must not block, because it runs in the threads of the handlers. Raises ApiError Unauthorized if no I/O is needed
        to refuse the request.
        """

    def identify(self, request: Request) -> Caller:
        """Returns the caller of a request; may block. Raises ApiError Unauthorized."""
