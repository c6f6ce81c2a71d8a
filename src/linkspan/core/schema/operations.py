"""The operations of the API on a resource, and the policy action that permits each of them.

An operation is a request with its own errors, and OpenAPI describes it. An action is the subject of a policy rule, and
Neutron has one rule for list and show.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from linkspan.core.schema.resources import CONNECTION, ROUTER, TRUST_ANCHOR, Resource

ResourceOperation = Literal[
    "list",
    "show",
    "create",
    "update",
    "delete",
    "add_router_interface",
    "remove_router_interface",
    "list_tags",
    "show_tag",
    "replace_tags",
    "add_tags",
    "add_tag",
    "delete_tags",
    "delete_tag",
    "diagnose",
    "probe",
    "traffic",
    "list_events",
    "compare",
    "peer_config",
    "list_revisions",
    "rollback",
    "issue",
    "revoke",
]
PolicyAction = Literal["get", "create", "update", "delete", "add_router_interface", "remove_router_interface"]

MAX_BULK: Final = 100
"""Default of `limits.bulk`: the most objects that one POST creates. They share one transaction, and other writes wait
for it."""
MAX_BODY: Final = 65_536
"""Default of `limits.body`: the most bytes of a request body."""
MAX_BODIES: Final = 64 * 1024 * 1024
"""Default of `limits.bodies`: the most bytes of all request bodies in memory."""
MAX_CONNECTIONS: Final = 512
"""Default of `limits.connections_per_address`."""


class RequestLine(msgspec.Struct, frozen=True):
    """The HTTP method of an operation, its path below the collection, and the action that permits it."""

    method: str
    path: str
    action: PolicyAction


REQUEST_LINES: Final[dict[ResourceOperation, RequestLine]] = {
    # In the order in which OpenAPI and the reference of the policy rules list them.
    "list": RequestLine("GET", "", "get"),
    "show": RequestLine("GET", "/{id}", "get"),
    "create": RequestLine("POST", "", "create"),
    "update": RequestLine("PUT", "/{id}", "update"),
    "delete": RequestLine("DELETE", "/{id}", "delete"),
    "add_router_interface": RequestLine("PUT", "/{id}/add_router_interface", "add_router_interface"),
    "remove_router_interface": RequestLine("PUT", "/{id}/remove_router_interface", "remove_router_interface"),
    "issue": RequestLine("POST", "/{id}/issue", "update"),
    "revoke": RequestLine("PUT", "/{id}/revoke", "update"),
    "list_tags": RequestLine("GET", "/{id}/tags", "get"),
    "show_tag": RequestLine("GET", "/{id}/tags/{id}", "get"),
    "replace_tags": RequestLine("PUT", "/{id}/tags", "update"),
    "add_tags": RequestLine("POST", "/{id}/tags", "update"),
    "add_tag": RequestLine("PUT", "/{id}/tags/{id}", "update"),
    "delete_tags": RequestLine("DELETE", "/{id}/tags", "update"),
    "delete_tag": RequestLine("DELETE", "/{id}/tags/{id}", "update"),
    "diagnose": RequestLine("GET", "/{id}/diagnosis", "get"),
    "probe": RequestLine("POST", "/{id}/probe", "update"),
    "traffic": RequestLine("GET", "/{id}/traffic", "get"),
    "list_events": RequestLine("GET", "/{id}/events", "get"),
    "compare": RequestLine("POST", "/{id}/compare", "get"),
    "peer_config": RequestLine("GET", "/{id}/peer-config", "get"),
    "list_revisions": RequestLine("GET", "/{id}/revisions", "get"),
    "rollback": RequestLine("POST", "/{id}/rollback", "update"),
}
NEWEST_TRAFFIC: Final = "/v2.0/linkspan/traffic"
"""The path of the newest traffic of many connections, for whoever may read them."""
ON_TAGS: Final = tuple(operation for operation, line in REQUEST_LINES.items() if "/tags" in line.path)
"""Operations on the tags of an object."""
_ON_AUTHORITIES: Final = ("issue", "revoke")
_ON_CONNECTIONS: Final = (
    "diagnose",
    "probe",
    "traffic",
    "list_events",
    "compare",
    "peer_config",
    "list_revisions",
    "rollback",
)
_ON_ROUTERS: Final = ("add_router_interface", "remove_router_interface")


def operations_of(resource: Resource) -> tuple[ResourceOperation, ...]:
    """The operations that a resource has."""
    return tuple(operation for operation in REQUEST_LINES if _has(resource, operation))


def _has(resource: Resource, operation: ResourceOperation) -> bool:
    if operation in ON_TAGS:
        return "tags" in resource.by_name
    if operation in _ON_ROUTERS:
        return resource is ROUTER
    if operation in _ON_CONNECTIONS:
        return resource is CONNECTION
    if operation in _ON_AUTHORITIES:
        return resource is TRUST_ANCHOR
    return resource.writable or operation in ("list", "show")


def actions_of(resource: Resource) -> tuple[PolicyAction, ...]:
    """The actions on a resource that have a rule."""
    return tuple(dict.fromkeys(REQUEST_LINES[operation].action for operation in operations_of(resource)))


def requests_of(resource: Resource, action: PolicyAction) -> tuple[str, ...]:
    """The requests that an action permits, such as `GET /v2.0/routers/{id}`."""
    lines = (REQUEST_LINES[operation] for operation in operations_of(resource))
    found = tuple(f"{line.method} /v2.0/{resource.path}{line.path}" for line in lines if line.action == action)
    return (*found, f"GET {NEWEST_TRAFFIC}") if resource is CONNECTION and action == "get" else found


def rule_name(resource: Resource, action: PolicyAction) -> str:
    """The name of the policy rule for an action, as in Neutron: `get_router`, `add_router_interface`."""
    return action if action in _ON_ROUTERS else f"{action}_{resource.singular}"
