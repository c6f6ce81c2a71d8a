"""Who may do what: the questions that the API asks of the policy rules, and what a caller reaches by them.

Pure: it knows roles and projects, never tokens. A list is one SQL statement, so what a rule lets a caller see is first
asked for kinds of objects (own or another project's, for everybody or not): mostly it is a project's or everybody's,
which SQL selects. A rule that looks at anything else of an object is asked for each row after reading: right for every
rule, and it costs reading all of them, which only whoever writes such a rule pays.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, Protocol, get_args

from linkspan.core.authorization import language
from linkspan.core.authorization.default_rules import NETWORK_OWNER, OWNER, load
from linkspan.core.authorization.language import CredentialCheck, RoleCheck, Rules
from linkspan.core.errors import ApiError
from linkspan.core.schema.operations import PolicyAction, rule_name
from linkspan.core.schema.resources import NETWORK, RESOURCES, Resource

RuleScope = Literal["nothing", "own", "all", "by row"]
"""For which objects a rule holds. `own`: of the caller's project; of networks also those that are for everybody."""

_PUBLIC: Final = ("shared", "router:external")
"""Attributes of a network with which every project sees it; the store selects by them."""
_FOREIGN: Final = "\x00"
"""An id that no project has."""
_ROOM: Final = 4096


class PolicySubject(Protocol):
    """Who asks, and the rules that say what that means."""

    @property
    def user_id(self) -> str: ...
    @property
    def project_id(self) -> str: ...
    @property
    def roles(self) -> frozenset[str]: ...
    @property
    def policy(self) -> Policy: ...


class Policy:
    """The rules of a service. What depends on roles alone is worked out once for each set of roles."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._plain: dict[str, bool] = {}
        self._known: dict[tuple[str, frozenset[str]], RuleScope] = {}

    def allows(self, caller: PolicySubject, rule: str, target: Mapping[str, Any]) -> bool:
        """Whether a rule holds for an object. `target` has its attributes, `project_id` among them if it has one."""
        known = self.reach(caller, rule)
        if known == "by row" or (known == "own" and rule in _SEES_PUBLIC):
            owner = {"tenant_id": target["project_id"]} if "project_id" in target else {}
            return self._rules.allows(rule, {**target, **owner}, _credentials(caller))
        return known == "all" or (known == "own" and target.get("project_id") == caller.project_id)

    def reach(self, caller: PolicySubject, rule: str) -> RuleScope:
        """For which objects a rule holds, as far as that does not depend on more than whose they are."""
        found = self._known.get((rule, caller.roles))
        if found is None:
            found = self._worked_out(caller, rule)
            if self._depends_on_roles_alone(rule):
                if len(self._known) >= _ROOM:
                    self._known.clear()
                self._known[rule, caller.roles] = found
        return found

    def _depends_on_roles_alone(self, rule: str) -> bool:
        if rule not in self._plain:
            self._plain[rule] = all(
                not isinstance(leaf, CredentialCheck) or leaf.path == ("roles",) or _is_ownership(leaf)
                for leaf in self._rules.leaves(rule)
            )
        return self._plain[rule]

    def _worked_out(self, caller: PolicySubject, rule: str) -> RuleScope:
        leaves = self._rules.leaves(rule)
        read = {
            name
            for leaf in leaves
            if isinstance(leaf, CredentialCheck | language.LiteralCheck | RoleCheck) and not _is_ownership(leaf)
            for name in leaf.value.names
        }
        if not read <= {*_PUBLIC}:
            return "by row"
        # Every kind of object there is, as far as the rule can tell them apart.
        credentials = _credentials(caller)
        public = _PUBLIC if read or rule in _SEES_PUBLIC else ()
        holds: dict[bool, set[bool]] = {True: set(), False: set()}
        for own, own_network, *flags in itertools.product((True, False), repeat=2 + len(public)):
            target: dict[str, Any] = dict(zip(public, flags, strict=True))
            target |= dict.fromkeys(OWNER, caller.project_id if own else _FOREIGN)
            target |= dict.fromkeys(NETWORK_OWNER, caller.project_id if own_network else _FOREIGN)
            expected = own or (rule in _SEES_PUBLIC and any(flags))
            holds[expected].add(self._rules.allows(rule, target, credentials))
        reaches: tuple[tuple[RuleScope, bool, bool], ...] = (
            ("all", True, True),
            ("own", True, False),
            ("nothing", False, False),
        )
        found = (reach for reach, mine, others in reaches if holds == {True: {mine}, False: {others}})
        return next(found, "by row")


_SEES_PUBLIC: Final = frozenset({f"get_{NETWORK.singular}"})
NO_RULES: Final = Policy(Rules({}))
"""Under which nothing is allowed."""


def _is_ownership(leaf: language.Leaf) -> bool:
    """Whether a check only asks if an object (or its network) is of the caller's project."""
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
    """The rules of the API with a file's changes. Raises RuleError."""
    return Policy(load(changes or {}))


