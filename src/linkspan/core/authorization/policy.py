"""Evaluates the policy rules for the API: may a caller act on an object, and which objects does a list show?

It knows roles and projects, never tokens. A list is one SQL statement, so each rule is first reduced to a scope that
SQL can select: nothing, own project, all. To reduce it, the rule is evaluated for every combination of own or foreign
project, shared or not. A rule on other attributes cannot be reduced and is evaluated per row: correct, but it reads
every row.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, Protocol

from linkspan.core.authorization import language
from linkspan.core.authorization.default_rules import NETWORK_OWNER, OWNER, load
from linkspan.core.authorization.language import CredentialCheck, RoleCheck, Rules
from linkspan.core.errors import ApiError
from linkspan.core.schema.operations import PolicyAction, rule_name
from linkspan.core.schema.resources import NETWORK, RESOURCES, Resource

RuleScope = Literal["nothing", "own", "all", "by row"]
"""The objects for which a rule holds. `own`: those of the caller's project, and shared or external networks."""

_PUBLIC: Final = ("shared", "router:external")
"""Attributes that make a network visible to every project; the store selects by them."""
_FOREIGN: Final = "\x00"
"""A project id that does not exist, for objects of another project."""
_CACHE_SIZE: Final = 4096


class PolicySubject(Protocol):
    """A caller, and the rules that apply."""

    @property
    def user_id(self) -> str: ...
    @property
    def project_id(self) -> str: ...
    @property
    def roles(self) -> frozenset[str]: ...
    @property
    def policy(self) -> Policy: ...


class Policy:
    """The rules of an API. A scope that depends on roles alone is computed once for each set of roles."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._by_roles: dict[str, bool] = {}
        self._scopes: dict[tuple[str, frozenset[str]], RuleScope] = {}

    def allows(self, caller: PolicySubject, rule: str, target: Mapping[str, Any]) -> bool:
        """True if a rule holds for an object. `target`: its attributes, with `project_id` if it has one."""
        scope = self.scope(caller, rule)
        if scope == "by row" or (scope == "own" and rule in _SEES_PUBLIC):
            owner = {"tenant_id": target["project_id"]} if "project_id" in target else {}
            return self._rules.allows(rule, {**target, **owner}, _credentials(caller))
        return scope == "all" or (scope == "own" and target.get("project_id") == caller.project_id)

    def scope(self, caller: PolicySubject, rule: str) -> RuleScope:
        """The objects for which a rule holds; `by row` if that depends on more than their project."""
        scope = self._scopes.get((rule, caller.roles))
        if scope is None:
            scope = self._computed(caller, rule)
            if self._depends_on_roles_alone(rule):
                if len(self._scopes) >= _CACHE_SIZE:
                    self._scopes.clear()
                self._scopes[rule, caller.roles] = scope
        return scope

    def _depends_on_roles_alone(self, rule: str) -> bool:
        if rule not in self._by_roles:
            self._by_roles[rule] = all(
                not isinstance(leaf, CredentialCheck) or leaf.path == ("roles",) or _is_ownership(leaf)
                for leaf in self._rules.leaves(rule)
            )
        return self._by_roles[rule]

    def _computed(self, caller: PolicySubject, rule: str) -> RuleScope:
        leaves = self._rules.leaves(rule)
        read = {
            name
            for leaf in leaves
            if isinstance(leaf, CredentialCheck | language.LiteralCheck | RoleCheck) and not _is_ownership(leaf)
            for name in leaf.value.names
        }
        if not read <= {*_PUBLIC}:
            return "by row"
        # Every combination of project and flags that the rule can distinguish.
        credentials = _credentials(caller)
        public = _PUBLIC if read or rule in _SEES_PUBLIC else ()
        holds: dict[bool, set[bool]] = {True: set(), False: set()}
        for own, own_network, *flags in itertools.product((True, False), repeat=2 + len(public)):
            target: dict[str, Any] = dict(zip(public, flags, strict=True))
            target |= dict.fromkeys(OWNER, caller.project_id if own else _FOREIGN)
            target |= dict.fromkeys(NETWORK_OWNER, caller.project_id if own_network else _FOREIGN)
            expected = own or (rule in _SEES_PUBLIC and any(flags))
            holds[expected].add(self._rules.allows(rule, target, credentials))
        scopes: tuple[tuple[RuleScope, bool, bool], ...] = (
            ("all", True, True),
            ("own", True, False),
            ("nothing", False, False),
        )
        matching = (scope for scope, own, others in scopes if holds == {True: {own}, False: {others}})
        return next(matching, "by row")


_SEES_PUBLIC: Final = frozenset({f"get_{NETWORK.singular}"})
NO_RULES: Final = Policy(Rules({}))
"""Rules that allow nothing."""


def _is_ownership(leaf: language.Leaf) -> bool:
    """True if a check only compares the caller's project with that of an object (or of its network)."""
    if not isinstance(leaf, CredentialCheck) or len(leaf.path) != 1 or leaf.path[0] not in OWNER:
        return False
    return len(leaf.value.parts) == 1 and leaf.value.parts[0] in {(True, name) for name in (*OWNER, *NETWORK_OWNER)}


