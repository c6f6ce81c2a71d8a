"""CRUD over the registry: what GET, POST, PUT and DELETE do alike for every resource.

One transaction a request. What is peculiar to a resource stands in its `Hooks`. Another project's object is treated
as one that does not exist before anything else is judged; only then roles are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

import msgspec

from linkspan.api.attributes import Attributes, echo
from linkspan.api.http import body
from linkspan.api.http.caller import Caller
from linkspan.api.http.messages import Request, Response, WaitFor, encode, no_content, ok
from linkspan.api.http.notifications import Notifier
from linkspan.api.http.route import Route
from linkspan.api.openapi.crud import Crud
from linkspan.api.resources.quotas import require_room
from linkspan.core.authorization import policy
from linkspan.core.errors import ApiError
from linkspan.core.schema import list_query, node_relevance
from linkspan.core.schema.attribute_types import as_integer, is_uuid
from linkspan.core.schema.list_query import Query
from linkspan.core.schema.operations import MAX_BULK, PolicyAction
from linkspan.core.schema.resources import CONNECTION, Resource
from linkspan.core.state import status
from linkspan.store import revisions
from linkspan.store.rows import dependencies, reading, writing
from linkspan.store.rows.row import Row
from linkspan.store.store import Store
from linkspan.store.transaction import Transaction, Values

T = TypeVar("T")

DELETE_WAIT: Final = 2.0
"""Seconds for which DELETE waits for a node's word that it is gone."""
BATCH: Final = 20
"""Rows of a list that are in memory at a time."""


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

    def __init__(self, resource: Resource) -> None:
        self.resource = resource
        self.attributes = Attributes(resource)

    def create(self, tx: Transaction, caller: Caller, values: Values, given: Mapping[str, Any]) -> Row:
        """Makes the object; the row as `Transaction.get` gives it. `given`: the attributes as the client wrote them."""
        return writing.insert(tx, self.resource, values)

    def created(self, tx: Transaction, rows: list[Row], quotas: Mapping[str, int]) -> None:
        """Judges what was made in one request, all together. `quotas`: of projects that have none of their own."""
        require_room(tx, self.resource, (row["project_id"] for row in rows), quotas)

    def update(self, tx: Transaction, caller: Caller, row: Row, values: Values, given: Mapping[str, Any]) -> Row:
        """Changes the object; `values` holds only what differs from `row`, and may be empty."""
        return change(tx, self.resource, row, values)

    def delete(self, tx: Transaction, caller: Caller, row: Row) -> str | None:
        """Deletes the object; what to wait for, None if it is gone."""
        writing.remove(tx, self.resource, row["id"])
        return None

    def done(self, call: Request, rows: list[Row], before: Row | None) -> None:
        """After the commit of what a request made, or of one that it changed and how that was before: to tell of it."""

    def complete(self, tx: Transaction, rows: list[Row]) -> None:
        """Adds to rows what a view needs from elsewhere."""


def find(tx: Transaction, resource: Resource, id: str, caller: Caller, lock: bool = False) -> Row | None:
    """The object with an id, if the caller may read it."""
    reach = policy.scope(caller, "get", resource)
    if reach == "nothing" or not is_uuid(id):
        return None
    row = reading.get(tx, resource, id.lower(), caller.project_id if reach == "own" else None, lock)
    if row is not None and reach == "by row" and not policy.allows(caller, "get", resource, row):
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


def visible(tx: Transaction, resource: Resource, asked: Query, caller: Caller) -> Iterator[Row]:
    """The objects of a query that an identity may know of. Where that is judged by row, `asked` has no limit."""
    reach = policy.scope(caller, "get", resource)
    if reach == "nothing":
        return iter(())
    rows = reading.iterate(tx, resource, asked, caller.project_id if reach == "own" else None)
    return rows if reach != "by row" else (row for row in rows if policy.allows(caller, "get", resource, row))


