"""The Keystone that logs users of the console in: the embedded one, or that of an OpenStack cloud.

A request is handed on as it is, and nothing of it is kept.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Protocol

import httpx
import structlog

from linkspan.api.http.messages import JSON, Header, Request, Response
from linkspan.api.http.route import Route
from linkspan.core.errors import ApiError, unauthorized

TOKENS: Final = "/v3/auth/tokens"
PROJECTS: Final = "/v3/auth/projects"
LARGEST: Final = 2**20
"""Bytes of an answer that is read."""
_SENT: Final = frozenset({b"x-auth-token", b"x-subject-token"})
_CONTENT: Final[Header] = (b"content-type", b"application/json")

_log = structlog.get_logger()


class IdentityService(Protocol):
    """A Keystone v3. `send` may block, and raises ApiError."""

    def send(self, request: Request) -> Response:
        """The answer to a request whose path is `TOKENS` or `PROJECTS`."""


class RoutedIdentityService:
    """A Keystone behind routes: those of the embedded one, or `routes_to` another one, with the limits around them."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._handlers = {
            (route.method, route.path): route.handler for route in routes if route.path in (TOKENS, PROJECTS)
        }

    def send(self, request: Request) -> Response:
        """The answer of the route. Raises ApiError."""
        handler = self._handlers[request.method, request.path]
        assert handler is not None
        return handler(request)


def routes_to(identity: IdentityService) -> list[Route]:
    """Routes, for `RoutedIdentityService` only, of an identity's requests."""
    lines = (("POST", TOKENS), ("GET", TOKENS), ("DELETE", TOKENS), ("GET", PROJECTS))
    return [Route(method, path, identity.send, public=True, keystone=True) for method, path in lines]


class ForwardedIdentityService:
    """An external Keystone: requests are forwarded to it over HTTP."""

    def __init__(self, auth_url: str, *, ca_file: Path | None = None, timeout: float = 5.0) -> None:
        """`auth_url` with or without /v3; `timeout` in seconds."""
        self._base = auth_url.rstrip("/").removesuffix("/v3")
        verify = ssl.create_default_context(cafile=str(ca_file)) if ca_file else True
        self._client = httpx.Client(verify=verify, timeout=timeout, follow_redirects=False)

    def send(self, request: Request) -> Response:
        """The answer of Keystone. Raises ApiError ServiceUnavailable."""
        headers = [(name, value) for name, value in request.headers if name in _SENT]
        url = f"{self._base}{request.path}" + ("?nocatalog" if request.path == TOKENS else "")
        try:
            answer = self._client.request(request.method, url, headers=[*headers, _CONTENT], content=request.body)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            _log.warning("keystone cannot be asked", reason=str(error) or type(error).__name__)
            raise ApiError("ServiceUnavailable", "Keystone cannot be asked now: try again") from None
        if answer.status_code == 401:
            raise unauthorized()
        if answer.status_code >= 500 or len(answer.content) > LARGEST:
            raise ApiError("ServiceUnavailable", "Keystone's answer cannot be used: try again")
        token = answer.headers.get("x-subject-token")
        subject: tuple[Header, ...] = () if token is None else ((b"x-subject-token", token.encode("latin-1")),)
        return Response(answer.status_code, answer.content, (JSON, *subject))
