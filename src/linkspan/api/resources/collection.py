"""CRUD over the registry: GET, POST, PUT and DELETE, the same for every resource.

Each request is one transaction. `Hooks` has what differs between resources. Another project's object gets the 404 of
one that does not exist before roles or values are checked.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from itertools import islice
from typing import Any, Final, Protocol, Self, TypeVar
from urllib.parse import urlencode

import msgspec

from linkspan.api.attributes import Attributes, echo
from linkspan.api.http import body
from linkspan.api.http.actors import actor_of
from linkspan.api.http.caller import Caller
from linkspan.api.http.messages import Request, Response, WaitFor, encode, no_content, ok
from linkspan.api.http.notifications import Notifier
from linkspan.api.http.route import Route
from linkspan.api.openapi.crud import Crud
from linkspan.api.resources.quotas import require_room
from linkspan.core.audit import AuditAction
from linkspan.core.authorization import policy
from linkspan.core.errors import ApiError
from linkspan.core.schema import list_query, node_relevance
from linkspan.core.schema.attribute_types import as_integer, is_uuid
from linkspan.core.schema.list_query import Query
from linkspan.core.schema.operations import MAX_BULK, PolicyAction
from linkspan.core.schema.resources import CONNECTION, IKE_POLICY, IPSEC_POLICY, Resource
from linkspan.core.state import status
from linkspan.store import audit, revisions, timeline
from linkspan.store.rows import connection_revisions, dependencies, reading, writing
from linkspan.store.rows.row import Row
from linkspan.store.store import Store
from linkspan.store.transaction import Transaction, Values

T = TypeVar("T")

DELETE_WAIT: Final = 2.0
"""Seconds for which DELETE waits until a node confirms that the object is gone."""
BATCH: Final = 20
"""Rows of a list that are in memory at a time."""


class Transactions(Protocol):
    """What a collection needs of a store."""

    def read(self) -> AbstractContextManager[Transaction]:
        """A transaction that only reads."""
        ...

    def write(self) -> AbstractContextManager[Transaction]:
        """A transaction that may write."""
        ...


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """Context shared by the handlers of all resources.

    `grace`, `delete_wait`: seconds; `page`: largest number of objects in one answer; `bulk`: in one request; `quotas`:
    default quotas.
    """

    store: Store
    notifier: Notifier
    quotas: Mapping[str, int]
    grace: float = status.GRACE
    delete_wait: float = DELETE_WAIT
    page: int = list_query.PAGE
    bulk: int = MAX_BULK


class Hooks:
    """Hooks of a resource around CRUD. The defaults here suit a resource without rules of its own."""

    bulk: int | None = None
    """The most objects of one POST, if fewer than of other resources."""

    def __init__(self, resource: Resource) -> None:
        self.resource = resource
        self.attributes = Attributes(resource)

    def create(self, tx: Transaction, caller: Caller, values: Values, raw: Mapping[str, Any]) -> Row:
        """Creates the object and returns its row. `values`: converted; `raw`: the attributes as sent."""
        return writing.insert(tx, self.resource, values)

    def after_create(self, tx: Transaction, rows: list[Row], quotas: Mapping[str, int]) -> None:
        """Checks the objects that one request created, together and before the commit. `quotas`: the defaults."""
        require_room(tx, self.resource, (row["project_id"] for row in rows), quotas)

    def update(self, tx: Transaction, caller: Caller, row: Row, values: Values, raw: Mapping[str, Any]) -> Row:
        """Updates the object and returns its row; `values` holds only what differs from `row`, and may be empty."""
        return change(tx, self.resource, row, values)

    def delete(self, tx: Transaction, caller: Caller, row: Row) -> str | None:
        """Deletes the object. Returns the `Notifier` key of the confirmation to wait for; None: it is gone already."""
        writing.remove(tx, self.resource, row["id"])
        return None

    def after_commit(self, request: Request, rows: list[Row], before: Row | None) -> None:
        """Called after a create or an update, to log it. `before`: the row before the update; None: `rows` are new."""

    def complete(self, tx: Transaction, rows: list[Row]) -> None:
        """Adds to rows what a view needs from elsewhere."""


def find(tx: Transaction, resource: Resource, id: str, caller: Caller, lock: bool = False) -> Row | None:
    """The object with an id, if the caller may read it."""
    scope = policy.scope(caller, "get", resource)
    if scope == "nothing" or not is_uuid(id):
        return None
    row = reading.get(tx, resource, id.lower(), caller.project_id if scope == "own" else None, lock)
    if row is not None and scope == "by row" and not policy.allows(caller, "get", resource, row):
        return None
    return row


def find_live(tx: Transaction, resource: Resource, id: str, caller: Caller, lock: bool = False) -> Row:
    """As `find`. Raises ApiError, the resource's own 404, also for an object that waits for its node to delete it."""
    return require_live(find(tx, resource, id, caller, lock), resource, id)


