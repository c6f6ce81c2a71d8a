"""Certificates for nodes: the first one for a one-time join token, the next ones for the one before.

The node makes its key, and sends a request for a certificate with it. Who it is follows from the token or from the
certificate of the connection, and from nothing that it says.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec
import structlog

from linkspan.api.http.messages import Request, Response, encode
from linkspan.api.http.route import Route
from linkspan.api.node_callers import UNKNOWN, NodeCallers
from linkspan.core.errors import ApiError
from linkspan.core.node_join import CERTIFICATE_LIFETIME, Issued, Join, Renewal
from linkspan.core.secret import hash_token
from linkspan.core.state.observed import AGENT_PATH
from linkspan.store import audit, certificates
from linkspan.store.audit import Actor
from linkspan.store.nodes import authority, credentials, registry
from linkspan.store.nodes.registry import NodeRow
from linkspan.store.store import Store
from linkspan.store.transaction import Transaction

_T = TypeVar("_T", Join, Renewal)
_log = structlog.get_logger("api.nodes")


class NodeJoining:
    """Handlers of joining nodes. `lifetime` of their certificates, seconds."""

    def __init__(self, store: Store, lifetime: float = CERTIFICATE_LIFETIME) -> None:
        self._store = store
        self._lifetime = lifetime
        self._callers = NodeCallers(store)

    def routes(self) -> list[Route]:
        """All paths."""
        return [
            Route("GET", f"{AGENT_PATH}/authorities", self.authorities, public=True),
            Route("POST", f"{AGENT_PATH}/join", self.join, public=True),
            Route("POST", f"{AGENT_PATH}/certificate", self.renew, public=True),
        ]

    def authorities(self, request: Request) -> Response:
        """Returns the authorities, which are no secret: a node compares them with its join token."""
        with self._store.read() as tx:
            return Response(200, authority.bundle(tx).encode(), ((b"content-type", b"application/x-pem-file"),))

    def join(self, request: Request) -> Response:
        """Exchanges a join token for a certificate."""
        if not request.body:
            return UNKNOWN
        join = _decoded(Join, request.body)
        key = _key(join.request)
        with self._store.write() as tx:
            node_id = credentials.take_join_token(tx, hash_token(join.token.encode()))
            node = None if node_id is None else registry.node_by_id(tx, node_id)
            if node is None:
                return UNKNOWN
            actor = Actor(node["id"], f"node {node['name']}", request_id=request.request_id, source=request.source)
            audit.record(tx, actor, "join", "node", node["id"], fields=("certificate",))
            response = self._issue(tx, node, key)
        _log.info("a node has joined", node=node["name"], source=request.source)
        return response

    def renew(self, request: Request) -> Response:
        """Exchanges a node's certificate for the next one."""
        if not request.certificate:
            return UNKNOWN

        def answer(tx: Transaction, node: NodeRow) -> Response:
            _log.info("a node's certificate is renewed", node=node["name"], source=request.source)
            return self._issue(tx, node, _key(_decoded(Renewal, request.body).request))

        return self._callers.write(request, answer)

    def _issue(self, tx: Transaction, node: NodeRow, key: certificates.PublicKey) -> Response:
        authority.ensure(tx)
        _, issuer = authority.issuing(tx)
        certificate = certificates.issue_to_node(issuer, key, node["id"], node["name"], tx.wall, self._lifetime)
        fingerprint = certificates.fingerprint(certificate)
        credentials.add_credential(tx, node["id"], "certificate", fingerprint, tx.wall + self._lifetime)
        return Response(200, encode(Issued(node["name"], certificates.to_pem(certificate), authority.bundle(tx))))


def _key(request: str) -> certificates.PublicKey:
    try:
        return certificates.requested_key(request.encode())
    except ValueError as error:
        raise ApiError("HTTPBadRequest", f"This is no request for a certificate of a node: {error}") from None


def _decoded(kind: type[_T], body: bytes) -> _T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ApiError("HTTPBadRequest", f"Not what a node says here: {error}") from None
