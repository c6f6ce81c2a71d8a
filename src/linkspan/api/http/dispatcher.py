"""The one ASGI application behind every path: HTTP becomes a `Request`, and a `Response` becomes HTTP.

Concurrency: a request occupies one worker thread at most, and none while its body arrives, its answer is sent or a
DELETE waits: a slow client delays only itself. A body that does not come together with its head is read after the
caller is identified (`arriving_body`). Authentication that is not cached runs in a pool of its own. Where the
database has one writer, writes have one thread of their own, so that logins and queued writes leave threads to read. A
request that lost to another transaction is retried a few times, and one that finds no database until `PATIENCE` ends,
without a thread in between. Errors become answers here and nowhere else; a client
never sees a traceback. The dispatcher gets `Route`s, and finds them by two dictionary look-ups; a path with several ids
is compared with those that have as many parts.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Iterable, MutableMapping, Set
from typing import Any, Final, TypeVar

import msgspec
import structlog

from linkspan.api.http import event_stream, session_cookie
from linkspan.api.http.arriving_body import STRANGERS, ArrivingBody, BodyBudget
from linkspan.api.http.authenticator import Authenticator
from linkspan.api.http.caller import NOBODY, Caller
from linkspan.api.http.messages import After, Handler, Header, Request, Response, WaitFor, error_response, neutron_error
from linkspan.api.http.notifications import Notifier
from linkspan.api.http.route import AsgiScope, Receive, Route, Send
from linkspan.api.http.same_site import SameSite
from linkspan.api.http.slow_clients import CERTIFICATE, LEFT, WHOLE
from linkspan.api.http.workers import Threads, Workers
from linkspan.api.http.writer_thread import WriterThread
from linkspan.core.authorization.policy import Policy
from linkspan.core.errors import ApiError
from linkspan.core.schema.operations import MAX_BODIES, MAX_BODY
from linkspan.store.store import Conflict, Disconnected, OutcomeUnknown, Unavailable, Unwritable

PATIENCE: Final = 8.0
"""Seconds in which a request is tried again that finds no database: less than an agent waits for an answer."""
PAUSE: Final = 0.25
"""Seconds between such attempts."""
ATTEMPTS: Final = 6
"""How often a request is tried that loses to other transactions."""
THREADS: Final = 12
"""Worker threads for requests."""
AUTHENTICATORS: Final = 48
"""Threads for authentication: more than may wait for argon2 (`passwords`), so that a look-up in the database never
waits for it."""
PIECE: Final = 64 * 1024
"""Bytes of an answer that are handed to the server at a time."""

# What a proxy in front of a service puts there after authentication: nobody else may.
_IDENTITY: Final = (
    b"x-identity",
    b"x-user",
    b"x-role",
    b"x-project",
    b"x-tenant",
    b"x-domain",
    b"x-service",
    b"x-system",
    b"x-is-admin",
    b"x-token-info",
    b"x-trust",
    b"openstack-system-scope",
)
_NO_STORE: Final[Header] = (b"cache-control", b"no-store")
_BODIES: Final = frozenset({"POST", "PUT", "PATCH"})
_WRITES: Final = frozenset({"POST", "PUT", "DELETE"})

_T = TypeVar("_T")
_log = structlog.get_logger()


def strip_identity_headers(headers: Iterable[Header]) -> list[Header]:
    """Headers without those that a proxy sets after authentication: a client that sends them claims an identity."""
    return [header for header in headers if not header[0].lower().replace(b"_", b"-").startswith(_IDENTITY)]


class Dispatcher:
    """An ASGI application made of routes."""

    def __init__(
        self,
        routes: Iterable[Route],
        auth: Authenticator,
        notifier: Notifier,
        policy: Policy,
        *,
        one_writer: bool = False,
        largest_body: int = MAX_BODY,
        bodies: int = MAX_BODIES,
        public_url: str = "",
        hosts: Set[str] | None = None,
    ) -> None:
        """`one_writer`: writes wait for each other anyway, so they get one thread; `largest_body`: bytes of a body,
        `bodies`: of all bodies in memory; `hosts`: see `same_site`."""
        self._auth = auth
        self._notifier = notifier
        self._policy = policy
        self._public_url = public_url
        self._sites = SameSite(hosts, public_url)
        self._largest = largest_body
        self._bodies = BodyBudget(bodies)
        self._strangers = BodyBudget(bodies // STRANGERS)
        self._pool = Workers(THREADS, "api")
        # More threads than the one that may write would only contend for the interpreter, and leave none to read.
        self._writers: Threads = WriterThread("api-writer") if one_writer else self._pool
        self._authenticators = Workers(AUTHENTICATORS, "api-auth")
        self._table: dict[str, dict[str, Route]] = {}
        for route in routes:
            self._table.setdefault(route.path, {})[route.method] = route
        self._deep: dict[int, list[list[str]]] = {}
        for path in self._table:
            parts = path.split("/")
            if parts.count("{id}") > 1:
                self._deep.setdefault(len(parts), []).append(parts)

    @property
    def routes(self) -> list[Route]:
        """Every route there is."""
        return [route for methods in self._table.values() for route in methods.values()]

    def close(self) -> None:
        """Shuts the thread pools down without waiting for them."""
        for pool in (self._pool, self._writers, self._authenticators):
            pool.close()

    def find(self, method: str, path: str) -> tuple[Route, str]:
        """The route of a path and the id in it; a route that answers 404 or 405 if there is none."""
        if path.endswith(".json") and path not in self._table:
            path = path[:-5]
        path = path.rstrip("/") or "/"
        id = ""
        methods = self._table.get(path)
        if methods is None:
            head, _, tail = path.rpartition("/")
            methods, id = self._table.get(f"{head}/{{id}}"), tail
            if methods is None:
                head, _, id = head.rpartition("/")
                methods = self._table.get(f"{head}/{{id}}/{tail}")
            if methods is None:
                methods, id = self._find_deep(path.split("/"))
        if methods is None:
            return _unknown(path), ""
        if method == "HEAD":
            method = "GET"
        wrong = _WRONG_IDENTITY_METHOD if path.startswith(_IDENTITY_PATHS) else _WRONG_METHOD
        return methods.get(method, wrong), id

    def _find_deep(self, parts: list[str]) -> tuple[dict[str, Route] | None, str]:
        """The methods of a path with several ids, and the ids."""
        for template in self._deep.get(len(parts), ()):
            if all(own in (part, "{id}") for own, part in zip(template, parts, strict=True)):
                ids = [part for own, part in zip(template, parts, strict=True) if own == "{id}"]
                return self._table["/".join(template)], "/".join(ids)
        return None, ""

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            raise RuntimeError(f"nothing here speaks {scope['type']}")
        request_id = f"req-{uuid.uuid4()}"
        sender = _Sender(send, request_id, to_console=session_cookie.is_console(scope["headers"]))
        route, id = self.find(scope["method"], scope["path"])
        try:
            await self._serve(scope, receive, sender, request_id, route, id)
        except ApiError as problem:
            await sender.reply(error_response(problem, route.keystone))
        except Unavailable as error:
            _log.error("database unavailable", request_id=request_id, reason=str(error))
            away = ApiError("ServiceUnavailable", _unavailable(error))
            await sender.reply(error_response(away, route.keystone))
        except Conflict:
            busy = ApiError("ServiceUnavailable", "Too many writes at a time: try again")
            await sender.reply(error_response(busy, route.keystone))
        except Exception:  # noqa: BLE001 # the edge: whatever went wrong, the client gets an answer and we a log entry
            _log.exception("request failed", request_id=request_id, method=scope["method"], path=scope["path"])
            await sender.reply(_BROKEN)

    async def _serve(
        self, scope: AsgiScope, receive: Receive, sender: _Sender, request_id: str, route: Route, id: str
    ) -> None:
        loop = asyncio.get_running_loop()
        self._notifier.attach(loop)
        method, path = scope["method"], scope["path"]
        server = scope.get("server") or ("localhost", None)
        request = Request(
            method,
            path,
            id,
            query=scope["query_string"].decode("latin-1"),
            headers=session_cookie.with_token(strip_identity_headers(scope["headers"])),
            scheme=scope.get("scheme", "http"),
            server=server[0] if server[1] is None else f"{server[0]}:{server[1]}",
            request_id=request_id,
            source=(scope.get("client") or ("",))[0],
            certificate=scope.get(CERTIFICATE, ""),
            public_url=self._public_url,
            left=scope.get(LEFT, _never),
        )
        self._sites.check(request)
        if route.stream is not None and (route.public or event_stream.is_wanted(request)):
            if not route.public:
                await self._admit(route, request)
            await route.stream(request, receive, sender.send, self._run)
            return
        if method not in _BODIES or route.bodiless:
            await sender.reply(await self._respond(route, request))
            return
        body = ArrivingBody(request, receive, route.largest_body or self._largest, scope.get(WHOLE, False))
        try:
            budget = self._strangers
            if not await body.came_with_head(budget):
                refusal = await self._admit(route, request)
                if refusal is not None:
                    await sender.reply(refusal)
                    return
                if route.admit is not None or not route.public:
                    budget = self._bodies
            request.body = await body.read(budget)
            response = await self._respond(route, request)
        finally:
            body.release()
        await sender.reply(response)

    async def _admit(self, route: Route, request: Request) -> Response | None:
        """Identifies the caller of a request before its body is read. Returns the refusal, if any; raises ApiError."""
        deadline = asyncio.get_running_loop().time() + PATIENCE
        if route.admit is not None:
            return await self._patiently(deadline, self._pool, route.admit, request)
        if not route.public:
            caller = await self._patiently(deadline, self._pool, self._auth.cached, request)
            if caller is None:
                caller = await self._patiently(deadline, self._authenticators, self._auth.identify, request)
            request.caller = self._with_policy(caller)
        return None

    async def _respond(self, route: Route, request: Request) -> Response:
        """The response to a request that is complete."""
        loop = asyncio.get_running_loop()
        threads = self._threads(route)
        deadline = loop.time() + PATIENCE
        response = await self._patiently(deadline, threads, self._answer, route, request)
        if response is None:
            caller = await self._patiently(deadline, self._authenticators, self._auth.identify, request)
            response = await self._patiently(deadline, threads, self._answer_to, caller, route, request)
        if response.after is not None and not await _is_done(response.after):
            response = await self._patiently(deadline, threads, _answered, response.after.otherwise, request)
        if response.wait_for is not None:
            await self._settle(response.wait_for)
            if response.wait_for.then is not None:
                response = await self._patiently(deadline, threads, _answered, response.wait_for.then, request)
        return response

    async def _patiently(
        self, deadline: float, threads: Threads, function: Callable[..., _T], /, *arguments: Any
    ) -> _T:
        """Calls a function in a worker thread, and again until the deadline while it finds no database."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                return await threads.run(function, *arguments)
            except Disconnected:
                if self._notifier.closed or loop.time() + PAUSE > deadline:
                    raise
            await asyncio.sleep(PAUSE)

    async def _run(self, handler: Handler, request: Request) -> Response:
        """One handler in a worker thread, for streams."""
        return await self._pool.run(handler, request)

    def _answer(self, route: Route, request: Request) -> Response | None:
        """Answers a request that needs no caller, has one or has a cached one; None: it has to be identified first."""
        assert route.handler is not None
        if route.public or request.caller is not NOBODY:
            return _answered(route.handler, request)
        # Here and not on the event loop: there it made reads of many clients cost more CPU.
        caller = self._auth.cached(request)
        return None if caller is None else self._answer_to(caller, route, request)

    def _answer_to(self, caller: Caller, route: Route, request: Request) -> Response:
        assert route.handler is not None
        request.caller = self._with_policy(caller)
        return _answered(route.handler, request)

    def _with_policy(self, caller: Caller) -> Caller:
        return msgspec.structs.replace(caller, policy=self._policy)

    def _threads(self, route: Route) -> Threads:
        if route.keystone:
            return self._authenticators
        return self._writers if route.method in _WRITES else self._pool

    async def _settle(self, wait_for: WaitFor) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_for.seconds
        try:
            while not self._notifier.closed and (left := deadline - loop.time()) > 0:
                if not await wait_for.waiter.wait(left):
                    return
                if await self._pool.run(wait_for.done):
                    return
        except Unavailable:
            return  # the object is deleted; later reads show whether its node has confirmed that
        finally:
            self._notifier.forget(wait_for.waiter)


