"""`/console/`: the static files of the web console, as `./dev console` built them.

Names of assets carry a hash of their content, so that they are cached for ever; the page itself is never stored.
Nothing loads from another origin (CSP Level 3).
"""

from __future__ import annotations

import gzip
import mimetypes
import threading
from pathlib import Path
from typing import Final

import msgspec

from linkspan.api.http.dispatcher import not_found
from linkspan.api.http.messages import Header, Request, Response
from linkspan.api.http.route import Route

PATH: Final = "/console"
FILES: Final = Path(__file__).parent / "static"
PAGE: Final = "index.html"
_SECURITY: Final[tuple[Header, ...]] = (
    (
        b"content-security-policy",
        b"default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
_FOR_EVER: Final[Header] = (b"cache-control", b"public, max-age=31536000, immutable")
_NOT_STORED: Final[Header] = (b"cache-control", b"no-store")
_NOT_BUILT: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Linkspan</title>
<h1>The console is not built</h1>
<p>The API works. This checkout has no console yet: <code>./dev console</code> builds it, and <code>./dev run</code>
does so before it starts. A package from PyPI has it.</p>
</html>
"""


class _File(msgspec.Struct, frozen=True):
    content: bytes
    compressed: bytes
    type: bytes


class ConsoleFiles:
    """Handlers of the console's files, which are read once, at the first request."""

    def __init__(self, folder: Path = FILES) -> None:
        self._folder = folder
        self._files: dict[str, _File] = {}
        self._reading = threading.Lock()

    def routes(self) -> list[Route]:
        """All paths."""
        return [
            Route("GET", PATH, self.page, public=True),
            Route("GET", f"{PATH}/{{id}}", self.file, public=True),
            Route("GET", f"{PATH}/assets/{{id}}", self.asset, public=True),
        ]

    def page(self, request: Request) -> Response:
        """The page; a redirection to the path that ends in a slash, on which its relative links rest."""
        if not request.path.endswith("/"):
            return to_console("console/")
        file = self._find(PAGE)
        if file is None:
            return Response(200, _NOT_BUILT.encode(), (*_head(b"text/html; charset=utf-8"), _NOT_STORED))
        return _sent(request, file, _NOT_STORED)

    def file(self, request: Request) -> Response:
        """A file beside the page."""
        return self._named(request, request.id, _NOT_STORED)

    def asset(self, request: Request) -> Response:
        """A file whose name changes with its content."""
        return self._named(request, f"assets/{request.id}", _FOR_EVER)

    def _named(self, request: Request, name: str, cache: Header) -> Response:
        file = self._find(name)
        return not_found(request) if file is None else _sent(request, file, cache)

    def _find(self, name: str) -> _File | None:
        with self._reading:
            if not self._files:
                self._files = _read(self._folder)
        return self._files.get(name)


def browsers_to_console(route: Route) -> Route:
    """The route of the API's root, with a redirection of browsers to the console; any other route as it is."""
    handler = route.handler
    if route.path != "/" or handler is None:
        return route
    return msgspec.structs.replace(
        route, handler=lambda request: to_console("console/") if prefers_page(request) else handler(request)
    )


def to_console(location: str) -> Response:
    """A redirection to the console."""
    return Response(302, b"", ((b"location", location.encode()), (b"vary", b"Accept"), _NOT_STORED))


def prefers_page(request: Request) -> bool:
    """True if `Accept` names HTML, and nothing before it (RFC 9110 12.5.1): a browser, not a client of the API."""
    weights: dict[str, float] = {}
    for part in (request.header(b"accept") or b"").decode("latin-1").lower().split(","):
        name, *parameters = (item.strip() for item in part.split(";"))
        quality = next((item[2:] for item in parameters if item.startswith("q=")), "1")
        try:
            weights[name] = float(quality)
        except ValueError:
            weights[name] = 0.0
    json = weights.get("application/json", weights.get("application/*", weights.get("*/*", 0.0)))
    return weights.get("text/html", 0.0) > json


def _read(folder: Path) -> dict[str, _File]:
    files = {}
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if path.is_file():
            content = path.read_bytes()
            type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
            suffix = "; charset=utf-8" if type.startswith("text/") else ""
            files[path.relative_to(folder).as_posix()] = _File(
                content, gzip.compress(content, mtime=0), f"{type}{suffix}".encode()
            )
    return files


def _sent(request: Request, file: _File, cache: Header) -> Response:
    headers = (*_head(file.type), cache, (b"vary", b"Accept-Encoding"))
    if b"gzip" in (request.header(b"accept-encoding") or b""):
        return Response(200, file.compressed, (*headers, (b"content-encoding", b"gzip")))
    return Response(200, file.content, headers)


def _head(type: bytes) -> tuple[Header, ...]:
    return (b"content-type", type), *_SECURITY
