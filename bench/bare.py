"""Bare Starlette endpoints: the cost of the web stack without an application.

Each decodes the request body and encodes the body that the API would return, without using either. Run as a process of
its own: `python -m bench.bare PORT FOLDER`; a file in FOLDER is the response of the path of its name.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def app(answers: dict[str, Any]) -> Starlette:
    """Return an application with one path for each response."""

    async def endpoint(request: Request) -> Response:
        body = await request.body()
        if body:
            msgspec.json.decode(body)
        content = msgspec.json.encode(answers[request.path_params["name"]])
        return Response(content, media_type="application/json")

    return Starlette(routes=[Route("/{name}", endpoint, methods=["GET", "POST", "PUT"])])


def main() -> None:
    """Serve until the process is terminated."""
    port, folder = int(sys.argv[1]), Path(sys.argv[2])
    answers = {file.name: msgspec.json.decode(file.read_bytes()) for file in folder.iterdir()}
    uvicorn.run(app(answers), host="127.0.0.1", port=port, access_log=False, log_level="warning", timeout_keep_alive=75)


if __name__ == "__main__":
    main()