# --- what the API asks --------------------------------------------------------------------------------------------


_NAMES: Final[dict[tuple[str, PolicyAction], str]] = {
    (resource.name, action): rule_name(resource, action) for resource in RESOURCES for action in get_args(PolicyAction)
}
_SECRETS: Final = {
    resource.name: tuple(f"{rule_name(resource, 'get')}:{item.name}" for item in resource.attributes if item.secret)
    for resource in RESOURCES
}

_PRIVILEGED: Final = {
    resource.name: tuple((item.name, item.default) for item in resource.attributes if item.privileged)
    for resource in RESOURCES
}


def rule(action: PolicyAction, resource: Resource) -> str:
    """The name of a rule, in Neutron's words."""
    return _NAMES[resource.name, action]


def is_admin(caller: PolicySubject) -> bool:
    """Whether the caller may name another project than their own."""
    return caller.policy.allows(caller, "context_is_admin", {})


def scope(caller: PolicySubject, action: PolicyAction, resource: Resource) -> RuleScope:
    """For which objects of a resource an action is allowed."""
    return caller.policy.reach(caller, rule(action, resource))


def allows(caller: PolicySubject, action: PolicyAction, resource: Resource, target: Mapping[str, Any]) -> bool:
    """Whether an action is allowed on an object; `target` has its attributes as they are stored."""
    return caller.policy.allows(caller, rule(action, resource), target)


def require(
    caller: PolicySubject, action: PolicyAction, resource: Resource, target: Mapping[str, Any] | None = None
) -> None:
    """Raises Problem PolicyNotAuthorized unless an action is allowed on an object; without one: on any at all."""
    good = scope(caller, action, resource) != "nothing" if target is None else allows(caller, action, resource, target)
    if not good:
        raise refusal(action, resource)


def require_rule(caller: PolicySubject, name: str, target: Mapping[str, Any]) -> None:
    """Raises Problem PolicyNotAuthorized unless a rule holds; for what is no resource of the registry."""
    if not caller.policy.allows(caller, name, target):
        raise ApiError("PolicyNotAuthorized", f"rule:{name} is disallowed by policy")


def refusal(action: PolicyAction, resource: Resource) -> ApiError:
    """The 403 of an action, in Neutron's words."""
    return ApiError("PolicyNotAuthorized", f"rule:{rule(action, resource)} is disallowed by policy")


def require_values(
    caller: PolicySubject,
    action: PolicyAction,
    resource: Resource,
    target: Mapping[str, Any],
    values: Mapping[str, Any],
) -> None:
    """Raises Problem PolicyNotAuthorized if an attribute gets a value that the caller may not give it."""
    for name, default in _PRIVILEGED[resource.name]:
        if values.get(name, default) == default:
            continue
        whole = rule(action, resource)
        if not caller.policy.allows(caller, f"{whole}:{name}", target):
            raise ApiError("PolicyNotAuthorized", f"(rule:{whole} and rule:{whole}:{name}) is disallowed by policy")


def secrets_scope(caller: PolicySubject, resource: Resource) -> RuleScope:
    """Of which objects the caller may see what is secret, such as pre-shared keys."""
    reaches = {caller.policy.reach(caller, name) for name in _SECRETS[resource.name]}
    return reaches.pop() if len(reaches) == 1 else "by row" if reaches else "nothing"


def sees_secrets(caller: PolicySubject, resource: Resource) -> Callable[[Mapping[str, Any]], bool]:
    """What tells whether the caller may see what is secret in an object; never, if there is nothing secret.

    Lists ask it for each of their rows, so what is the same for all of them is found out before.
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