def require_live(row: Row | None, resource: Resource, id: str) -> Row:
    """The row that was read for an id. Raises ApiError, the resource's own 404, if it is absent or deleted."""
    if row is None or row.is_deleted:
        raise not_found(resource, id)
    return row


def read_again(tx: Transaction, resource: Resource, id: str) -> Row:
    """The row of an object that this transaction changed through other tables. Raises ApiError, its own 404."""
    row = reading.get(tx, resource, id)
    if row is None:
        raise not_found(resource, id)
    return row


def visible(tx: Transaction, resource: Resource, query: Query, caller: Caller) -> Iterator[Row]:
    """The objects of a query that the caller may read. Under a rule that is evaluated by row, `query` has no limit."""
    scope = policy.scope(caller, "get", resource)
    if scope == "nothing":
        return iter(())
    rows = reading.iterate(tx, resource, query, caller.project_id if scope == "own" else None)
    return rows if scope != "by row" else (row for row in rows if policy.allows(caller, "get", resource, row))


def change(tx: Transaction, resource: Resource, row: Row, values: Values) -> Row:
    """Updates a row and stamps the nodes that the change matters to. Without values it changes nothing."""
    if not values:
        return row
    if not node_relevance.matters(resource, values):
        return writing.update(tx, resource, row["id"], values)
    if resource in (IKE_POLICY, IPSEC_POLICY):
        connection_revisions.revise(tx, resource, row["id"])
        return writing.update(tx, resource, row["id"], values)
    connections, gateways = dependencies.affected_by(tx, resource, row["id"])
    revisions.touch(tx, connections=connections, gateways=gateways)
    if resource is CONNECTION:
        connection_revisions.keep(tx, connections)
    return writing.update(tx, resource, row["id"], values, configures=resource is CONNECTION)


def not_found(resource: Resource, id: str) -> ApiError:
    """The 404 of a resource, in Neutron's words."""
    if resource is CONNECTION:
        return ApiError(resource.not_found, f"{resource.label} {id} not found")
    stop = "." if resource.name in ("network", "subnet", "port") else ""
    return ApiError(resource.not_found, f"{resource.label} {id} could not be found{stop}")


