"""A route: method and path, what answers, and what the OpenAPI document says of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec

from linkspan.api.http.messages import Handler, Request, Response
from linkspan.api.http.operation import Operation

AsgiScope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Run = Callable[[Handler, Request], Awaitable[Response]]
Stream = Callable[[Request, Receive, Send, Run], Awaitable[None]]
AsgiApplication = Callable[[AsgiScope, Receive, Send], Awaitable[None]]


class Route(msgspec.Struct, frozen=True):
    """A path, with `{id}` for an id, and what answers. `stream`: it answers by itself, on the event loop; of a route
    for users only if the client asks for a stream of events.

    Of several ids, as in `/users/{id}/application_credentials/{id}`, the request's `id` is "first/second".
    """

    method: str
    path: str
    handler: Handler | None = None
    public: bool = False
    """True if no caller is required; handlers of agents check their token themselves."""
    admit: Callable[[Request], Response | None] | None = None
    """Of a public route with credentials of its own: refuses a request before its body is read; None admits it."""
    bodiless: bool = False
    """True if it answers without looking at the body, which is then not read."""
    stream: Stream | None = None
    largest_body: int = 0
    """Bytes; 0: the server's own limit."""
    keystone: bool = False
    """True for the embedded Keystone: the handler may verify passwords, and errors have Keystone's shape."""
    operation: Operation | None = None
    """The description for OpenAPI; None: not for users."""
