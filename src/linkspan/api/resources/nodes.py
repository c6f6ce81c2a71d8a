"""`/v2.0/linkspan/nodes`: the gateway nodes and their credentials, for admins."""

from __future__ import annotations

from typing import Any, Final, get_args

import msgspec

from linkspan.api.http import body
from linkspan.api.http.actors import actor_of
from linkspan.api.http.messages import Request, Response, no_content, ok
from linkspan.api.http.notifications import Notifier
from linkspan.api.http.operation import Operation, Schema, closed, described
from linkspan.api.http.route import Route
from linkspan.api.openapi.crud import parameter
from linkspan.core import printable
from linkspan.core.authorization import policy
from linkspan.core.errors import ApiError, invalid
from linkspan.core.node_join import JOIN_LIFETIME, NAME_BYTES, name_fault
from linkspan.core.schema import error_responses
from linkspan.core.schema.attribute_types import Integer
from linkspan.core.state.observed import Isolation
from linkspan.core.times import iso_time
from linkspan.store.nodes import membership, registry
from linkspan.store.nodes.registry import NodeWithGateways
from linkspan.store.store import Store
from linkspan.store.transaction import Transaction

PATH: Final = "/v2.0/linkspan/nodes"
INVITATION: Final = 900
"""Lifetime of a join token unless the request has one, seconds."""
_LIFETIME: Final = Integer(1, int(JOIN_LIFETIME))


class Nodes:
    """Handlers of nodes. Revocation closes the node's hint streams of this process; others notice it by themselves."""

    def __init__(self, store: Store, notifier: Notifier) -> None:
        self._store = store
        self._notifier = notifier

    def routes(self) -> list[Route]:
        """All paths."""
        return [
            Route("GET", PATH, self.list, operation=_LIST),
            Route("POST", PATH, self.invite, operation=_INVITE),
            Route("GET", f"{PATH}/{{id}}", self.show, operation=_SHOW),
            Route("DELETE", f"{PATH}/{{id}}", self.delete, operation=_DELETE),
            Route("PUT", f"{PATH}/{{id}}/rotate", self.rotate, bodiless=True, operation=_ROTATE),
            Route("PUT", f"{PATH}/{{id}}/revoke", self.revoke, bodiless=True, operation=_REVOKE),
        ]

    def list(self, request: Request) -> Response:
        """All nodes, by name."""
        policy.require_rule(request.caller, "get_node", {})
        with self._store.read() as tx:
            return ok({"nodes": [_shown(tx, node) for node in registry.all_nodes(tx)]})

    def show(self, request: Request) -> Response:
        """One node, with the routers of its gateways."""
        policy.require_rule(request.caller, "get_node", {})
        with self._store.read() as tx:
            node = _found(tx, request)
            return ok({"node": {**_shown(tx, node), "routers": registry.routers_of(tx, node["id"])}})

    def invite(self, request: Request) -> Response:
        """Makes a join token for a node, which is added if there is none of the name."""
        policy.require_rule(request.caller, "create_node", {})
        name, lifetime = _invitation(request)
        with self._store.write() as tx:
            id, token = membership.invite(tx, actor_of(request), name, lifetime)
            node = registry.node_by_id(tx, id)
            assert node is not None  # of this transaction
            return ok({"node": _shown(tx, node), "join_token": token}, 201)

    def rotate(self, request: Request) -> Response:
        """Has a node renew its certificate at once."""
        policy.require_rule(request.caller, "update_node", {})
        with self._store.write() as tx:
            node = _found(tx, request)
            if not membership.rotate(tx, actor_of(request), node):
                raise ApiError("HTTPConflict", f"node {node['name']} has no certificate: have it join with a token")
            return ok({"node": _shown(tx, _found(tx, request))})

    def revoke(self, request: Request) -> Response:
        """Ends every credential of a node."""
        policy.require_rule(request.caller, "update_node", {})
        with self._store.write() as tx:
            membership.revoke(tx, actor_of(request), _found(tx, request))
            shown = _shown(tx, _found(tx, request))
        self._notifier.end_streams(request.id)
        return ok({"node": shown})

    def delete(self, request: Request) -> Response:
        """Removes a node; one with gateways only with `force`."""
        policy.require_rule(request.caller, "delete_node", {})
        force = request.parameters() == [("force", "true")]
        if request.parameters() and not force:
            raise ApiError("HTTPBadRequest", "The only parameter here is force=true")
        with self._store.write() as tx:
            node = _found(tx, request)
            if node["gateways"] and not force:
                raise ApiError("HTTPConflict", membership.with_gateways(node))
            membership.remove(tx, actor_of(request), node)
        self._notifier.end_streams(request.id)
        return no_content()


def _found(tx: Transaction, request: Request) -> NodeWithGateways:
    node = registry.node_by_id(tx, request.id)
    if node is None:
        raise ApiError("HTTPNotFound", f"Node {printable.harmless(request.id)} could not be found")
    return node


