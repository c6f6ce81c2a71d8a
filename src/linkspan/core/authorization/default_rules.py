"""Who may do what: the API's rules by their names in Neutron, made from the registry, and a file's changes to them.

What a file may not do is refused when it is read, with one line: a rule that nothing asks for, a reference to a rule
that is not there, a look at an attribute that the object does not have. oslo.policy would deny or allow without a word.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from linkspan.core.authorization import language
from linkspan.core.authorization.language import (
    Check,
    CredentialCheck,
    LiteralCheck,
    Reference,
    RoleCheck,
    RuleError,
    Rules,
)
from linkspan.core.schema.operations import PolicyAction, actions_of, requests_of, rule_name
from linkspan.core.schema.resources import NETWORK, RESOURCES, SUBNET, Resource
from linkspan.core.suggestions import nearest

CREDENTIALS: Final = ("user_id", "project_id", "tenant_id", "roles")
"""What a rule may ask of the caller."""
OWNER: Final = ("project_id", "tenant_id")
NETWORK_OWNER: Final = ("network:project_id", "network:tenant_id")
"""Whose network a new subnet is on."""

ADMIN_OR_MEMBER: Final = "rule:admin_or_project_member"
ADMIN_OR_READER: Final = "rule:admin_or_project_reader"


class Rule(msgspec.Struct, frozen=True):
    """One rule. `asked`: the requests that it decides about; `target`: the attributes that it may look at, None for a
    rule that others refer to."""

    name: str
    text: str
    help: str
    asked: tuple[str, ...] = ()
    target: tuple[str, ...] | None = None


BASE: Final = (
    Rule("context_is_admin", "role:admin", "who administrates the service: every project is theirs"),
    Rule("admin_only", "rule:context_is_admin", "administrators"),
    Rule("owner", "project_id:%(project_id)s", "whoever works in the project that owns the object"),
    Rule("admin_or_owner", "rule:context_is_admin or rule:owner", "administrators, and the owners whatever their role"),
    Rule("regular_user", "", "everybody who has proved who they are"),
    Rule("shared", "True:%(shared)s", "networks for every project"),
    Rule("external", "True:%(router:external)s", "networks that gateways may stand on"),
    Rule("network_owner", "project_id:%(network:project_id)s", "the owner of a subnet's network"),
    Rule("member_role", "role:member or role:manager", "who may change things; a manager is a member too"),
    Rule("reader_role", "role:reader or rule:member_role", "who may look; a member is a reader too"),
    Rule("project_member", "rule:member_role and rule:owner", "members of the project that owns the object"),
    Rule("project_reader", "rule:reader_role and rule:owner", "readers of the project that owns the object"),
    Rule("admin_or_project_member", "rule:admin_only or rule:project_member", "administrators and the owner's members"),
    Rule("admin_or_project_reader", "rule:admin_only or rule:project_reader", "administrators and the owner's readers"),
)
"""Rules that others refer to."""

_EXCEPTIONS: Final = {
    f"get_{NETWORK.singular}": "rule:admin_only or rule:reader_role and (rule:owner or rule:shared or rule:external)",
    f"create_{SUBNET.singular}": "rule:admin_only or rule:project_member and rule:network_owner",
}
"""Where a resource differs from the others."""

_HELP: Final[dict[PolicyAction, str]] = {
    "get": "read {}",
    "create": "create {}",
    "update": "change {}",
    "delete": "delete {}",
    "add_router_interface": "attach {} to subnets",
    "remove_router_interface": "detach {} from subnets",
}


def _visible(resource: Resource) -> tuple[str, ...]:
    stored = (item.name for item in resource.attributes if item.stored and not item.secret)
    return (*stored, "tenant_id")


def _given(resource: Resource) -> tuple[str, ...]:
    given = (item.name for item in resource.attributes if item.post and item.stored and not item.secret)
    return (*given, "tenant_id", *(NETWORK_OWNER if resource is SUBNET else ()))


def _of(resource: Resource) -> Iterator[Rule]:
    for action in actions_of(resource):
        name, asked = rule_name(resource, action), requests_of(resource, action)
        target = _given(resource) if action == "create" else _visible(resource)
        text = _EXCEPTIONS.get(name, ADMIN_OR_READER if action == "get" else ADMIN_OR_MEMBER)
        yield Rule(name, text, _HELP[action].format(resource.plural.replace("_", " ")), asked, target)
        for item in resource.attributes:
            if item.secret and action == "get":
                yield Rule(f"{name}:{item.name}", ADMIN_OR_MEMBER, f"see the {item.name}; else null", asked, target)
            settable = {"create": item.post, "update": item.put}.get(action, False)
            if item.privileged and settable:
                about = f"give {item.name} another value than {item.default}"
                yield Rule(f"{name}:{item.name}", "rule:admin_only", about, asked, target)


def _others() -> Iterator[Rule]:
    yield Rule("get_node", "rule:admin_only", "read the gateway nodes", ("GET /v2.0/linkspan/nodes",), ())
    path = "/v2.0/quotas/{id}"
    reads = tuple(f"GET {each}" for each in (path, f"{path}/default", f"{path}/details", "/v2.0/quotas"))
    yield Rule("get_quota", ADMIN_OR_READER, "read a project's quotas, or everybody's", reads, OWNER)
    yield Rule("update_quota", "rule:admin_only", "set a project's quotas", (f"PUT {path}",), OWNER)
    yield Rule("delete_quota", "rule:admin_only", "put quotas back to the defaults", (f"DELETE {path}",), OWNER)


RULES: Final = (*BASE, *(rule for resource in RESOURCES for rule in _of(resource)), *_others())
"""Every rule, as it is without a file."""


def load(changes: Mapping[Any, object]) -> Rules:
    """The rules with a file's changes: rule name -> text, as YAML gives it. Raises RuleError, one line."""
    checks: dict[str, Check] = {rule.name: language.parse(rule.text) for rule in RULES}
    ours = tuple(checks)
    for name, text in changes.items():
        if not isinstance(name, str):
            raise RuleError(f"the name of a rule is a text, not {name!r}")
        try:
            checks[name] = language.parse(text)
        except RuleError as error:
            raise RuleError(f"rule '{name}': {error}") from None
    rules = Rules(checks)
    for name, check in checks.items():
        for leaf in language.leaves(check):
            if isinstance(leaf, Reference) and leaf.name not in checks:
                there = nearest(leaf.name, checks)
                raise RuleError(f"rule '{name}' refers to '{leaf.name}', which is not defined{there}")
    _refuse_unasked(checks, ours)
    for rule in RULES:
        if rule.target is not None:
            _refuse_unknown(rule, rules)
    return rules