def change(tx: Transaction, resource: Resource, row: Row, values: Values) -> Row:
    """Updates a row and says so to the nodes that have to know; without values it is as it was."""
    if not values:
        return row
    if node_relevance.matters(resource, values):
        connections, gateways = dependencies.affected_by(tx, resource, row["id"])
        revisions.touch(tx, connections=connections, gateways=gateways)
    return writing.update(tx, resource, row["id"], values)


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
        self._store = context.store
        self._everything = list_query.parse(self.resource, (), context.page)

    def routes(self) -> list[Route]:
        """All paths of the resource; also without the prefix of the service, as Neutron takes them."""
        long, short = self.resource.path, self.resource.path.rpartition("/")[2]
        made = self._routes(f"/v2.0/{long}", self.crud())
        return made if long == short else made + self._routes(f"/v2.0/{short}", self.crud(short=True))

    def crud(self, short: bool = False) -> Crud:
        """The OpenAPI description of the resource."""
        return Crud(self._attributes, self._context.bulk, short)

    def _routes(self, path: str, crud: Crud) -> list[Route]:
        one = f"{path}/{{id}}"
        made = [
            Route("GET", path, self.list, operation=crud.list()),
            Route("GET", one, self.show, operation=crud.show()),
        ]
        if self.resource.writable:
            made += [
                Route("POST", path, self.create, operation=crud.create()),
                Route("PUT", one, self.update, operation=crud.update()),
                Route("DELETE", one, self.delete, operation=crud.delete()),
                # No operations: they are refused, whatever is sent.
                Route("PUT", path, self.no_id),
                Route("DELETE", path, self.no_id),
            ]
        return made

    # --- reading ------------------------------------------------------------------------------------------------

    def list(self, request: Request) -> Response:
        """The objects that the query string asks for."""
        caller, resource = request.caller, self.resource
        policy.require(caller, "get", resource)
        pairs = request.parameters()
        asked = (
            list_query.parse(resource, pairs, self._context.page, self._attributes.beside)
            if pairs
            else self._everything
        )
        computed = list_query.is_computed(resource, asked) or policy.scope(caller, "get", resource) == "by row"
        with self._store.read() as tx:
            rows = visible(
                tx, resource, self._readable(list_query.for_store(resource, asked, computed), caller), caller
            )
            shown = self._views(tx, rows, caller)
            ids, items = [], []
            for each in list_query.page(asked, shown) if computed else shown:
                ids.append(each["id"])
                # As text at once: a thousand rows are never objects at the same time.
                items.append(msgspec.Raw(encode(_only(asked.fields, each))))
        answer: dict[str, Any] = {resource.plural: items}
        limited = any(name == "limit" for name, _ in pairs)
        if limited or len(ids) == self._context.page:
            answer[f"{resource.plural}_links"] = _links(request, pairs, asked, ids)
        return ok(answer)

    def _views(self, tx: Transaction, rows: Iterator[Row], caller: Caller) -> Iterator[Values]:
        """Rows as clients read them, one after the other."""
        view, now, grace = self._attributes.view, tx.now, self._context.grace
        sees_secrets = policy.sees_secrets(caller, self.resource)
        while some := list(islice(rows, BATCH)):
            self.hooks.complete(tx, some)
            for row in some:
                yield view(row, now, grace, sees_secrets(row))

    def _readable(self, asked: Query, caller: Caller) -> Query:
        """For who may not see keys they stay in their envelopes."""
        if self.resource is not CONNECTION or policy.secrets_scope(caller, self.resource) != "nothing":
            return asked
        return msgspec.structs.replace(asked, fields=("id",))

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
            shown = _only(list_query.parse(self.resource, _fields(request)).fields, shown)
        return ok({self.resource.singular: shown})

    def _view(self, row: Row, caller: Caller, now: float) -> Values:
        with_secrets = policy.sees_secrets(caller, self.resource)(row)
        return self._attributes.view(row, now, self._context.grace, with_secrets)

    # --- writing ------------------------------------------------------------------------------------------------

    def create(self, request: Request) -> Response:
        """A new object, or several in one transaction: all or nothing."""
        caller, resource = request.caller, self.resource
        policy.require(caller, "create", resource)
        asked, many = body.one_or_several(request.body, resource, self._context.bulk)
        places = [f"{resource.plural}[{number}]: " if many else "" for number in range(len(asked))]
        values = [
            _about(place, self._attributes.for_create, given, caller)
            for place, given in zip(places, asked, strict=True)
        ]
        with self._store.write() as tx:
            rows = [
                _about(place, self.hooks.create, tx, caller, *each)
                for place, *each in zip(places, values, asked, strict=True)
            ]
            self.hooks.created(tx, rows, self._context.quotas)
            self.hooks.complete(tx, rows)
            now = tx.now
        self.hooks.done(request, rows, None)
        shown = [self._view(row, caller, now) for row in rows]
        return ok({resource.plural: shown} if many else {resource.singular: shown[0]}, 201)

    def update(self, request: Request) -> Response:
        """Other values for some attributes."""
        caller = request.caller
        self._require_any(request, "update")
        given = body.enveloped(request.body, self.resource)
        self._attributes.check_update(given)
        with self._store.write() as tx:
            before = self._owned(tx, request, "update")
            values = node_relevance.differences(before, self._attributes.for_update(given, before))
            policy.require_values(caller, "update", self.resource, before, values)
            row = self.hooks.update(tx, caller, before, values, given)
            self.hooks.complete(tx, [row])
            now = tx.now
        self.hooks.done(request, [row], before)
        return ok({self.resource.singular: echo(self.resource, given, self._view(row, caller, now))})

    def delete(self, request: Request) -> Response:
        """The end of an object; the answer waits a moment for its node."""
        self._require_any(request, "delete")
        notifier = self._context.notifier
        waiter = None
        try:
            with self._store.write() as tx:
                row = self._owned(tx, request, "delete")
                key = self.hooks.delete(tx, request.caller, row)
                if key is None:
                    return no_content()
                # Before the commit: the node's word may come right after it.
                waiter = notifier.register(key)
        except BaseException:
            if waiter is not None:
                notifier.forget(waiter)
            raise
        return no_content(WaitFor(waiter, lambda: not self._present(row["id"]), self._context.delete_wait))

    def _present(self, id: str) -> bool:
        with self._store.read() as tx:
            return reading.is_present(tx, self.resource, id)

    def _require_any(self, request: Request, action: PolicyAction) -> None:
        """Refuses who may not do this to any object, without a transaction for writing; 404 goes before 403."""
        if policy.scope(request.caller, action, self.resource) != "nothing":
            return
        with self._store.read() as tx:
            readable = policy.scope(request.caller, "get", self.resource) != "nothing"
            if readable and find(tx, self.resource, request.id, request.caller) is None:
                raise not_found(self.resource, request.id)
        raise policy.refusal(action, self.resource)

    def _owned(self, tx: Transaction, request: Request, action: PolicyAction) -> Row:
        row = find(tx, self.resource, request.id, request.caller, lock=True)
        if row is None or (action == "update" and row.is_deleted):
            raise not_found(self.resource, request.id)
        # Seen, because it is shared perhaps; that does not make it theirs.
        policy.require(request.caller, action, self.resource, row)
        _require_revision(request, row)
        return row

    def no_id(self, request: Request) -> Response:
        """PUT and DELETE on the collection, answered as Neutron does."""
        raise not_found(self.resource, "None")


