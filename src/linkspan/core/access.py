"""Who may do what: roles and the actions that each allows, as a table over the registry.

Pure: it knows names of roles, never users or tokens. Whose object it is (its project) is judged where objects are
read: another project's object is not refused, it does not exist.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any, Final, Literal

from linkspan.core.problem import Problem
from linkspan.core.resources import NETWORK, RESOURCES, Resource

Action = Literal["get", "create", "update", "delete"]
Role = Literal["reader", "member", "admin"]

ACTIONS: Final[tuple[Action, ...]] = ("get", "create", "update", "delete")
RANK: Final[dict[str, int]] = {"reader": 1, "member": 2, "manager": 2, "admin": 3}
"""Keystone's default roles imply each other in this order; other roles mean nothing here."""

LEAST: Final[dict[tuple[str, Action], Role]] = {
    (resource.name, action): "reader" if action == "get" else "member"
    for resource in RESOURCES
    for action in ACTIONS
    if resource.writable or action == "get"
}
"""(resource, action) -> the least role for it, within one's own project."""

ADMIN_ONLY: Final = {NETWORK.name: ("router:external", "shared")}
"""Attributes that only an admin gives another value than the default."""


def rank(roles: Set[str]) -> int:
    """The highest rank among roles; 0: none that means anything here."""
    return max((RANK.get(role, 0) for role in roles), default=0)


def is_admin(roles: Set[str]) -> bool:
    """Whether these roles reach every project."""
    return rank(roles) >= RANK["admin"]


def sees_secrets(roles: Set[str]) -> bool:
    """Whether these roles may read what is secret, such as pre-shared keys."""
    return rank(roles) >= RANK["member"]


def allows(roles: Set[str], action: Action, resource: Resource) -> bool:
    """Whether roles allow an action on a resource of one's own project."""
    least = LEAST.get((resource.name, action))
    return least is not None and rank(roles) >= RANK[least]


def require(roles: Set[str], action: Action, resource: Resource) -> None:
    """Raises Problem PolicyNotAuthorized unless roles allow the action."""
    if not allows(roles, action, resource):
        raise refusal(action, resource)


def refusal(action: Action, resource: Resource) -> Problem:
    """The 403 of an action, in Neutron's words."""
    return Problem("PolicyNotAuthorized", f"rule:{action}_{resource.singular} is disallowed by policy")


def require_values(roles: Set[str], action: Action, resource: Resource, values: Mapping[str, Any]) -> None:
    """Raises Problem PolicyNotAuthorized if an attribute gets a value that only an admin may give it."""
    if is_admin(roles):
        return
    for name in ADMIN_ONLY.get(resource.name, ()):
        if values.get(name, resource[name].default) != resource[name].default:
            rule = f"rule:{action}_{resource.singular}"
            raise Problem("PolicyNotAuthorized", f"({rule} and {rule}:{name}) is disallowed by policy")