def _never() -> bool:
    """The answer of a server that does not notice that clients leave."""
    return False


async def _is_done(after: After) -> bool:
    try:
        return await asyncio.wrap_future(after.done)
    except Unavailable:
        return False  # tried again by itself, until the request's patience ends


def _answered(handler: Handler, request: Request) -> Response:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return handler(request)
        except Conflict:
            if attempt == ATTEMPTS:
                raise
            # Long enough for the faster one to be done, and not in step with other losers.
            time.sleep(0.002 * attempt * attempt + (hash(request.request_id) % 100) / 50_000)
    raise AssertionError


class _Sender:
    """The way back to one client: puts the request's id on the answer, and answers once."""

    def __init__(self, send: Send, request_id: str, *, to_console: bool) -> None:
        self._send = send
        self._to_console = to_console
        self._id: Header = (b"x-openstack-request-id", request_id.encode())
        self._started = False

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """An ASGI message."""
        if message["type"] == "http.response.start":
            self._started = True
            headers = message["headers"]
            # Keys, tokens and passwords are in many answers, and nothing here gains from a cache between.
            stored = () if any(name == b"cache-control" for name, _ in headers) else (_NO_STORE,)
            message["headers"] = [*headers, *stored, self._id]
        await self._send(message)

    async def reply(self, response: Response) -> None:
        """Sends a whole answer, unless one has started."""
        if self._started:
            return
        headers: list[Header] = [*response.headers]
        if self._to_console and response.status == 401:
            headers = session_cookie.with_own_challenge(headers)
        if response.status != 204:
            headers.append((b"content-length", str(len(response.body)).encode()))
        await self.send({"type": "http.response.start", "status": response.status, "headers": headers})
        rest = memoryview(response.body)
        while len(rest) > PIECE:
            # Each waits until the client has taken what was before it; nobody else waits with it.
            await self._send({"type": "http.response.body", "body": bytes(rest[:PIECE]), "more_body": True})
            rest = rest[PIECE:]
        await self._send({"type": "http.response.body", "body": bytes(rest)})