class Collection:
    """The handlers of one resource."""

    def __init__(self, hooks: Hooks, context: Context) -> None:
        self.hooks = hooks
        self.resource = hooks.resource
        self._attributes = hooks.attributes
        self._context = context
        self._store: Transactions = context.store
        self._bulk = min(context.bulk, hooks.bulk or context.bulk)
        self._everything = list_query.parse(self.resource, (), context.page)

    def over(self, store: Transactions, hooks: Hooks) -> Self:
        """The same handlers over other transactions, with other hooks."""
        other = copy.copy(self)
        other._store, other.hooks = store, hooks  # noqa: SLF001 # of this class
        return other

    def routes(self) -> list[Route]:
        """All paths of the resource; also without the prefix of the service, as Neutron takes them."""
        long, short = self.resource.path, self.resource.path.rpartition("/")[2]
        routes = self._routes(f"/v2.0/{long}", self.crud())
        return routes if long == short else routes + self._routes(f"/v2.0/{short}", self.crud(short=True))

    def crud(self, short: bool = False) -> Crud:
        """The OpenAPI description of the resource."""
        return Crud(self._attributes, self._bulk, short)

    def _routes(self, path: str, crud: Crud) -> list[Route]:
        member = f"{path}/{{id}}"
        routes = [
            Route("GET", path, self.list, operation=crud.list()),
            Route("GET", member, self.show, operation=crud.show()),
        ]
        if self.resource.writable:
            routes += [
                Route("POST", path, self.create, operation=crud.create()),
                Route("PUT", member, self.update, operation=crud.update()),
                Route("DELETE", member, self.delete, operation=crud.delete()),
                # Without operations, because these always refuse.
                Route("PUT", path, self.no_id),
                Route("DELETE", path, self.no_id),
            ]
        return routes

    # --- reading ------------------------------------------------------------------------------------------------

    def list(self, request: Request) -> Response:
        """The objects that the query string asks for."""
        caller, resource = request.caller, self.resource
        policy.require(caller, "get", resource)
        pairs = request.parameters()
        query = (
            list_query.parse(resource, pairs, self._context.page, self._attributes.extra) if pairs else self._everything
        )
        with self._store.read() as tx:
            ids, items = [], []
            for item in self._page(tx, query, caller):
                ids.append(item["id"])
                # As text at once: a thousand rows are never objects at the same time.
                items.append(msgspec.Raw(encode(only(query.fields, item))))
        answer: dict[str, Any] = {resource.plural: items}
        limited = any(name == "limit" for name, _ in pairs)
        if limited or len(ids) == self._context.page:
            answer[f"{resource.plural}_links"] = _links(request, pairs, query, ids)
        return ok(answer)

    def _page(self, tx: Transaction, query: Query, caller: Caller) -> Iterable[Values]:
        """The objects of a query as clients read them: from as few rows as it allows."""
        resource = self.resource
        scope = policy.scope(caller, "get", resource)
        whole = scope == "by row" or list_query.sorts_by_computed(resource, query)
        stored = self._without_keys(list_query.for_store(resource, query, whole), caller)
        if not whole and scope != "nothing" and list_query.filters_by_computed(resource, query):
            project = caller.project_id if scope == "own" else None
            rows = reading.scan(tx, resource, stored, project, query.filters.get("status", ()), self._context.grace)
            return list_query.first(query, self._views(tx, rows, caller))
        shown = self._views(tx, visible(tx, resource, stored, caller), caller)
        return list_query.page(query, shown) if whole else shown

    def _views(self, tx: Transaction, rows: Iterator[Row], caller: Caller) -> Iterator[Values]:
        """Rows as clients read them, one after the other."""
        view, now, grace = self._attributes.view, tx.now, self._context.grace
        sees_secrets = policy.sees_secrets(caller, self.resource)
        while batch := list(islice(rows, BATCH)):
            self.hooks.complete(tx, batch)
            for row in batch:
                yield view(row, now, grace, sees_secrets(row))

    def _without_keys(self, query: Query, caller: Caller) -> Query:
        """A query that does not decrypt pre-shared keys if the caller may not read any."""
        if not self._attributes.has_secrets or policy.secrets_scope(caller, self.resource) != "nothing":
            return query
        return msgspec.structs.replace(query, fields=("id",))

    def show(self, request: Request) -> Response:
        """One object."""
        policy.require(request.caller, "get", self.resource)
        with self._store.read() as tx:
            row = find(tx, self.resource, request.id, request.caller)
            if row is None:
                raise not_found(self.resource, request.id)
            self.hooks.complete(tx, [row])
            now = tx.now
        shown = self._view(row, request.caller, now)
        if request.query:
            shown = only(list_query.parse(self.resource, _fields(request)).fields, shown)
        return ok({self.resource.singular: shown})

    def _view(self, row: Row, caller: Caller, now: float) -> Values:
        with_secrets = policy.sees_secrets(caller, self.resource)(row)
        return self._attributes.view(row, now, self._context.grace, with_secrets)

    # --- writing ------------------------------------------------------------------------------------------------

    def create(self, request: Request) -> Response:
        """A new object, or several in one transaction: all or nothing."""
        caller, resource = request.caller, self.resource
        policy.require(caller, "create", resource)
        members, many = body.one_or_several(request.body, resource, self._bulk)
        prefixes = [f"{resource.plural}[{number}]: " if many else "" for number in range(len(members))]
        values = [
            _with_prefix(prefix, self._attributes.for_create, raw, caller)
            for prefix, raw in zip(prefixes, members, strict=True)
        ]
        with self._store.write() as tx:
            tx.author = caller.name
            rows = [
                _with_prefix(prefix, self.hooks.create, tx, caller, converted, raw)
                for prefix, converted, raw in zip(prefixes, values, members, strict=True)
            ]
            self.hooks.after_create(tx, rows, self._context.quotas)
            for row, raw in zip(rows, members, strict=True):
                self._audit(tx, request, "create", row, raw)
            self.hooks.complete(tx, rows)
            now = tx.now
        self.hooks.after_commit(request, rows, None)
        shown = [self._view(row, caller, now) for row in rows]
        return ok({resource.plural: shown} if many else {resource.singular: shown[0]}, 201)

    def update(self, request: Request) -> Response:
        """Changes some attributes of an object."""
        caller = request.caller
        self._require_any(request, "update")
        raw = body.enveloped(request.body, self.resource)
        self._attributes.check_update(raw)
        with self._store.write() as tx:
            tx.author = caller.name
            before = self._owned(tx, request, "update")
            values = node_relevance.differences(before, self._attributes.for_update(raw, before))
            policy.require_values(caller, "update", self.resource, before, values)
            row = self.hooks.update(tx, caller, before, values, raw)
            if changed := {*values, *(name for name in raw if before.get(name) != row.get(name))}:
                self._audit(tx, request, "update", row, changed)
            self.hooks.complete(tx, [row])
            now = tx.now
        self.hooks.after_commit(request, [row], before)
        return ok({self.resource.singular: echo(self.resource, raw, self._view(row, caller, now))})

    def delete(self, request: Request) -> Response:
        """Deletes an object; the answer waits a moment for its node's confirmation."""
        self._require_any(request, "delete")
        notifier = self._context.notifier
        waiter = None
        try:
            with self._store.write() as tx:
                row = self._owned(tx, request, "delete")
                key = self.hooks.delete(tx, request.caller, row)
                if not row.is_deleted:
                    self._audit(tx, request, "delete", row)
                if key is None:
                    return no_content()
                # Before the commit: the node's confirmation may come right after it.
                waiter = notifier.register(key)
        except BaseException:
            if waiter is not None:
                notifier.forget(waiter)
            raise
        return no_content(WaitFor(waiter, lambda: not self._present(row["id"]), self._context.delete_wait))

    def _audit(
        self, tx: Transaction, request: Request, action: AuditAction, row: Row, fields: Iterable[str] = ()
    ) -> None:
        actor, named = actor_of(request), tuple(fields)
        audit.record(tx, actor, action, self.resource.name, row["id"], row["project_id"], named)
        if self.resource is not CONNECTION and action != "create":
            timeline.revised(tx, actor, action, self.resource.name, row["id"], named)
        elif self.resource is CONNECTION and action != "probe":
            own = (row["project_id"], row["name"])
            timeline.revised(tx, actor, action, self.resource.name, row["id"], named, own=own)

    def _present(self, id: str) -> bool:
        with self._store.read() as tx:
            return reading.is_present(tx, self.resource, id)

    def _require_any(self, request: Request, action: PolicyAction, id: str = "") -> None:
        """Raises ApiError if the caller may not do this to any object: without a write transaction, 404 before 403.
        `id`: if it is not the request's."""
        id = id or request.id
        if policy.scope(request.caller, action, self.resource) != "nothing":
            return
        with self._store.read() as tx:
            readable = policy.scope(request.caller, "get", self.resource) != "nothing"
            if readable and find(tx, self.resource, id, request.caller) is None:
                raise not_found(self.resource, id)
        raise policy.refusal(action, self.resource)

    def _owned(self, tx: Transaction, request: Request, action: PolicyAction, id: str = "") -> Row:
        id = id or request.id
        row = find(tx, self.resource, id, request.caller, lock=True)
        if row is None or (action == "update" and row.is_deleted):
            raise not_found(self.resource, id)
        # The caller may read it, perhaps because it is shared; to change it takes another rule.
        policy.require(request.caller, action, self.resource, row)
        _require_revision(request, row)
        return row

    def no_id(self, request: Request) -> Response:
        """PUT and DELETE on the collection, answered as Neutron does."""
        raise not_found(self.resource, "None")


