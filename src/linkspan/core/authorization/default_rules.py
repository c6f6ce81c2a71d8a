"""The policy rules of the API, under Neutron's names, derived from the registry; and the rules of a policy file.

Loading a file fails with one line for a rule that the API does not evaluate, a reference to an undefined rule, or an
attribute that the object does not have. oslo.policy would silently deny or allow.
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
from linkspan.core.schema.operations import REQUEST_LINES, PolicyAction, actions_of, requests_of, rule_name
from linkspan.core.schema.resources import CONNECTION, NETWORK, RESOURCES, SUBNET, Resource
from linkspan.core.suggestions import nearest

CREDENTIALS: Final = ("user_id", "project_id", "tenant_id", "roles")
"""Attributes of the caller that a rule may check."""
OWNER: Final = ("project_id", "tenant_id")
NETWORK_OWNER: Final = ("network:project_id", "network:tenant_id")
"""Attributes of a new subnet's network that a rule may check."""

ADMIN_OR_MEMBER: Final = "rule:admin_or_project_member"
ADMIN_OR_READER: Final = "rule:admin_or_project_reader"


class Rule(msgspec.Struct, frozen=True):
    """A rule. `requests`: the requests that it decides; `target`: the attributes of the object that it may check. The
    target of a base rule is None: only other rules reference it."""

    name: str
    text: str
    help: str
    requests: tuple[str, ...] = ()
    target: tuple[str, ...] | None = None


PEER_SECRET: Final = f"get_{CONNECTION.singular}:peer_config_psk"
"""The rule for exporting the pre-shared key of a connection with the configuration of its peer."""

BASE: Final = (
    Rule("context_is_admin", "role:admin", "administrators of the service, who may access every project"),
    Rule("admin_only", "rule:context_is_admin", "administrators"),
    Rule("owner", "project_id:%(project_id)s", "callers in the project that owns the object"),
    Rule(
        "admin_or_owner",
        "rule:context_is_admin or rule:owner",
        "administrators, and callers with any role in the owning project",
    ),
    Rule("regular_user", "", "every authenticated caller"),
    Rule("shared", "True:%(shared)s", "networks that are shared with every project"),
    Rule("external", "True:%(router:external)s", "external networks"),
    Rule("network_owner", "project_id:%(network:project_id)s", "callers in the project that owns the subnet's network"),
    Rule("member_role", "role:member or role:manager", "callers who may write; a manager is also a member"),
    Rule("reader_role", "role:reader or rule:member_role", "callers who may read; a member is also a reader"),
    Rule("project_member", "rule:member_role and rule:owner", "members of the project that owns the object"),
    Rule("project_reader", "rule:reader_role and rule:owner", "readers of the project that owns the object"),
    Rule(
        "admin_or_project_member",
        "rule:admin_only or rule:project_member",
        "administrators, and members of the owning project",
    ),
    Rule(
        "admin_or_project_reader",
        "rule:admin_only or rule:project_reader",
        "administrators, and readers of the owning project",
    ),
)
"""Base rules: other rules reference them."""

_EXCEPTIONS: Final = {
    f"get_{NETWORK.singular}": "rule:admin_only or rule:reader_role and (rule:owner or rule:shared or rule:external)",
    f"create_{SUBNET.singular}": "rule:admin_only or rule:project_member and rule:network_owner",
}
"""Rules that differ from the default for their action."""

_HELP: Final[dict[PolicyAction, str]] = {
    "get": "read {}",
    "create": "create {}",
    "update": "change {}",
    "delete": "delete {}",
    "add_router_interface": "attach {} to subnets",
    "remove_router_interface": "detach {} from subnets",
}


def _attributes_of(resource: Resource) -> tuple[str, ...]:
    names = (item.name for item in resource.attributes if item.stored and not item.secret)
    return (*names, "tenant_id")


def _request_attributes(resource: Resource) -> tuple[str, ...]:
    names = (item.name for item in resource.attributes if item.post and item.stored and not item.secret)
    return (*names, "tenant_id", *(NETWORK_OWNER if resource is SUBNET else ()))


def _rules_of(resource: Resource) -> Iterator[Rule]:
    for action in actions_of(resource):
        name, requests = rule_name(resource, action), requests_of(resource, action)
        target = _request_attributes(resource) if action == "create" else _attributes_of(resource)
        text = _EXCEPTIONS.get(name, ADMIN_OR_READER if action == "get" else ADMIN_OR_MEMBER)
        yield Rule(name, text, _HELP[action].format(resource.plural.replace("_", " ")), requests, target)
        for item in resource.attributes:
            if item.secret and not item.write_only and action == "get":
                yield Rule(
                    f"{name}:{item.name}",
                    ADMIN_OR_MEMBER,
                    f"read the {item.name}; otherwise it reads null",
                    requests,
                    target,
                )
            settable = {"create": item.post, "update": item.put}.get(action, False)
            if item.privileged and settable:
                help = f"set {item.name} to a value other than {item.default}"
                yield Rule(f"{name}:{item.name}", "rule:admin_only", help, requests, target)
            for part in item.privileged_parts if settable else ():
                help = f"choose the {part} of {item.name}"
                yield Rule(f"{name}:{item.name}:{part}", "rule:admin_only", help, requests, target)


