"""`/v2.0/quotas`: how many objects a project may have, in Neutron's shapes.

Policy rules decide who reads and changes them. Each resource's `Collection` checks the quota of a new object in the
transaction that creates it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from linkspan.api.http import body
from linkspan.api.http.actors import actor_of
from linkspan.api.http.messages import Request, Response, no_content, ok
from linkspan.api.http.operation import Operation, Schema, closed, described, ref
from linkspan.api.http.route import Route
from linkspan.core.authorization import policy
from linkspan.core.checks import quota
from linkspan.core.errors import ApiError
from linkspan.core.schema import error_responses, examples
from linkspan.core.schema.attribute_types import MAX_INT, Boolean, Text, integer_schema
from linkspan.core.schema.resources import Resource
from linkspan.store import audit
from linkspan.store.rows import quotas, reading
from linkspan.store.store import Store
from linkspan.store.transaction import Transaction

_ID: Final = Text(max_length=64, min_length=1)
_PATH: Final = "/v2.0/quotas"


def lock_quota(tx: Transaction, resource: Resource, project: str, defaults: Mapping[str, int]) -> int:
    """The quota of a project for a resource, locked until the end of the transaction."""
    own = quotas.lock_own_quota(tx, resource, project)
    return defaults[resource.singular] if own is None else own


def require_room(tx: Transaction, resource: Resource, projects: Iterable[str], defaults: Mapping[str, int]) -> None:
    """Checks that these projects stay within their quotas after objects of a resource were created. Raises ApiError
    OverQuota.

    Called last: the transaction holds the lock on the quota until its end.
    """
    # In one order, so that two requests for two projects do not wait for each other.
    for project in sorted(set(projects)):
        limit = lock_quota(tx, resource, project, defaults)
        if limit != quota.UNLIMITED:
            quota.check_room(resource.singular, limit, reading.count(tx, resource, project))


class Quotas:
    """Handlers of the quotas. `defaults`: for projects without quotas of their own, by the API's names."""

    def __init__(self, store: Store, defaults: Mapping[str, int]) -> None:
        self._store = store
        self._defaults = dict(defaults)

    def routes(self) -> list[Route]:
        """All paths."""
        return [
            Route("GET", _PATH, self.list, operation=_LIST),
            Route("GET", f"{_PATH}/tenant", self.tenant, operation=_TENANT),
            Route("GET", f"{_PATH}/{{id}}", self.show, operation=_SHOW),
            Route("PUT", f"{_PATH}/{{id}}", self.update, operation=_UPDATE),
            Route("DELETE", f"{_PATH}/{{id}}", self.delete, operation=_DELETE),
            Route("GET", f"{_PATH}/{{id}}/default", self.default, operation=_DEFAULT),
            Route("GET", f"{_PATH}/{{id}}/details", self.details, operation=_DETAILS),
        ]

    def list(self, request: Request) -> Response:
        """Every project that has quotas of its own."""
        policy.require_rule(request.caller, "get_quota", {})
        with self._store.read() as tx:
            quotas_of = quotas.all_quotas(tx)
        return ok(
            {
                "quotas": [
                    {**self._limits(own), "project_id": project, "tenant_id": project}
                    for project, own in quotas_of.items()
                ]
            }
        )

    def tenant(self, request: Request) -> Response:
        """The caller's project, for the path of its quotas."""
        return ok({"tenant": {"tenant_id": request.caller.project_id}})

    def show(self, request: Request) -> Response:
        """The quotas that hold for a project."""
        project = _allowed(request, "get")
        with self._store.read() as tx:
            return ok({"quota": self._limits(quotas.of_project(tx, project))})

    def default(self, request: Request) -> Response:
        """The quotas of a project that has none of its own."""
        _allowed(request, "get")
        return ok({"quota": self._defaults})

    def details(self, request: Request) -> Response:
        """The quotas of a project beside what it uses."""
        project = _allowed(request, "get")
        with self._store.read() as tx:
            limits = self._limits(quotas.of_project(tx, project))
            used = {name: reading.count(tx, resource, project) for name, resource in quota.COUNTED.items()}
        return ok(
            {"quota": {name: {"limit": limit, "used": used[name], "reserved": 0} for name, limit in limits.items()}}
        )

    def update(self, request: Request) -> Response:
        """Quotas of a project's own. They may be below what it has; `check_limit` refuses that."""
        project = _allowed(request, "update")
        raw = body.json_object(request.body).get("quota")
        if not isinstance(raw, dict):
            raise ApiError("HTTPBadRequest", "Unable to find 'quota' in request body")
        limits = quota.parse_quotas(raw)
        check = Boolean().convert("check_limit", raw.get("check_limit", False))
        with self._store.write() as tx:
            for name, limit in limits.items() if check else ():
                quota.check_room(name, limit, reading.count(tx, quota.COUNTED[name], project))
            quotas.set_quotas(tx, project, {quota.COUNTED[name].name: limit for name, limit in limits.items()})
            if limits:
                audit.record(tx, actor_of(request), "update", "quota", project, project, limits)
            return ok({"quota": self._limits(quotas.of_project(tx, project))})

    def delete(self, request: Request) -> Response:
        """Back to the defaults."""
        project = _allowed(request, "delete")
        with self._store.write() as tx:
            if not quotas.reset_quotas(tx, project):
                raise ApiError("TenantQuotaNotFound", f"Quota for tenant {project} could not be found.")
            audit.record(tx, actor_of(request), "delete", "quota", project, project)
        return no_content()

    def _limits(self, own: Mapping[str, int]) -> dict[str, Any]:
        return {name: own.get(resource.name, self._defaults[name]) for name, resource in quota.COUNTED.items()}