def _with_prefix(prefix: str, function: Callable[..., T], *args: Any) -> T:
    """Calls a function. The prefix, which names the object of a list, goes before the message of its ApiError."""
    try:
        return function(*args)
    except ApiError as problem:
        raise ApiError(problem.type, prefix + problem.message) from None


def _require_revision(request: Request, row: Row) -> None:
    """Refuses a write that was meant for another revision (`If-Match: revision_number=N`); the row is locked."""
    condition = request.header(b"if-match")
    if condition is None:
        return
    name, _, number = condition.decode("latin-1").strip().partition("=")
    if name != "revision_number" or (wanted := as_integer(number)) is None:
        raise ApiError("HTTPBadRequest", "If-Match takes revision_number=N, N an integer")
    current = row["revision_number"]
    if wanted != current:
        message = f"Constrained to revision_number={wanted}, but the current revision is {current}"
        raise ApiError("RevisionNumberConstraintFailed", message)


def _fields(request: Request) -> list[tuple[str, str]]:
    return [(name, value) for name, value in request.parameters() if name == "fields"]


def only(fields: tuple[str, ...], shown: Values) -> Values:
    """An object with these fields; without any, all of it."""
    return {name: shown[name] for name in shown if name in fields} if fields else shown


def _links(request: Request, pairs: list[tuple[str, str]], query: Query, ids: list[str]) -> list[dict[str, str]]:
    kept = [(name, value) for name, value in pairs if name not in ("marker", "page_reverse")]
    if not any(name == "limit" for name, _ in pairs):
        kept.append(("limit", str(query.limit)))
    return [
        {"rel": rel, "href": f"{request.base}{request.path}?{urlencode([*kept, *changes.items()])}"}
        for rel, changes in list_query.next_and_previous(query, ids).items()
    ]
