"""Failed logins in the audit trail.

Wraps authentication, and knows nothing of how it works: a refused credential is a failed login. Entries are gathered
and written by a thread of their own, one for each user name and address with how often, so that whoever guesses
passwords does not decide how much is written. Memory is bounded: beyond the limit they count together.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec
import structlog

from linkspan.api.authentication.basic_header import user_and_password
from linkspan.api.http.authenticator import Authenticator
from linkspan.api.http.caller import Caller
from linkspan.api.http.messages import Request, Response
from linkspan.api.http.route import Route
from linkspan.core.errors import ApiError
from linkspan.store import audit
from linkspan.store.audit import Actor
from linkspan.store.store import Conflict, Store, Unavailable

GATHER: Final = 1.0
"""Seconds for which failures are gathered."""
MOST: Final = 100
"""Entries that are written at a time."""
_OTHERS: Final = Actor("", "(others)")

_T = TypeVar("_T")
_log = structlog.get_logger()


class FailedLogins:
    """Writes failed logins, until `close`. Thread-safe; its thread runs while there are any to write."""

    def __init__(self, store: Store, gather: float = GATHER) -> None:
        self._store = store
        self._gather = gather
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str], tuple[Actor, int]] = {}
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, request: Request) -> None:
        """Counts a request whose credentials were refused."""
        name = claimed_name(request)
        with self._lock:
            key = name, request.source
            if key not in self._counts and len(self._counts) >= MOST:
                key = "", ""
            first = _OTHERS if key == ("", "") else Actor("", name, "", request.request_id, request.source)
            actor, count = self._counts.get(key, (first, 0))
            self._counts[key] = actor, count + 1
            if self._thread is None and not self._closed.is_set():
                self._thread = threading.Thread(target=self._work, name="api-failed-logins", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Writes what is left, and ends the thread. Twice equals once."""
        with self._lock:
            self._closed.set()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _work(self) -> None:
        while True:
            self._closed.wait(self._gather)
            self.write()
            with self._lock:
                if self._closed.is_set() or not self._counts:
                    self._thread = None
                    return

    def write(self) -> None:
        """Writes what was gathered."""
        with self._lock:
            counts, self._counts = self._counts, {}
        if not counts:
            return
        try:
            with self._store.write() as tx:
                for actor, count in counts.values():
                    audit.record(tx, actor, "login_failed", "login", "", count=count)
        except (Conflict, Unavailable) as error:
            failures = sum(count for _, count in counts.values())
            _log.warning("failed logins could not be written to the audit trail", count=failures, error=str(error))


class AuditedLogins:
    """Authentication whose refusals are written."""

    def __init__(self, auth: Authenticator, failed: FailedLogins) -> None:
        self._auth = auth
        self._failed = failed

    def cached(self, request: Request) -> Caller | None:
        """Returns the cached caller, as the authentication that it wraps."""
        return self._audited(self._auth.cached, request)

    def identify(self, request: Request) -> Caller:
        """Returns the caller of a request, as the authentication that it wraps."""
        return self._audited(self._auth.identify, request)

    def guarded(self, route: Route) -> Route:
        """A route whose handler authenticates by itself, before it reads a body or after."""
        assert route.handler is not None
        handler: Callable[[Request], Response] = functools.partial(self._audited, route.handler)
        if route.admit is None:
            return msgspec.structs.replace(route, handler=handler)
        admit: Callable[[Request], Response | None] = functools.partial(self._audited, route.admit)
        return msgspec.structs.replace(route, handler=handler, admit=admit)

    def _audited(self, authenticate: Callable[[Request], _T], request: Request) -> _T:
        try:
            answer = authenticate(request)
        except ApiError as problem:
            if problem.type == "Unauthorized" and _has_credentials(request):
                self._failed.add(request)
            raise
        if isinstance(answer, Response) and answer.status == 401 and _has_credentials(request):
            self._failed.add(request)
        return answer


def _has_credentials(request: Request) -> bool:
    """True if a request tries to authenticate: one without credentials only asks how."""
    return bool(request.body or request.header(b"authorization") or request.header(b"x-auth-token"))


def claimed_name(request: Request) -> str:
    """The name of the user that a request claims to be from, as it is; empty for a token."""
    given = user_and_password(request.header(b"authorization") or b"")
    if given is not None:
        return given[0]
    return _name_in(request.body) if request.path.endswith("/auth/tokens") else ""


def _name_in(body: bytes) -> str:
    try:
        value: Any = msgspec.json.decode(body) if body else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    for names in (("auth",), ("identity",), ("password", "application_credential"), ("user",), ("name", "id")):
        value = next((value[name] for name in names if isinstance(value, dict) and name in value), None)
    return value if isinstance(value, str) else ""