def _invitation(request: Request) -> tuple[str, float]:
    values = body.json_object(request.body).get("node")
    if not isinstance(values, dict):
        raise ApiError("HTTPBadRequest", "Unable to find 'node' in request body")
    unknown = sorted(values.keys() - {"name", "expires_in"})
    if unknown:
        raise ApiError("HTTPBadRequest", f"Unrecognized attribute(s) '{', '.join(unknown)}'")
    name, lifetime = values.get("name"), values.get("expires_in", INVITATION)
    if not isinstance(name, str) or (fault := name_fault(name)):
        raise invalid("name", f"the name {fault}" if isinstance(name, str) else "a node has a name, a string")
    return name, float(_LIFETIME.convert("expires_in", lifetime))


def _shown(tx: Transaction, node: NodeWithGateways) -> dict[str, Any]:
    kind, end = registry.credential_of(node, tx.wall)
    shown: dict[str, Any] = {**node, "alive": node["lease_until"] >= tx.now, "credential": kind}
    for name in ("lease_until", "holder", "token_expires_at", "certificate_expires_at", "created_at"):
        del shown[name]
    shown["credential_expires_at"] = end and iso_time(end)
    shown["capabilities"] = msgspec.to_builtins(node["capabilities"])
    return shown


# --- OpenAPI ------------------------------------------------------------------------------------------------------

_TEXT: Final[Schema] = {"type": "string"}
_INTEGER: Final[Schema] = {"type": "integer"}
_UUID: Final[Schema] = {"type": "string", "format": "uuid"}
_FIELDS: Final[dict[str, Schema]] = {
    "id": _UUID,
    "name": _TEXT,
    "revision": _INTEGER,
    "backend": _TEXT,
    "agent_version": _TEXT,
    "charon_version": _TEXT,
    "capabilities": {
        "oneOf": [
            {"type": "null"},
            closed(
                **{name: {"type": "boolean"} for name in ("ikev1", "ah", "transport", "traps")},
                **{name: {"type": "array", "items": _TEXT} for name in ("encryption", "integrity", "key_exchanges")},
                isolation={"enum": list(get_args(Isolation))},
            ),
        ]
    },
    "gateways": _INTEGER,
    "alive": {"type": "boolean"},
    "credential": described({"enum": ["certificate", "token", "none"]}, "by what the node is known"),
    "credential_expires_at": described({"type": ["string", "null"], "format": "date-time"}, "its end"),
}
_NODE: Final = closed(**_FIELDS)
_ONE: Final = closed(node=_NODE)
_ONE_WITH_ROUTERS: Final = closed(
    node=closed(**_FIELDS, routers=described({"type": "array", "items": _UUID}, "the routers of its gateways"))
)
_ADMINS: Final = ("PolicyNotAuthorized",)
_OTHERS: Final = (*_ADMINS, "HTTPNotFound")


def _operation(id: str, summary: str, answer: Schema | None, **more: Any) -> Operation:
    return Operation(id=id, tag="nodes", summary=summary, answer=answer, **more)


_LIST: Final = _operation(
    "list_nodes", "the gateway nodes", closed(nodes={"type": "array", "items": _NODE}), refusals=_ADMINS
)
_SHOW: Final = _operation("show_node", "one gateway node", _ONE_WITH_ROUTERS, refusals=_OTHERS)
_INVITE: Final = _operation(
    "invite_node",
    "make a one-time join token for a node",
    closed(node=_NODE, join_token=described(_TEXT, "for `linkspan node join`; shown once")),
    description="The node is added if there is none of the name. What an existing node has goes on until it has joined "
    "with the token.",
    body={
        "type": "object",
        "properties": {
            "node": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "minLength": 1, "maxLength": NAME_BYTES},
                    "expires_in": described(_LIFETIME.schema(), "lifetime of the token, seconds")
                    | {"default": INVITATION},
                },
                "required": ["name"],
                "additionalProperties": False,
            }
        },
        "required": ["node"],
    },
    bodies={"ten minutes": {"node": {"name": "edge-1", "expires_in": 600}}},
    status=201,
    refusals=(*_ADMINS, *error_responses.ANY_BODY),
)
_ROTATE: Final = _operation(
    "rotate_node", "have a node take a new key and certificate at once", _ONE, refusals=(*_OTHERS, "HTTPConflict")
)
_REVOKE: Final = _operation("revoke_node", "end every credential of a node", _ONE, refusals=_OTHERS)
_DELETE: Final = _operation(
    "delete_node",
    "remove a node",
    None,
    status=204,
    parameters=(parameter("force", {"const": "true"}, "also a node with gateways, which go to other nodes"),),
    refusals=(*_OTHERS, "HTTPConflict", "HTTPBadRequest"),
)
