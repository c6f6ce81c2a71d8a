"""Protection from other sites in a user's browser: their pages neither call the API nor read from it.

A browser adds credentials of HTTP Basic that it keeps to requests of any page, and needs none without authentication.
It says where a request comes from (`Sec-Fetch-Site`, `Origin`), which a page cannot change. By DNS rebinding a page of
another site comes to have the API's address under its own name: then the name in `Host` is not the API's. Programs send
neither `Sec-Fetch-Site` nor `Origin`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Set
from typing import Final
from urllib.parse import urlsplit

from linkspan.api.http.messages import Request
from linkspan.core.errors import ApiError

_OWN: Final = (b"same-origin", b"none")
_PORTS: Final = {"http": ":80", "https": ":443"}


class SameSite:
    """The names and origins of one API."""

    def __init__(self, hosts: Set[str] | None = None, public_url: str = "") -> None:
        """`hosts`: the names under which clients reach the API, besides addresses, `localhost` and the name in
        `public_url`; None: any name."""
        public = urlsplit(public_url)
        names = {"localhost", public.hostname or "localhost", *(hosts or ())}
        self._hosts = None if hosts is None else {name.lower().rstrip(".") for name in names}
        self._public = _place(public_url) if public_url else ""

    def check(self, request: Request) -> None:
        """Raises ApiError HTTPForbidden for a request of another site's page."""
        hosts = [value.decode("latin-1").lower() for name, value in request.headers if name == b"host"]
        if self._hosts is not None:
            for host in hosts:
                name = _name(host)
                if name not in self._hosts and not _is_address(name):
                    raise ApiError(
                        "HTTPForbidden", "The name in Host is not one of this API: see the setting api.hosts"
                    )
        site = request.header(b"sec-fetch-site")
        if site is not None and site not in _OWN and not _is_followed_link(request):
            raise _cross_site()
        origin = request.header(b"origin")
        if origin is not None and site not in _OWN:
            text = origin.decode("latin-1").lower()
            own = {host.removesuffix(_PORTS.get(text.partition(":")[0], ":")) for host in hosts}
            if _place(text) not in own | {self._public}:
                raise _cross_site()


def _is_followed_link(request: Request) -> bool:
    """True if a user follows a link to here: the other page does not see the answer, and GET changes nothing."""
    return request.method in ("GET", "HEAD") and (
        (request.header(b"sec-fetch-mode"), request.header(b"sec-fetch-dest")) == (b"navigate", b"document")
    )


def _place(url: str) -> str:
    """Host and port of a URL as in `Host`, without the port if it is the scheme's own."""
    scheme, _, place = url.lower().partition("://")
    return place.partition("/")[0].removesuffix(_PORTS.get(scheme, ":"))


def _name(host: str) -> str:
    """The name or address in a `Host`, without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _cross_site() -> ApiError:
    return ApiError("HTTPForbidden", "This request comes from a page of another site")