def _allowed(request: Request, action: str) -> str:
    """The project in the path, whose quotas the caller may read or change. Raises ApiError."""
    project = _ID.convert("project_id", request.id)
    policy.require_rule(request.caller, f"{action}_quota", {"project_id": project})
    return project


# --- OpenAPI operations -------------------------------------------------------------------------------------------

_WHOLE: Final = {"type": "integer", "minimum": 0}
_LIMIT: Final = {"type": "integer", "minimum": quota.UNLIMITED, "maximum": MAX_INT}
_PROJECT: Final = {"type": "string"}
_ALLOWED: Final = ("HTTPBadRequest", "PolicyNotAuthorized")
_SCHEMAS: Final[dict[str, Schema]] = {
    "Quota": described(closed(**dict.fromkeys(quota.COUNTED, _LIMIT)), "-1: any number"),
    "QuotaUpdate": {
        "type": "object",
        "properties": {
            **dict.fromkeys(quota.COUNTED, integer_schema(quota.UNLIMITED, MAX_INT)),
            "check_limit": described(Boolean().schema(), "true: refuse a quota that is below what the project has"),
            **{name: {"description": "taken, and without effect"} for name in ("force", "project_id", "tenant_id")},
        },
        "additionalProperties": False,
    },
}


def _operation(id: str, summary: str, answer: Schema | None, **more: Any) -> Operation:
    fixed = {"tag": "quota", "path_ids": {"project_id": _ID.schema()}, "refusals": _ALLOWED, "schemas": _SCHEMAS}
    return Operation(id=id, summary=summary, answer=answer, **fixed | more)


_ONE: Final = closed(quota=ref("Quota"))
_OWN: Final = closed(**dict.fromkeys(quota.COUNTED, _LIMIT), project_id=_PROJECT, tenant_id=_PROJECT)
_SHOWN: Final = {"quota": quota.DEFAULTS}
_LIST: Final = _operation(
    "list_quotas",
    "every project that has quotas of its own, for admins",
    closed(quotas={"type": "array", "items": _OWN}),
    refusals=("PolicyNotAuthorized",),
)
_TENANT: Final = _operation(
    "show_own_project",
    "the caller's project, for the path of its quotas",
    closed(tenant=closed(tenant_id=_PROJECT)),
    refusals=(),
)
_SHOW: Final = _operation("show_quota", "the quotas that hold for a project", _ONE, example=_SHOWN)
_DEFAULT: Final = _operation(
    "show_default_quota", "the quotas of a project that has none of its own", _ONE, example=_SHOWN
)
_DETAILS: Final = _operation(
    "show_quota_details",
    "the quotas of a project beside what it uses",
    closed(quota=closed(**dict.fromkeys(quota.COUNTED, closed(limit=_LIMIT, used=_WHOLE, reserved={"const": 0})))),
)
_UPDATE: Final = _operation(
    "update_quota",
    "give a project quotas of its own",
    _ONE,
    description="What is not named stays as it is.",
    body={"type": "object", "properties": {"quota": ref("QuotaUpdate")}, "required": ["quota"]},
    bodies={"connections": {"quota": examples.QUOTA}},
    example={"quota": quota.DEFAULTS | examples.QUOTA},
    refusals=(*_ALLOWED, *error_responses.ANY_BODY, "OverQuota"),
)
_DELETE: Final = _operation(
    "delete_quota", "back to the defaults", None, status=204, refusals=(*_ALLOWED, "TenantQuotaNotFound")
)
