"""The nodes that requests are from: by the certificate of the connection, else by a token.

Nothing is cached: a credential that was revoked is refused by the next request. The first request with a certificate
ends what the node had before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog

from linkspan.api.http.messages import Request, Response
from linkspan.core.node_join import RENEW_HEADER
from linkspan.core.secret import hash_token
from linkspan.store.nodes import credentials
from linkspan.store.nodes.credentials import NodeCaller
from linkspan.store.nodes.registry import NodeRow
from linkspan.store.store import Store
from linkspan.store.transaction import Transaction

UNKNOWN: Final = Response(401, b"", ())
"""The answer to a request without a node's credentials."""
_log = structlog.get_logger("api.nodes")

Answer = Callable[[Transaction, NodeRow], Response]


class NodeCallers:
    """Runs handlers as the node of a request. Thread-safe."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._warned: set[str] = set()

    def read(self, request: Request, answer: Answer) -> Response:
        """Answers in a read transaction; 401 without known credentials."""
        if not has_credentials(request):
            return UNKNOWN
        with self._store.read() as tx:
            caller = self._find(tx, request)
            if caller is None:
                return UNKNOWN
            if caller.confirmed:
                return _marked(answer(tx, caller.node), caller)
        with self._store.write(repeatable=True) as tx:
            return self._confirmed(tx, request, answer)

    def write(self, request: Request, answer: Answer) -> Response:
        """Answers in a write transaction, which does not start without known credentials."""
        if not has_credentials(request):
            return UNKNOWN
        with self._store.read() as tx:
            if self._find(tx, request) is None:
                return UNKNOWN
        # An agent says the same again until it has an answer.
        with self._store.write(repeatable=True) as tx:
            return self._confirmed(tx, request, answer)

    def _confirmed(self, tx: Transaction, request: Request, answer: Answer) -> Response:
        caller = self._find(tx, request)
        if caller is None:
            return UNKNOWN
        if not caller.confirmed:
            credentials.confirm(tx, caller)
        return _marked(answer(tx, caller.node), caller)

    def _find(self, tx: Transaction, request: Request) -> NodeCaller | None:
        if request.certificate:
            return credentials.by_certificate(tx, request.certificate)
        token = _token(request)
        caller = None if token is None else credentials.by_token(tx, token, is_local=request.is_local)
        if caller is not None and not request.is_local:
            self._warn(caller.node)
        return caller

    def _warn(self, node: NodeRow) -> None:
        if node["id"] in self._warned:
            return
        self._warned.add(node["id"])
        _log.warning(
            "a node on another machine uses a token, which ends: join it with a certificate, "
            "see 'linkspan node join-token'",
            node=node["name"],
            ends=node["token_expires_at"],
        )


def has_credentials(request: Request) -> bool:
    """True if a request carries what may be a node's credentials."""
    return bool(request.certificate) or _token(request) is not None


def _marked(response: Response, caller: NodeCaller) -> Response:
    if caller.due:
        response.headers = (*response.headers, (RENEW_HEADER.lower().encode(), b"now"))
    return response


def _token(request: Request) -> str | None:
    """The SHA-256 of the Bearer token: tokens are 256 random bits, so a plain digest is enough, and its look-up
    tells nothing about other tokens."""
    header = request.header(b"authorization") or b""
    scheme, _, token = header.partition(b" ")
    if scheme.lower() != b"bearer" or not token.strip():
        return None
    return hash_token(token.strip())