def _credentials(caller: PolicySubject) -> dict[str, Any]:
    return {
        "user_id": caller.user_id,
        "project_id": caller.project_id,
        "tenant_id": caller.project_id,
        "roles": sorted(caller.roles),
    }


def policy_of(changes: Mapping[Any, object] | None = None) -> Policy:
    """The rules of the API after the changes of a policy file. Raises RuleError."""
    return Policy(load(changes or {}))


# --- queries of the API -------------------------------------------------------------------------------------------


_SECRETS: Final = {
    resource.name: tuple(
        f"{rule_name(resource, 'get')}:{item.name}"
        for item in resource.attributes
        if item.secret and not item.write_only
    )
    for resource in RESOURCES
}

_PRIVILEGED: Final = {
    resource.name: tuple((item.name, item.default) for item in resource.attributes if item.privileged)
    for resource in RESOURCES
}


def is_admin(caller: PolicySubject) -> bool:
    """True if the caller may act for other projects."""
    return caller.policy.allows(caller, "context_is_admin", {})


def scope(caller: PolicySubject, action: PolicyAction, resource: Resource) -> RuleScope:
    """The objects of a resource on which the caller may act."""
    return caller.policy.scope(caller, rule_name(resource, action))


def allows(caller: PolicySubject, action: PolicyAction, resource: Resource, target: Mapping[str, Any]) -> bool:
    """True if an action is allowed on an object; `target`: its stored attributes."""
    return caller.policy.allows(caller, rule_name(resource, action), target)


def require(
    caller: PolicySubject, action: PolicyAction, resource: Resource, target: Mapping[str, Any] | None = None
) -> None:
    """Raises ApiError PolicyNotAuthorized unless an action is allowed on `target`; if None, on any object at all."""
    allowed = (
        scope(caller, action, resource) != "nothing" if target is None else allows(caller, action, resource, target)
    )
    if not allowed:
        raise refusal(action, resource)


def require_rule(caller: PolicySubject, name: str, target: Mapping[str, Any]) -> None:
    """Raises ApiError PolicyNotAuthorized unless a rule holds; for objects outside the registry, such as quotas."""
    if not caller.policy.allows(caller, name, target):
        raise ApiError("PolicyNotAuthorized", f"rule:{name} is disallowed by policy")


def refusal(action: PolicyAction, resource: Resource) -> ApiError:
    """The 403 of an action, with Neutron's message."""
    return ApiError("PolicyNotAuthorized", f"rule:{rule_name(resource, action)} is disallowed by policy")


def require_values(
    caller: PolicySubject,
    action: PolicyAction,
    resource: Resource,
    target: Mapping[str, Any],
    values: Mapping[str, Any],
) -> None:
    """Raises ApiError PolicyNotAuthorized if `values` has a privileged value that the caller may not set."""
    for name, default in _PRIVILEGED[resource.name]:
        if values.get(name, default) == default:
            continue
        _require_part(caller, rule_name(resource, action), name, target)


def require_part(
    caller: PolicySubject, action: PolicyAction, resource: Resource, target: Mapping[str, Any], part: str
) -> None:
    """Raises ApiError PolicyNotAuthorized unless the caller may set a privileged part, as `attribute:key`."""
    _require_part(caller, rule_name(resource, action), part, target)


def _require_part(caller: PolicySubject, rule: str, part: str, target: Mapping[str, Any]) -> None:
    if not caller.policy.allows(caller, f"{rule}:{part}", target):
        raise ApiError("PolicyNotAuthorized", f"(rule:{rule} and rule:{rule}:{part}) is disallowed by policy")


def secrets_scope(caller: PolicySubject, resource: Resource) -> RuleScope:
    """The objects of which the caller may read secret attributes, such as pre-shared keys."""
    scopes = {caller.policy.scope(caller, name) for name in _SECRETS[resource.name]}
    return scopes.pop() if len(scopes) == 1 else "by row" if scopes else "nothing"


def sees_secrets(caller: PolicySubject, resource: Resource) -> Callable[[Mapping[str, Any]], bool]:
    """A predicate: may the caller read the secret attributes of a row? Always False for a resource without any.

    Lists call it for every row, so the scope is computed once, here.
    """
    project, names = caller.project_id, _SECRETS[resource.name]
    match secrets_scope(caller, resource):
        case "nothing":
            return lambda _row: False
        case "all":
            return lambda _row: True
        case "own":
            return lambda row: row["project_id"] == project
        case _:
            return lambda row: all(caller.policy.allows(caller, name, row) for name in names)
