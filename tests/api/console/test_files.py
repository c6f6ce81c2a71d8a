"""The files of the console as the API serves them."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from linkspan.api.console.files import PAGE, ConsoleFiles, prefers_page
from linkspan.api.http.messages import Request, Response
from tests.api.world import Api

SCRIPT: Final = b"console.log('a script')" * 50


@pytest.fixture
def site(tmp_path: Path) -> ConsoleFiles:
    """A site of a page, an icon and a script."""
    (tmp_path / "assets").mkdir()
    (tmp_path / PAGE).write_text("<!doctype html><title>x</title>")
    (tmp_path / "favicon.svg").write_text("<svg/>")
    (tmp_path / "assets" / "index-1a2b.js").write_bytes(SCRIPT)
    return ConsoleFiles(tmp_path)


def get(site: ConsoleFiles, path: str, **headers: str) -> Response:
    for route in site.routes():
        head, _, name = route.path.partition("{id}")
        if route.handler and (path.rstrip("/") == route.path or (name == "" and "{id}" in route.path)):
            rest = path.removeprefix(head)
            if path.rstrip("/") == route.path or (path.startswith(head) and "/" not in rest):
                sent = [(key.replace("_", "-").encode(), value.encode()) for key, value in headers.items()]
                return route.handler(Request("GET", path, rest, headers=sent))
    raise AssertionError(path)


def heads(response: Response) -> Mapping[bytes, bytes]:
    return dict(response.headers)


def test_the_page_is_not_stored_and_loads_from_nowhere_else(site: ConsoleFiles) -> None:
    response = get(site, "/console/")
    assert response.body.startswith(b"<!doctype html>")
    assert heads(response)[b"cache-control"] == b"no-store"
    policy = heads(response)[b"content-security-policy"]
    assert b"default-src 'self'" in policy
    assert b"unsafe" not in policy
    assert b"frame-ancestors 'none'" in policy


def test_an_asset_is_kept_for_ever_and_compressed(site: ConsoleFiles) -> None:
    path = "/console/assets/index-1a2b.js"
    plain, small = get(site, path), get(site, path, accept_encoding="br, gzip")
    assert plain.body == SCRIPT
    assert gzip.decompress(small.body) == SCRIPT
    assert heads(small)[b"content-encoding"] == b"gzip"
    assert b"immutable" in heads(plain)[b"cache-control"]
    assert heads(plain)[b"content-type"].startswith(b"text/javascript")
    assert heads(plain)[b"x-content-type-options"] == b"nosniff"


@pytest.mark.parametrize("path", ["/console/assets/other.js", "/console/passwd", "/console/..", "/console/assets/.."])
def test_what_is_not_there_is_a_404(site: ConsoleFiles, path: str) -> None:
    assert get(site, path).status == 404


def test_without_a_slash_the_page_moves_to_where_its_links_work(site: ConsoleFiles) -> None:
    response = get(site, "/console")
    assert (response.status, heads(response)[b"location"]) == (302, b"console/")


def test_a_checkout_that_was_not_built_says_how(tmp_path: Path) -> None:
    response = get(ConsoleFiles(tmp_path / "none"), "/console/")
    assert response.status == 200
    assert b"./dev console" in response.body
    assert b"content-security-policy" in heads(response)


@pytest.mark.parametrize(
    ("accept", "page"),
    [
        ("text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8", True),
        ("text/html", True),
        ("*/*", False),
        ("application/json", False),
        ("application/json, text/html", False),
        ("text/html;q=0.5, application/json", False),
        ("text/html;q=rubbish", False),
        ("text/*", False),
        ("", False),
    ],
)
def test_only_browsers_are_led_to_the_console(api: Api, accept: str, page: bool) -> None:
    assert prefers_page(Request("GET", "/", headers=[(b"accept", accept.encode())])) is page
    response = api.client.get("/", headers={"accept": accept}, follow_redirects=False)
    assert response.status_code == (302 if page else 200)
    if not page:
        assert "versions" in response.json()
