"""Starlette's test client with one change of threads for each request: its own seven take most of the time."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import unquote

import httpx
from starlette.testclient import TestClient

Message = MutableMapping[str, Any]


class QuickClient(TestClient):
    """An HTTP client of an ASGI application in this process."""

    def __init__(self, app: Any) -> None:
        super().__init__(app)
        self._transport = _Transport(self)


class _Transport(httpx.BaseTransport):
    def __init__(self, client: TestClient) -> None:
        self._client = client

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": request.method,
            "path": unquote(request.url.path),
            "raw_path": request.url.raw_path.split(b"?", 1)[0],
            "root_path": "",
            "scheme": request.url.scheme,
            "query_string": request.url.query,
            "headers": [(key.lower(), value) for key, value in request.headers.raw],
            "client": ("127.0.0.1", 50000),
            "server": (request.url.host, request.url.port or 80),
            "extensions": {},
            "state": {},
        }
        with self._client._portal_factory() as portal:
            start, body = portal.call(_answer, self._client.app, scope, request.read())
        return httpx.Response(start["status"], headers=start["headers"], stream=httpx.ByteStream(body), request=request)


async def _answer(app: Any, scope: Message, body: bytes) -> tuple[Message, bytes]:
    """The message that starts the answer, and its body."""
    requests = [{"type": "http.request", "body": body, "more_body": False}]
    complete = asyncio.Event()
    answer: list[Message] = []

    async def receive() -> Message:
        if requests:
            return requests.pop()
        await complete.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        answer.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            complete.set()

    await app(scope, receive, send)
    start, *parts = answer
    return start, b"".join(part.get("body", b"") for part in parts)
