"""The port through which a request gets its caller."""

from __future__ import annotations

from typing import Protocol

from linkspan.api.http.caller import Caller
from linkspan.api.http.messages import Request


class Authenticator(Protocol):
    """Identifies the caller of a request."""

    def cached(self, call: Request) -> Caller | None:
        """The identity of a request if it is known without waiting for anything; None: `identify` has to be asked.

        Called where others wait, so it may not. Raises ApiError Unauthorized for what needs no look to be refused.
        """

    def identify(self, call: Request) -> Caller:
        """The identity of a request. Raises ApiError Unauthorized."""