def _other_rules() -> Iterator[Rule]:
    nodes = "/v2.0/linkspan/nodes"
    one = f"{nodes}/{{id}}"
    for name, help, requests in (
        ("get_node", "read the gateway nodes", (f"GET {nodes}", f"GET {one}")),
        ("create_node", "make join tokens for gateway nodes", (f"POST {nodes}",)),
        ("update_node", "rotate and revoke credentials of gateway nodes", (f"PUT {one}/rotate", f"PUT {one}/revoke")),
        ("delete_node", "remove gateway nodes", (f"DELETE {one}",)),
    ):
        yield Rule(name, "rule:admin_only", help, requests, ())
    connection = f"/v2.0/{CONNECTION.path}{REQUEST_LINES['peer_config'].path}"
    yield Rule(
        PEER_SECRET,
        ADMIN_OR_MEMBER,
        "export the psk with the peer's configuration; it also takes the rule that permits to read the psk",
        (f"GET {connection}",),
        _attributes_of(CONNECTION),
    )
    agents = "/v2.0/agents"
    yield Rule(
        "get_agent",
        "rule:admin_only",
        "read the gateway nodes as agents",
        (f"GET {agents}", f"GET {agents}/{{id}}"),
        (),
    )
    trail = ("GET /v2.0/linkspan/audit",)
    yield Rule(
        "get_audit", ADMIN_OR_READER, "read the entries of the audit trail of a project, or of all", trail, OWNER
    )
    events = ("GET /v2.0/linkspan/events",)
    yield Rule(
        "get_event", ADMIN_OR_READER, "read what happened to the connections of a project, or to all", events, OWNER
    )
    path = "/v2.0/quotas/{id}"
    reads = tuple(f"GET {url}" for url in (path, f"{path}/default", f"{path}/details", "/v2.0/quotas"))
    yield Rule("get_quota", ADMIN_OR_READER, "read the quotas of a project, or of all projects", reads, OWNER)
    yield Rule("update_quota", "rule:admin_only", "set a project's quotas", (f"PUT {path}",), OWNER)
    yield Rule(
        "delete_quota", "rule:admin_only", "reset a project's quotas to the defaults", (f"DELETE {path}",), OWNER
    )


RULES: Final = (*BASE, *(rule for resource in RESOURCES for rule in _rules_of(resource)), *_other_rules())
"""Every rule with its default."""


def load(changes: Mapping[Any, object]) -> Rules:
    """The rules with the changes of a policy file, rule name -> text as parsed from YAML. Raises RuleError."""
    checks: dict[str, Check] = {rule.name: language.parse(rule.text) for rule in RULES}
    known = tuple(checks)
    for name, text in changes.items():
        if not isinstance(name, str):
            raise RuleError(f"the name of a rule must be a string, not {name!r}")
        try:
            checks[name] = language.parse(text)
        except RuleError as error:
            raise RuleError(f"rule '{name}': {error}") from None
    rules = Rules(checks)
    for name, check in checks.items():
        for leaf in language.leaves(check):
            if isinstance(leaf, Reference) and leaf.name not in checks:
                hint = nearest(leaf.name, checks)
                raise RuleError(f"rule '{name}' references '{leaf.name}', which is not defined{hint}")
    _refuse_unreferenced(checks, known)
    for rule in RULES:
        if rule.target is not None:
            _refuse_unknown_attributes(rule, rules)
    return rules


def _refuse_unreferenced(checks: Mapping[str, Check], known: tuple[str, ...]) -> None:
    used = list(known)
    for name in used:
        references = (leaf.name for leaf in language.leaves(checks[name]) if isinstance(leaf, Reference))
        used += (reference for reference in references if reference not in used)
    for name in checks:
        if name not in used:
            raise RuleError(f"rule '{name}' is unknown, and no other rule references it{nearest(name, known)}")


def _refuse_unknown_attributes(rule: Rule, rules: Rules) -> None:
    """Raises RuleError if a rule checks an attribute that the object or the caller lacks: it could never hold."""
    target = rule.target or ()
    for leaf in rules.leaves(rule.name):
        if isinstance(leaf, CredentialCheck):
            name = leaf.path[0]
            if name == "field":
                raise RuleError(
                    f"rule '{rule.name}': write 'True:%(shared)s' and the like for Neutron's 'field:' checks"
                )
            if name not in CREDENTIALS:
                hint = nearest(name, (*CREDENTIALS, "role", "rule"))
                raise RuleError(
                    f"rule '{rule.name}' checks '{name}' of the caller{hint}; known are {', '.join(CREDENTIALS)}"
                )
        if isinstance(leaf, CredentialCheck | LiteralCheck | RoleCheck):
            for name in leaf.value.names:
                if name not in target:
                    hint = nearest(name, target)
                    raise RuleError(f"rule '{rule.name}' checks '{name}', which the object does not have{hint}")