def _refuse_unasked(checks: Mapping[str, Check], ours: tuple[str, ...]) -> None:
    asked = list(ours)
    for name in asked:
        found = (leaf.name for leaf in language.leaves(checks[name]) if isinstance(leaf, Reference))
        asked += (each for each in found if each not in asked)
    for name in checks:
        if name not in asked:
            raise RuleError(f"rule '{name}' is not known, and no other refers to it{nearest(name, ours)}")


def _refuse_unknown(rule: Rule, rules: Rules) -> None:
    """Refuses what could never hold because what it looks at is not there."""
    target = rule.target or ()
    for leaf in rules.leaves(rule.name):
        if isinstance(leaf, CredentialCheck):
            name = leaf.path[0]
            if name == "field":
                raise RuleError(
                    f"rule '{rule.name}': write 'True:%(shared)s' and the like for Neutron's 'field:' checks"
                )
            if name not in CREDENTIALS:
                there = nearest(name, (*CREDENTIALS, "role", "rule"))
                raise RuleError(
                    f"rule '{rule.name}' asks for '{name}' of the caller{there}; known are {', '.join(CREDENTIALS)}"
                )
        if isinstance(leaf, CredentialCheck | LiteralCheck | RoleCheck):
            for name in leaf.value.names:
                if name not in target:
                    there = nearest(name, target)
                    raise RuleError(f"rule '{rule.name}' looks at '{name}', which is not known there{there}")
