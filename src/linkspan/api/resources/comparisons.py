"""`POST /v2.0/vpn/ipsec-site-connections/{id}/compare`: a connection against the pasted configuration of its peer.

Nothing of the text is kept: not in the database, the audit trail or a log. Whoever may read a connection may compare
it. Pre-shared keys are compared only for those who may read that of the connection: others could find it by trying.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from linkspan.api.http import body
from linkspan.api.http.messages import Request, Response, ok
from linkspan.api.http.operation import Operation, Schema, closed, described
from linkspan.api.http.route import Route
from linkspan.api.resources.collection import find_live, not_found
from linkspan.core.authorization import policy
from linkspan.core.errors import ApiError, invalid
from linkspan.core.peer_side.candidates import chosen
from linkspan.core.peer_side.comparison import KEYS_UNSEEN, compare
from linkspan.core.peer_side.differences import Difference, fits
from linkspan.core.peer_side.parsers import formats
from linkspan.core.peer_side.parsers.reading import MOST_BYTES, Format, Ignored, Unreadable
from linkspan.core.schema import error_responses, examples
from linkspan.core.schema.operations import REQUEST_LINES
from linkspan.core.schema.resources import CONNECTION
from linkspan.core.state.desired import Connection
from linkspan.store.nodes.connection_state import live_connections
from linkspan.store.store import Store

PATH: Final = f"/v2.0/{CONNECTION.path}{REQUEST_LINES['compare'].path}"
_ENVELOPE: Final = "compare"
_LARGEST_BODY: Final = 2 * MOST_BYTES + 4096
"""Bytes of a request: JSON writes a line feed in two characters."""


class _Wanted(msgspec.Struct, frozen=True):
    """The body. `connection`: its name in the configuration, empty: the one that is to us."""

    configuration: str
    format: Format | None = None
    connection: str = ""


class PeerComparisons:
    """Handlers of comparisons."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def routes(self) -> list[Route]:
        """All paths."""
        return [Route("POST", PATH, self.compare, operation=_COMPARE, largest_body=_LARGEST_BODY)]

    def compare(self, request: Request) -> Response:
        """Reads the text, and compares it."""
        policy.require(request.caller, "get", CONNECTION)
        with self._store.read() as tx:
            row = find_live(tx, CONNECTION, request.id, request.caller)
            known = live_connections(tx, [row["id"]])
        if not known:
            raise not_found(CONNECTION, request.id)
        sees_key = policy.sees_secrets(request.caller, CONNECTION)(row) and not known[0].fault
        return _compared(known[0], _wanted(request), sees_key)


def _wanted(request: Request) -> _Wanted:
    whole: dict[str, Any] = body.json_object(request.body)
    if extra := sorted(set(whole) - {_ENVELOPE}):
        raise ApiError("HTTPBadRequest", f"Unrecognized attribute(s) '{', '.join(extra)}'")
    raw = whole.get(_ENVELOPE)
    if not isinstance(raw, dict):
        raise ApiError("HTTPBadRequest", f"Unable to find '{_ENVELOPE}' in request body")
    if extra := sorted(set(raw) - set(_Wanted.__struct_fields__)):
        raise ApiError("HTTPBadRequest", f"Unrecognized attribute(s) '{', '.join(extra)}'")
    text, wanted, connection = raw.get("configuration"), raw.get("format"), raw.get("connection") or ""
    if not isinstance(text, str) or not text.strip():
        raise invalid("configuration", "it has to be the text of the peer's configuration")
    if wanted is not None and wanted not in formats.NAMES:
        raise invalid("format", f"it is not in {list(formats.NAMES)}")
    if not isinstance(connection, str):
        raise invalid("connection", "it has to be the name of a connection in the configuration")
    return _Wanted(text, wanted, connection)


def _compared(ours: Connection, wanted: _Wanted, sees_key: bool) -> Response:
    try:
        reading = formats.read(wanted.configuration.encode(errors="surrogatepass"), wanted.format)
        candidate = chosen(reading, ours, wanted.connection)
    except Unreadable as error:
        raise invalid("configuration", str(error).rstrip(".")) from None
    keys = reading.keys if sees_key else KEYS_UNSEEN
    found = compare(ours, candidate.config, keys, narrows_v1=reading.format in formats.NARROWS_V1)
    return ok(
        {
            _ENVELOPE: {
                "connection_id": ours.id,
                "name": ours.name,
                "format": reading.format,
                "peer_connection": candidate.name,
                "fits": fits(found),
                "differences": found,
                "ignored": reading.ignored,
            }
        }
    )


# --- OpenAPI ------------------------------------------------------------------------------------------------------

(_DIFFERENCE, _IGNORED), _TYPES = msgspec.json.schema_components(
    [Difference, Ignored], ref_template="#/components/schemas/{name}"
)
_TEXT: Final[Schema] = {"type": "string"}
_FORMAT: Final[Schema] = {"type": "string", "enum": list(formats.NAMES)}
_BODY: Final[Schema] = {
    "type": "object",
    "properties": {
        _ENVELOPE: {
            "type": "object",
            "properties": {
                "configuration": described(
                    {"type": "string", "format": "peer-configuration"}, f"the text, at most {MOST_BYTES} bytes"
                ),
                "format": described(
                    {"type": ["string", "null"], "enum": [*formats.NAMES, None]}, "null: found in the text"
                ),
                "connection": described(
                    {"type": ["string", "null"]}, "its name in the text; null: the one for the gateway's address"
                ),
            },
            "required": ["configuration"],
            "additionalProperties": False,
        },
    },
    "required": [_ENVELOPE],
    "additionalProperties": False,
}
_COMPARED: Final[Schema] = closed(
    connection_id=_TEXT,
    name=_TEXT,
    format=_FORMAT,
    peer_connection=described(_TEXT, "the name in the text of the connection that was compared"),
    fits=described({"type": "boolean"}, "the tunnel comes up and works, as far as the text says"),
    differences=described({"type": "array", "items": _DIFFERENCE}, "the worst ones first"),
    ignored=described({"type": "array", "items": _IGNORED}, "statements that were not followed, such as includes"),
)
_COMPARE: Final = Operation(
    id="compare_connection",
    tag="connection",
    summary="compare a connection with the configuration of its peer, before the first packet",
    description=(
        "Nothing of the text is kept. Without the pre-shared key in the text, or for callers who may not read that of "
        "the connection, keys are not compared."
    ),
    body=_BODY,
    bodies={"example": examples.COMPARE},
    answer=closed(compare=_COMPARED),
    schemas=_TYPES,
    refusals=("PolicyNotAuthorized", CONNECTION.not_found, *error_responses.ANY_BODY),
)
