"""`GET /v2.0/vpn/ipsec-site-connections/{id}/peer-config`: the configuration of the other end, for a device.

Whoever may read a connection may read it, without the pre-shared key. The key comes only on request, to those who may
read it anyway and by a rule of its own; the audit trail says to whom it went.
"""

from __future__ import annotations

from typing import Final

import msgspec

from linkspan.api.http.actors import actor_of
from linkspan.api.http.messages import Request, Response, ok
from linkspan.api.http.operation import Operation, Schema, closed
from linkspan.api.http.route import Route
from linkspan.api.openapi.crud import parameter
from linkspan.api.resources.collection import find_live
from linkspan.core.authorization import policy
from linkspan.core.authorization.default_rules import PEER_SECRET
from linkspan.core.errors import ApiError, invalid
from linkspan.core.peer_side.export import PeerConfig, peer_config
from linkspan.core.peer_side.formats.registry import DEFAULT, FORMATS
from linkspan.core.schema.attribute_types import Boolean
from linkspan.core.schema.operations import REQUEST_LINES
from linkspan.core.schema.resources import CONNECTION
from linkspan.core.suggestions import nearest
from linkspan.store import audit
from linkspan.store.nodes.connection_state import live_connections
from linkspan.store.rows.row import Row
from linkspan.store.store import Store
from linkspan.store.transaction import Transaction

PATH: Final = f"/v2.0/{CONNECTION.path}{REQUEST_LINES['peer_config'].path}"
_ENVELOPE: Final = "peer_config"


class _Wanted(msgspec.Struct, frozen=True):
    """The query string: the name of a format, and whether the key is wanted."""

    format: str = DEFAULT
    secret: bool = False


class PeerConfigs:
    """Handlers of exports."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def routes(self) -> list[Route]:
        """All paths."""
        return [Route("GET", PATH, self.show, operation=_SHOW)]

    def show(self, request: Request) -> Response:
        """The configuration of the peer. With the key, the audit trail has it before there is an answer."""
        policy.require(request.caller, "get", CONNECTION)
        wanted = _wanted(request)
        if not wanted.secret:
            with self._store.read() as tx:
                row = find_live(tx, CONNECTION, request.id, request.caller)
                return _exported(tx, row, wanted, policy.sees_secrets(request.caller, CONNECTION)(row))
        with self._store.write() as tx:
            row = find_live(tx, CONNECTION, request.id, request.caller)
            _require_key(request, row)
            answer = _exported(tx, row, wanted, judge_key=True)
            actor = actor_of(request)
            audit.record(tx, actor, "export_secret", CONNECTION.name, row["id"], row["project_id"], ("psk",))
        return answer


def _exported(tx: Transaction, row: Row, wanted: _Wanted, judge_key: bool) -> Response:
    (connection,) = live_connections(tx, [row["id"]])
    found = peer_config(connection, FORMATS[wanted.format], secret=wanted.secret, judge_key=judge_key)
    return ok({_ENVELOPE: found})


def _require_key(request: Request, row: Row) -> None:
    """Raises ApiError PolicyNotAuthorized unless the caller may read the key of a connection and may export it."""
    policy.require_rule(request.caller, PEER_SECRET, row)
    if not policy.sees_secrets(request.caller, CONNECTION)(row):
        raise ApiError("PolicyNotAuthorized", f"rule:{PEER_SECRET} also needs the psk to be readable by the caller")


def _wanted(request: Request) -> _Wanted:
    """The wishes of a query string. Raises ApiError for a parameter, a format or a value that is none."""
    given: dict[str, str] = {}
    for name, value in request.parameters():
        if name not in ("format", "secret"):
            raise ApiError("HTTPBadRequest", f"Unrecognized parameter '{name}'{nearest(name, ('format', 'secret'))}")
        if name in given:
            raise ApiError("HTTPBadRequest", f"The parameter {name} is given twice")
        given[name] = value
    form = given.get("format", DEFAULT)
    if form not in FORMATS:
        raise invalid("format", f"'{form}' is not in valid_values: {', '.join(FORMATS)}")
    secret = bool(Boolean().convert("secret", given["secret"])) if "secret" in given else False
    return _Wanted(form, secret)


# --- OpenAPI ------------------------------------------------------------------------------------------------------

(_CONFIG,), _TYPES = msgspec.json.schema_components([PeerConfig], ref_template="#/components/schemas/{name}")
_COMPONENTS: Final[dict[str, Schema]] = msgspec.json.decode(msgspec.json.encode(_TYPES))
_SHOW: Final = Operation(
    id="show_peer_config",
    tag="connection",
    summary="what the administrator of the peer has to enter, as values and as a configuration for a device",
    description="Without `secret` a word stands for the pre-shared key. With it the export is audited.",
    parameters=(
        parameter("format", {"type": "string", "enum": list(FORMATS)}, f"the device; {DEFAULT} by default"),
        parameter("secret", Boolean().schema(), "true: with the pre-shared key"),
    ),
    answer=closed(peer_config=_CONFIG),
    schemas=_COMPONENTS,
    refusals=("PolicyNotAuthorized", "HTTPBadRequest", "InvalidInput", CONNECTION.not_found),
)
