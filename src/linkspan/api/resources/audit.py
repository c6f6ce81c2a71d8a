"""`/v2.0/linkspan/audit`: who changed what, and failed logins.

Admins read all entries, others those of their project, without the addresses of clients.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, get_args, get_type_hints

import msgspec

from linkspan.api.http.messages import Request, Response, ok
from linkspan.api.http.operation import Operation, Schema, closed, described
from linkspan.api.http.route import Route
from linkspan.api.openapi.crud import parameter
from linkspan.core.audit import AuditAction, AuditEntry
from linkspan.core.errors import ApiError
from linkspan.core.schema import list_query
from linkspan.store import audit
from linkspan.store.store import Store
from linkspan.store.transaction import Transaction

PATH: Final = "/v2.0/linkspan/audit"
RULE: Final = "get_audit"


class AuditTrail:
    """Handlers of the audit trail. `page`: largest number of entries in one answer."""

    def __init__(self, store: Store, page: int = list_query.PAGE) -> None:
        self._store = store
        self._page = page

    def routes(self) -> list[Route]:
        """All paths."""
        return [Route("GET", PATH, self.list, operation=_LIST)]

    def list(self, request: Request) -> Response:
        """The newest entries, the newest one first."""
        caller = request.caller
        scope = caller.policy.scope(caller, RULE)
        if scope == "nothing":
            raise ApiError("PolicyNotAuthorized", f"rule:{RULE} is disallowed by policy")
        filters, limit, marker = self._query(request)
        if scope == "own":
            if filters.get("project_id", caller.project_id) != caller.project_id:
                return ok({"audit": []})
            filters["project_id"] = caller.project_id
        with self._store.read() as tx:
            entries = []
            for entry in _newest(tx, filters, marker, limit if scope != "by row" else self._page):
                if scope != "by row" or caller.policy.allows(caller, RULE, {"project_id": entry.project_id}):
                    entries.append(_shown(entry, with_source=scope == "all"))
                if len(entries) == limit:
                    break
        return ok({"audit": entries})

    def _query(self, request: Request) -> tuple[dict[str, str], int, str | None]:
        """Filters, limit and marker of a request. Raises ApiError."""
        filters: dict[str, str] = {}
        limit, marker = self._page, None
        for name, value in request.parameters():
            if name == "limit":
                limit = list_query.page_limit([value], self._page)
            elif name == "marker":
                marker = value
            elif name in audit.FILTERS and "\x00" not in value:
                filters[name] = value
            else:
                message = f"'{name}' is not a parameter here, or has a value that no entry has"
                raise ApiError("HTTPBadRequest", message)
        if marker is not None and "\x00" in marker:
            raise ApiError("HTTPBadRequest", "Bad marker")
        return filters, limit, marker


def _newest(tx: Transaction, filters: Mapping[str, str], marker: str | None, most: int) -> Iterator[AuditEntry]:
    while entries := audit.page(tx, filters, most, marker):
        yield from entries
        marker = entries[-1].id


def _shown(entry: AuditEntry, with_source: bool) -> dict[str, Any]:
    shown = msgspec.structs.asdict(entry)
    shown["at"] = datetime.fromtimestamp(entry.at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    shown["source"] = entry.source if with_source else None
    return shown


# --- OpenAPI ------------------------------------------------------------------------------------------------------

_HINTS: Final = get_type_hints(AuditEntry, include_extras=True)
HELP: Final = {name: str(hint.__metadata__[0].description) for name, hint in _HINTS.items()}
"""What each attribute of an entry says."""
_TYPES: Final[dict[str, Schema]] = {
    "number": {"type": ["integer", "null"]},
    "at": {"type": "string", "format": "date-time"},
    "action": {"type": "string", "enum": list(get_args(AuditAction))},
    "source": {"type": ["string", "null"]},
    "fields": {"type": "array", "items": {"type": "string"}},
    "count": {"type": "integer"},
    "hash": {"type": ["string", "null"]},
}
_ENTRY: Final = closed(**{name: described(_TYPES.get(name, {"type": "string"}), help) for name, help in HELP.items()})
_TEXT: Final = {"type": "string", "pattern": r"^[^\x00]*$"}
_LIST: Final = Operation(
    id="list_audit",
    tag="audit",
    summary="who changed what, and failed logins: the newest entries first",
    description="Admins read all entries, others those of objects of their project. An entry names attributes and "
    "never has a value of one.",
    parameters=(
        parameter("limit", {"type": "integer", "minimum": 0}, "the most entries in the answer"),
        parameter("marker", _TEXT, "the id of the last entry of the page before"),
        *(parameter(name, _TEXT, f"filter: {HELP[name]}") for name in audit.FILTERS),
    ),
    answer=closed(audit={"type": "array", "items": _ENTRY}),
    refusals=("PolicyNotAuthorized", "BadRequest", "HTTPBadRequest"),
)
