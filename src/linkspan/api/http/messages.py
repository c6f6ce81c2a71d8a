"""Requests and responses as plain values: input and output of handlers, in a worker thread.

A handler is `Request -> Response`. It knows no ASGI, event loop or socket, so a test can call it. It may be called
twice for one request, when another transaction was faster.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from linkspan.api.http.caller import NOBODY
from linkspan.core.addresses import is_loopback
from linkspan.core.errors import ApiError

Header = tuple[bytes, bytes]
JSON: Final[Header] = (b"content-type", b"application/json")
_BASIC: Final = 'Basic realm="linkspan", charset="UTF-8"'
_HOST = re.compile(rb"[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?")

encode: Final = msgspec.json.Encoder().encode


class Request:
    """One request. `id`: the part of the path in the place of the route's `{id}`, "" if it has none; `source`: the
    client's address; `certificate`: the SHA-256 of the client's certificate, in hexadecimal, empty if it has none;
    `left`: returns whether the client has left; `caller`: set by the dispatcher after authentication."""

    __slots__ = (
        "body",
        "caller",
        "certificate",
        "headers",
        "id",
        "left",
        "method",
        "path",
        "public_url",
        "query",
        "request_id",
        "scheme",
        "server",
        "source",
    )

    def __init__(
        self,
        method: str,
        path: str,
        id: str = "",
        *,
        query: str = "",
        body: bytes = b"",
        headers: Sequence[Header] = (),
        scheme: str = "http",
        server: str = "localhost",
        request_id: str = "",
        source: str = "",
        certificate: str = "",
        public_url: str = "",
        left: Callable[[], bool] = lambda: False,
    ) -> None:
        self.method = method
        self.path = path
        self.id = id
        self.query = query
        self.body = body
        self.headers = headers
        self.scheme = scheme
        self.server = server
        self.request_id = request_id
        self.source = source
        self.certificate = certificate
        self.public_url = public_url
        self.left = left
        self.caller = NOBODY

    def header(self, name: bytes) -> bytes | None:
        """The value of a header, by its lower-case name."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    def parameters(self) -> list[tuple[str, str]]:
        """The pairs of the query string."""
        return parse_qsl(self.query, keep_blank_values=True) if self.query else []

    @property
    def is_local(self) -> bool:
        """True if the client is on this machine: at a loopback address, or at the address that it connected to."""
        return not self.source or is_loopback(self.source) or self.source == self.server.rpartition(":")[0]

    @property
    def base(self) -> str:
        """The API's root for links: the public URL if there is one, else scheme and host as the client wrote them.

        What cannot be a host is replaced by our own address.
        """
        if self.public_url:
            return self.public_url
        host = self.header(b"host") or b""
        return f"{self.scheme}://{host.decode() if _HOST.fullmatch(host) else self.server}"


class WaitFor(msgspec.Struct, frozen=True):
    """A condition that the answer waits for, in no worker thread: until `done()` is true, at most `seconds`.

    `waiter`: from `Notifier.register`; `done` is called in a worker thread each time the waiter is woken. `then`: the
    handler that makes the answer afterwards; without it the answer is there already.
    """

    waiter: Any
    done: Callable[[], bool]
    seconds: float
    then: Callable[[Request], Response] | None = None


class After(msgspec.Struct, frozen=True):
    """Work in another thread that the answer waits for, in no worker thread. If it comes to nothing, `otherwise` is the
    handler of the request."""

    done: Future[bool]
    otherwise: Callable[[Request], Response]


class Response:
    """One response. `wait_for`, `after`: what it is delayed for, if anything."""

    __slots__ = ("after", "body", "headers", "status", "wait_for")

    def __init__(
        self,
        status: int,
        body: bytes = b"",
        headers: tuple[Header, ...] = (JSON,),
        wait_for: WaitFor | None = None,
        after: After | None = None,
    ) -> None:
        self.after = after
        self.status = status
        self.body = body
        self.headers = headers
        self.wait_for = wait_for


Handler = Callable[[Request], Response]


def ok(value: Any, status: int = 200) -> Response:
    """A value as JSON."""
    return Response(status, encode(value))


def no_content(wait_for: WaitFor | None = None) -> Response:
    """204."""
    return Response(204, b"", (), wait_for)


def neutron_error(type: str, message: str, status: int) -> Response:
    """An error in the shape that OpenStack's network clients render."""
    return Response(status, encode({"NeutronError": {"type": type, "message": message, "detail": ""}}))


class Unauthorized(ApiError):
    """A 401 with its own challenge: the WWW-Authenticate header, which says how to authenticate."""

    def __init__(self, message: str, challenge: str) -> None:
        super().__init__("Unauthorized", message)
        self.challenge = challenge


def error_response(problem: ApiError, keystone: bool = False) -> Response:
    """The response to an error: in Keystone's shape if `keystone`, and always for a 401."""
    status = problem.status
    headers: tuple[Header, ...] = (JSON,)
    if status == 401:
        challenge = problem.challenge if isinstance(problem, Unauthorized) else _BASIC
        headers = (JSON, (b"www-authenticate", challenge.encode("latin-1")))
    elif status in (429, 503):
        # Whole seconds (RFC 9110 10.2.3), never too few.
        headers = (JSON, (b"retry-after", str(math.ceil(problem.wait)).encode()))
    if keystone or status == 401:
        error = {"code": status, "title": HTTPStatus(status).phrase, "message": problem.message}
        return Response(status, encode({"error": error}), headers)
    response = neutron_error(problem.type, problem.message, status)
    return Response(status, response.body, headers)
