"""Dry runs: a request with `dry_run=true` does everything but to commit, and answers with what would follow.

It is handled as without the parameter, so that it is refused as the request itself would be. Its transaction is rolled
back after the touched gateways were read as they would be, and `core.foresight` compares them with those as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, NoReturn

from msgspec.structs import asdict, replace

from linkspan.api.http.caller import Caller
from linkspan.api.http.messages import Handler, Request, Response, ok
from linkspan.api.http.operation import Operation
from linkspan.api.http.route import Route
from linkspan.api.openapi.dry_run import with_dry_run
from linkspan.api.resources.collection import Collection, Hooks, visible
from linkspan.core.checks import weak_algorithms
from linkspan.core.errors import ApiError
from linkspan.core.foresight import dry_runs
from linkspan.core.foresight.effects import Outlook
from linkspan.core.foresight.foretell import foretell
from linkspan.core.schema.list_query import Query
from linkspan.core.schema.resources import CONNECTION, IKE_POLICY, IPSEC_POLICY, Resource
from linkspan.core.secret import SHORTEST
from linkspan.core.state.credentials import TrustAnchor
from linkspan.core.state.desired import Connection
from linkspan.pki import pem
from linkspan.store.nodes import gateways_touched
from linkspan.store.nodes.gateways_touched import TouchedGateway
from linkspan.store.rows.row import Row
from linkspan.store.store import Store
from linkspan.store.transaction import Transaction, Values

_WRITES: Final = frozenset({"POST", "PUT", "DELETE", "PATCH"})
_POLICIES: Final = (IKE_POLICY, IPSEC_POLICY)


class _Rehearsed(Exception):
    """The end of a rehearsal, which rolls its transaction back."""


class _Rehearsal:
    """The transactions of one dry run; after the only one that writes, `touched` has what it would have changed."""

    def __init__(self, store: Store, caller: Caller, watched: _Watched) -> None:
        self._store = store
        self._caller = caller
        self._watched = watched
        self.touched: Mapping[str, TouchedGateway] = {}
        self.visible: set[str] = set()
        self.left_out = 0

    def read(self) -> AbstractContextManager[Transaction]:
        """A transaction of the store."""
        return self._store.read()

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """A transaction that is rolled back. Raises `_Rehearsed` at its end."""
        with self._store.write(repeatable=True) as tx:
            with tx.undone():
                yield tx
                touched = gateways_touched.touched_by(tx, self._watched.connections())
                after = self._moment(tx, touched)
            before = self._moment(tx, touched)
            self.touched = gateways_touched.between(before, after)
            self.left_out = max(before.left_out, after.left_out)
            raise _Rehearsed

    def _moment(self, tx: Transaction, touched: gateways_touched.Touched) -> gateways_touched.Moment:
        moment = gateways_touched.read(tx, touched)
        ids = tuple(sorted(id for state in moment.states.values() for id in state.connections))
        if ids:
            rows = visible(tx, CONNECTION, Query(filters={"id": ids}, fields=("id",)), self._caller)
            self.visible.update(row["id"] for row in rows)
        return moment


class _Watched(Hooks):
    """The hooks of a resource, and in `rows` the objects that they have created, changed or deleted."""

    def __init__(self, hooks: Hooks) -> None:
        self.resource = hooks.resource
        self.attributes = hooks.attributes
        self.bulk = hooks.bulk
        self.rows: list[Row] = []
        self._hooks = hooks

    def connections(self) -> list[str]:
        """The ids of those that are connections."""
        return [row["id"] for row in self.rows] if self.resource is CONNECTION else []

    def create(self, tx: Transaction, caller: Caller, values: Values, raw: Mapping[str, Any]) -> Row:
        return self._hooks.create(tx, caller, values, raw)

    def after_create(self, tx: Transaction, rows: list[Row], quotas: Mapping[str, int]) -> None:
        self._hooks.after_create(tx, rows, quotas)
        self.rows += rows

    def update(self, tx: Transaction, caller: Caller, row: Row, values: Values, raw: Mapping[str, Any]) -> Row:
        changed = self._hooks.update(tx, caller, row, values, raw)
        self.rows.append(changed)
        return changed

    def delete(self, tx: Transaction, caller: Caller, row: Row) -> str | None:
        key = self._hooks.delete(tx, caller, row)
        self.rows.append(row)
        return key

    def complete(self, tx: Transaction, rows: list[Row]) -> None:
        self._hooks.complete(tx, rows)


def routes(collections: list[Collection], store: Store) -> list[Route]:
    """The routes of collections. Those of `_rehearsable` take `dry_run`."""
    return [_with_dry_run(route, collection, store) for collection in collections for route in collection.routes()]


def guarded(route: Route) -> Route:
    """A route that refuses a dry run if it writes and has none: nobody who asks for one wants the request itself."""
    handler, operation = route.handler, route.operation
    if handler is None or operation is None or operation.rehearsed or route.method not in _WRITES:
        return route

    def refusing(request: Request) -> Response:
        if request.query and dry_runs.is_wanted(request.parameters()):
            raise ApiError("HTTPBadRequest", "this request has no dry run: leave dry_run out, and nothing was done")
        return handler(request)

    return _with_handler(route, refusing)


def _with_dry_run(route: Route, collection: Collection, store: Store) -> Route:
    handler, operation = route.handler, route.operation
    name = getattr(handler, "__name__", "")
    if operation is None or handler is None or name not in _REHEARSABLE:
        return route

    def answering(request: Request) -> Response:
        if not (request.query and dry_runs.is_wanted(request.parameters())):
            return handler(request)
        return _rehearse(collection, store, name, request)

    return _with_handler(route, answering, with_dry_run(operation))


_REHEARSABLE: Final = frozenset({"create", "update", "delete", "add_interface", "remove_interface", "rollback"})
"""The handlers of collections that have a dry run."""


def _rehearse(collection: Collection, store: Store, name: str, request: Request) -> Response:
    """The answer to a dry run. Raises ApiError, as the request itself would."""
    watched = _Watched(collection.hooks)
    rehearsal = _Rehearsal(store, request.caller, watched)
    handler: Callable[[Request], NoReturn] = getattr(collection.over(rehearsal, watched), name)
    try:
        handler(request)
    except _Rehearsed:
        return ok({dry_runs.ENVELOPE: _answer(rehearsal, watched, name)})


def _answer(rehearsal: _Rehearsal, watched: _Watched, name: str) -> dict[str, Any]:
    entries: dict[str, dict[str, Any]] = {}
    for gateway in rehearsal.touched.values():
        for id, outlook in foretell(gateway.before, gateway.after, gateway.running, _revokes_more).items():
            if id in rehearsal.visible and (id in gateway.touched or outlook.effect != "nothing"):
                entries[id] = _entry(id, gateway, outlook)
    written = watched.rows if name != "delete" and watched.resource in _POLICIES else ()
    weak = [text for row in written for text in _weak(watched.resource, row)]
    ordered = sorted(entries.values(), key=lambda entry: (entry["name"], entry["id"]))
    return {"connections": ordered, "weak_choices": weak, "left_out": rehearsal.left_out}


def _entry(id: str, gateway: TouchedGateway, outlook: Outlook) -> dict[str, Any]:
    after = gateway.after.connections.get(id)
    return {
        "id": id,
        "name": (after or gateway.before.connections[id]).name,
        "effect": outlook.effect,
        "reason": outlook.reason,
        "seconds": outlook.seconds,
        "superseded_by": [each for each in outlook.by if each in gateway.after.connections],
        "changed": list(outlook.changed),
        "weak_choices": _weak_of(after) if after else [],
    }


def _weak_of(connection: Connection) -> list[str]:
    """The weak choices of a connection, with those of its policies."""
    policies = ((IKE_POLICY, connection.ike), (IPSEC_POLICY, connection.ipsec))
    found = [f"{resource.singular} {text}" for resource, policy in policies for text in _weak(resource, asdict(policy))]
    if connection.auth_mode == "psk" and not connection.fault and len(connection.psk.reveal()) < SHORTEST:
        found.append(f"psk shorter than {SHORTEST} characters")
    return found


def _weak(resource: Resource, values: Mapping[str, Any]) -> list[str]:
    return [f"{name} {value}" for name, value in weak_algorithms.weak_values(resource, values).items()]


def _revokes_more(old: TrustAnchor, new: TrustAnchor) -> bool:
    """True if a trust anchor revokes certificates that it did not revoke before."""
    return not _revoked(new) <= _revoked(old)


def _revoked(anchor: TrustAnchor) -> set[tuple[bytes, int]]:
    """The certificates that the lists of an anchor revoke, by the names of their CAs and their numbers."""
    if anchor.revocation == "none":
        return set()
    lists = [crl for text in anchor.crls for crl in pem.crls(text)]
    return {(crl.issuer.public_bytes(), entry.serial_number) for crl in lists for entry in crl}


def _with_handler(route: Route, handler: Handler, operation: Operation | None = None) -> Route:
    return replace(route, handler=handler, operation=operation or route.operation)
