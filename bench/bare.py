"""A bare Starlette endpoint: what the web stack costs with no application in it.

Takes the body that the API would take and gives back the body that the API would give, without looking at either.
Run as a process of its own: `python -m bench.bare PORT ANSWER`, where ANSWER is a file.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def app(answer: bytes) -> Starlette:
    """One path for every method."""
    content = msgspec.json.decode(answer)

    async def endpoint(request: Request) -> Response:
        body = await request.body()
        if body:
            msgspec.json.decode(body)
        return Response(msgspec.json.encode(content), media_type="application/json")

    return Starlette(routes=[Route("/", endpoint, methods=["GET", "POST"])])


def main() -> None:
    """Serve until ended."""
    port, answer = int(sys.argv[1]), Path(sys.argv[2]).read_bytes()
    uvicorn.run(app(answer), host="127.0.0.1", port=port, access_log=False, log_level="warning")


if __name__ == "__main__":
    main()
