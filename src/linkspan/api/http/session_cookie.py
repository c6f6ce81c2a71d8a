"""The cookie of the console, which holds a user's token where no script can read it.

Pages of other sites cannot use it: the cookie is SameSite=Strict (RFC 6265bis), it counts only with a header that a
page of another site cannot send, and `same_site` refuses what comes from one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from linkspan.api.http.messages import Header

NAME: Final = "linkspan_session"
CONSOLE: Final = b"x-linkspan-console"
"""The header of every request of the console."""
_CREDENTIALS: Final = frozenset({b"x-auth-token", b"authorization"})


def with_token(headers: list[Header]) -> list[Header]:
    """Headers with the token of the cookie as `X-Auth-Token`: of a request of the console that has no other
    credentials."""
    names = {name for name, _ in headers}
    if b"cookie" not in names or CONSOLE not in names or names & _CREDENTIALS:
        return headers
    token = _token(value for name, value in headers if name == b"cookie")
    return headers if token is None else [*headers, (b"x-auth-token", token)]


def is_console(headers: Iterable[Header]) -> bool:
    """True if a request comes from the console."""
    return any(name == CONSOLE for name, _ in headers)


def with_own_challenge(headers: Iterable[Header]) -> list[Header]:
    """Headers of an answer to the console: a browser would answer the challenge of HTTP Basic with its own dialog."""
    return [(name, b"Linkspan-Session" if name == b"www-authenticate" else value) for name, value in headers]


def _token(cookies: Iterable[bytes]) -> bytes | None:
    for cookie in b";".join(cookies).split(b";"):
        name, _, value = cookie.strip().partition(b"=")
        if name == NAME.encode() and value:
            return value
    return None


def cookie(token: bytes, *, secure: bool) -> Header:
    """The header that sets the cookie; with an empty token: removes it. `secure`: the console is reached by HTTPS."""
    parts = [NAME.encode() + b"=" + token, b"Path=/", b"HttpOnly", b"SameSite=Strict"]
    parts += [b"Secure"] * secure
    parts += [b"Max-Age=0"] * (not token)
    return b"set-cookie", b"; ".join(parts)