def not_found(_call: Request) -> Response:
    """The answer to an unknown path."""
    return neutron_error("HTTPNotFound", "The resource could not be found.", 404)


def no_identity(_call: Request) -> Response:
    """The answer to an unknown path of Keystone's. Raises ApiError."""
    message = (
        "The identity service here has no such path: it has tokens, domains, projects, users, roles, role assignments "
        "and application credentials, and neither groups nor services, regions, trusts or limits."
    )
    raise ApiError("HTTPNotFound", message)


def wrong_identity_method(request: Request) -> Response:
    """The answer of a path of Keystone's to a method that it does not have. Raises ApiError."""
    message = (
        f"The identity service here does not answer {request.method[:16]} at this path: projects and users can be "
        "created, changed with PATCH and deleted, and domains and roles are fixed."
    )
    raise ApiError("HTTPMethodNotAllowed", message)


def _unknown(path: str) -> Route:
    """The route of a path that there is not."""
    if path.startswith("/v2.0/"):
        return _NO_RESOURCE
    return _NO_IDENTITY if path.startswith(_IDENTITY_PATHS) else _NOTHING


def wrong_method(_call: Request) -> Response:
    """The answer of a path to a method that it does not have."""
    message = "The server could not comply with the request since it is either malformed or otherwise incorrect."
    return neutron_error("HTTPMethodNotAllowed", message, 405)


_AWAY: Final = "The database cannot be used now: try again"
_UNKNOWN: Final = (
    "The database was lost while it stored this change, which may have been stored or not: look before you try again"
)


def _unavailable(error: Unavailable) -> str:
    """The sentence about a database that cannot be used."""
    if isinstance(error, Unwritable):
        return str(error)
    return _UNKNOWN if isinstance(error, OutcomeUnknown) else _AWAY


_NO_RESOURCE: Final = Route("", "", not_found, bodiless=True)
_NOTHING: Final = Route("", "", not_found, public=True, bodiless=True)
_WRONG_METHOD: Final = Route("", "", wrong_method, bodiless=True)
_IDENTITY_PATHS: Final = ("/v3/", "/identity/")
_NO_IDENTITY: Final = Route("", "", no_identity, public=True, bodiless=True, keystone=True)
_WRONG_IDENTITY_METHOD: Final = Route("", "", wrong_identity_method, public=True, bodiless=True, keystone=True)
_BROKEN: Final = neutron_error(
    "HTTPInternalServerError", "Request Failed: internal server error while processing your request.", 500
)