def _about(place: str, step: Callable[..., T], *given: Any) -> T:
    """A step of a creation; what is wrong with one of several objects is said with its place in the list."""
    try:
        return step(*given)
    except ApiError as problem:
        raise ApiError(problem.type, place + problem.message) from None


def _require_revision(request: Request, row: Row) -> None:
    """Refuses a write that was meant for another revision (`If-Match: revision_number=N`); the row is locked."""
    given = request.header(b"if-match")
    if given is None:
        return
    name, _, number = given.decode("latin-1").strip().partition("=")
    if name != "revision_number" or (wanted := as_integer(number)) is None:
        raise ApiError("HTTPBadRequest", "If-Match takes revision_number=N, N an integer")
    current = row["revision_number"]
    if wanted != current:
        message = f"Constrained to revision_number={wanted}, but the current revision is {current}"
        raise ApiError("RevisionNumberConstraintFailed", message)


def _fields(request: Request) -> list[tuple[str, str]]:
    return [(name, value) for name, value in request.parameters() if name == "fields"]


def _only(fields: tuple[str, ...], shown: Values) -> Values:
    return {name: shown[name] for name in shown if name in fields} if fields else shown


def _links(request: Request, pairs: list[tuple[str, str]], asked: Query, ids: list[str]) -> list[dict[str, str]]:
    kept = [(name, value) for name, value in pairs if name not in ("marker", "page_reverse")]
    if not any(name == "limit" for name, _ in pairs):
        kept.append(("limit", str(asked.limit)))
    return [
        {"rel": rel, "href": f"{request.base}{request.path}?{urlencode([*kept, *changes.items()])}"}
        for rel, changes in list_query.next_and_previous(asked, ids).items()
    ]
