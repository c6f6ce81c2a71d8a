"""`…/ipsec-site-connections/{id}/revisions` and `…/rollback`: what a connection was before, and how to get it back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from linkspan.api.http import body
from linkspan.api.http.messages import Request, Response, ok
from linkspan.api.http.operation import Operation, Schema, closed, described, ref
from linkspan.api.http.route import Route
from linkspan.api.openapi import schemas
from linkspan.api.resources.collection import Context, Hooks, find, not_found
from linkspan.api.resources.node_questions import NodeQuestions
from linkspan.api.resources.probes import ConnectionCollection
from linkspan.api.resources.rollback_writes import Rollback, RolledBack, lock_policies, require_same_policies
from linkspan.core.authorization import policy
from linkspan.core.errors import ApiError, invalid
from linkspan.core.schema import error_responses, examples
from linkspan.core.schema.attribute_types import MAX_INT, as_integer, integer_schema
from linkspan.core.schema.configurations import Configuration, differences
from linkspan.core.schema.operations import REQUEST_LINES
from linkspan.core.schema.resources import CONNECTION
from linkspan.core.times import iso_time
from linkspan.store.rows import connection_revisions
from linkspan.store.rows.row import Row
from linkspan.store.transaction import Transaction

_MEMBER: Final = f"/v2.0/{CONNECTION.path}"


class RevisedConnections(ConnectionCollection):
    """IPsec site connections, whose earlier configurations can be listed and brought back."""

    def __init__(self, hooks: Hooks, context: Context, asking: NodeQuestions, vpn: Mapping[str, Hooks]) -> None:
        """`vpn`: the hooks of all VPN resources, by name."""
        super().__init__(hooks, context, asking)
        self._rollback = Rollback(vpn, context.quotas)

    def routes(self) -> list[Route]:
        rollback = self.crud().action(
            "rollback",
            "bring an earlier configuration of a connection back, with its policies",
            _BODY,
            examples.ROLLBACK,
            closed(rollback=_ROLLBACK, **{CONNECTION.singular: ref(schemas.name(CONNECTION))}),
        )
        return [
            *super().routes(),
            Route("GET", _MEMBER + REQUEST_LINES["list_revisions"].path, self.revisions, operation=_LIST),
            Route(
                "POST",
                _MEMBER + REQUEST_LINES["rollback"].path,
                self.rollback,
                operation=msgspec.structs.replace(
                    rollback, description=_DESCRIPTION, schemas=self.crud().show().schemas
                ),
            ),
        ]

    def revisions(self, request: Request) -> Response:
        """The present configuration of a connection, and the earlier ones that are kept."""
        policy.require(request.caller, "get", CONNECTION)
        with self._store.read() as tx:
            row = find(tx, CONNECTION, request.id, request.caller)
            if row is None:
                raise not_found(CONNECTION, request.id)
            present = connection_revisions.present(tx, row["id"])
            kept = connection_revisions.earlier(tx, row["id"])
        shown = [_shown(present, present), *(_shown(each, present) for each in kept)]
        return ok({"revisions": shown})

    def rollback(self, request: Request) -> Response:
        """Brings an earlier configuration back, as a new revision."""
        self._require_any(request, "update")
        wanted = _wanted(request)
        caller = request.caller
        with self._store.write() as tx:
            tx.author = caller.name
            seen = find(tx, CONNECTION, request.id, caller)
            if seen is None:
                raise not_found(CONNECTION, request.id)
            lock_policies(tx, seen)
            before = self._owned(tx, request, "update")
            require_same_policies(seen, before)
            revision = _chosen(tx, before, wanted)
            restored = self._restored(tx, request, before, revision)
            self._audit(tx, request, "rollback", restored.row, restored.fields)
            self.hooks.complete(tx, [restored.row])
            now = tx.now
        self.hooks.after_commit(request, [restored.row], before)
        done = {"revision": revision.number, "fields": restored.fields, "notes": restored.notes}
        return ok({"rollback": done, CONNECTION.singular: self._view(restored.row, caller, now)})

    def _restored(self, tx: Transaction, request: Request, before: Row, revision: Configuration) -> RolledBack:
        prefix = f"Revision {revision.number} cannot be brought back: "
        try:
            return self._rollback.restore(tx, request.caller, before, revision)
        except ApiError as problem:
            if problem.type in ("RollbackConflict", "PolicyNotAuthorized"):
                raise
            raise ApiError(problem.type, prefix + problem.message) from None


def _wanted(request: Request) -> int | None:
    """The revision that a request names; None without one."""
    raw = body.parse(request.body) if request.body.strip() else {}
    if not isinstance(raw, dict):
        raise ApiError("HTTPBadRequest", "The body has to be an object, or absent")
    if extra := sorted(set(raw) - {"revision"}):
        raise ApiError("HTTPBadRequest", f"Unrecognized attribute(s) '{', '.join(extra)}'")
    value = raw.get("revision")
    if value is None:
        return None
    number = as_integer(value)
    if number is None or not 0 < number <= MAX_INT:
        raise invalid("revision", f"'{str(value)[:64]}' is not a number of a revision")
    return number


def _chosen(tx: Transaction, row: Row, wanted: int | None) -> Configuration:
    """The kept configuration that a connection had at a revision; without one the newest that was up."""
    present = connection_revisions.present(tx, row["id"])
    if wanted is not None and present.number <= wanted <= row["revision_number"]:
        raise ApiError("RollbackConflict", f"Nothing would change: the connection is at revision {wanted}")
    kept = connection_revisions.earlier(tx, row["id"])
    if not kept:
        raise ApiError("RevisionNotFound", f"ipsec_site_connection {row['id']} has no earlier revision to go back to")
    if wanted is None:
        good = next((each for each in kept if each.good), None)
        if good is None:
            text = f"No earlier revision was up: name one of {_numbers(kept)}"
            raise ApiError("RollbackConflict", text)
        return good
    # Revisions in between have changed names only.
    chosen = next((each for each in kept if each.number <= wanted), None)
    if chosen is None or wanted > row["revision_number"]:
        text = f"Revision {wanted} of ipsec_site_connection {row['id']} is not kept, but {_numbers(kept)}"
        raise ApiError("RevisionNotFound", text)
    return chosen


def _numbers(kept: list[Configuration]) -> str:
    return ", ".join(str(each.number) for each in reversed(kept))


def _shown(each: Configuration, present: Configuration) -> dict[str, Any]:
    return {
        "revision_number": each.number,
        "created_at": iso_time(each.at),
        "author": each.author,
        "good": each.good,
        "current": each is present,
        "fields": differences(each, present),
    }


# --- OpenAPI ------------------------------------------------------------------------------------------------------

_NUMBER: Final[Schema] = {"type": "integer", "minimum": 1}
_FIELDS: Final[Schema] = {"type": "array", "items": {"type": "string"}}
_DESCRIPTION: Final = (
    "Without a revision it is the newest earlier one that was up. A policy that has other values now is changed back "
    "if no other connection uses it; otherwise the connection gets one with the wanted values, as `notes` say. All "
    "checks of an update apply. The answer is a new revision."
)
_BODY: Final[Schema] = {
    "type": "object",
    "properties": {"revision": {"anyOf": [integer_schema(1, MAX_INT), {"type": "null"}]}},
    "additionalProperties": False,
}
_ROLLBACK: Final[Schema] = closed(
    revision=described(_NUMBER, "the revision that was brought back"),
    fields=described(_FIELDS, "what has changed: attributes, and `ikepolicy.pfs` for those of what is referenced"),
    notes=described(
        {"type": "array", "items": {"type": "string"}}, "what stands in for what could not be changed back"
    ),
)
_REVISION: Final[Schema] = closed(
    revision_number=described(_NUMBER, "the revision that brought this configuration"),
    created_at=described({"type": "string", "format": "date-time"}, "when"),
    author=described({"type": ["string", "null"]}, "the user who did; null if it is not known"),
    good=described({"type": "boolean"}, "true: its gateway has reported it up"),
    current=described({"type": "boolean"}, "true: it is the present one"),
    fields=described(_FIELDS, "what differs from the present one; names, never values"),
)
_LIST: Final = Operation(
    id="list_connection_revisions",
    tag="connection",
    summary="the configurations that a connection has and had: the newest one first",
    answer=closed(revisions={"type": "array", "items": _REVISION}),
    refusals=error_responses.error_types(CONNECTION, "list_revisions"),
)
