"""The caller of a request as the audit trail names it."""

from __future__ import annotations

from linkspan.api.http.messages import Request
from linkspan.store.audit import Actor


def actor_of(request: Request) -> Actor:
    """The sender of a request."""
    caller = request.caller
    return Actor(caller.user_id, caller.name, caller.project_id, request.request_id, request.source)
