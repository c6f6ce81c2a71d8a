"""The default rules for network role, the scopes of rules, and the cache of scopes."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkspan.core.authorization import policy as authorization_policy
from linkspan.core.authorization.default_rules import load
from linkspan.core.authorization.policy import NO_RULES, Policy, policy_of
from linkspan.core.errors import ApiError
from linkspan.core.schema.operations import PolicyAction, actions_of
from linkspan.core.schema.resources import CONNECTION, IKE_POLICY, NETWORK, RESOURCES, ROUTER, Resource
from tests.harness.examples import examples

BLUE, RED = "b1" * 16, "ed" * 16
DEFAULTS: Final = policy_of()
ACTIONS: Final[tuple[PolicyAction, ...]] = ("get", "create", "update", "delete")

EXPECTED: dict[str, tuple[set[str], set[str]]] = {
    "admin": ({"get", "create", "update", "delete"}, {"get", "create", "update", "delete"}),
    "member": ({"get", "create", "update", "delete"}, set()),
    "manager": ({"get", "create", "update", "delete"}, set()),
    "reader": ({"get"}, set()),
    "auditor": (set(), set()),
    "": (set(), set()),
}
"""role -> its actions on objects of its own project, and of another project."""


class FakeCaller(msgspec.Struct, frozen=True):
    """A caller."""

    roles: frozenset[str]
    policy: Policy = DEFAULTS
    project_id: str = BLUE
    user_id: str = "alice"


def caller_with(*roles: str, policy: Policy = DEFAULTS, **more: Any) -> FakeCaller:
    """A caller with these roles."""
    return FakeCaller(frozenset(roles), policy, **more)


def row(resource: Resource, project: str, **more: Any) -> dict[str, Any]:
    """A stored object of a project."""
    values = {item.name: item.default for item in resource.attributes if item.stored}
    return values | {"project_id": project, "network:project_id": project, "network:tenant_id": project} | more


@pytest.mark.parametrize("role", EXPECTED)
@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.name)
def test_the_actions_of_every_role_on_every_resource(role: str, resource: Resource) -> None:
    caller = caller_with(role)
    possible = set(actions_of(resource))
    for project, expected in zip((BLUE, RED), EXPECTED[role], strict=True):
        target = row(resource, project)
        allowed = {action for action in ACTIONS if authorization_policy.allows(caller, action, resource, target)}
        assert allowed == expected & possible
        for action in set(ACTIONS) - allowed:
            with pytest.raises(ApiError) as caught:
                authorization_policy.require(caller, action, resource, target)
            assert caught.value.status == 403
            assert caught.value.message == f"rule:{action}_{resource.singular} is disallowed by policy"


@pytest.mark.parametrize(
    ("role", "scope"), [("admin", "all"), ("member", "own"), ("manager", "own"), ("reader", "own"), ("", "nothing")]
)
@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.name)
def test_sql_can_select_the_scope_of_every_default_rule(role: str, scope: str, resource: Resource) -> None:
    assert authorization_policy.scope(caller_with(role), "get", resource) == scope


def test_without_rules_nothing_is_allowed() -> None:
    caller = caller_with("admin", policy=NO_RULES)
    assert not authorization_policy.is_admin(caller)
    for resource in RESOURCES:
        assert authorization_policy.scope(caller, "get", resource) == "nothing"
        assert not authorization_policy.sees_secrets(caller, resource)(row(resource, BLUE))
    with pytest.raises(ApiError, match="disallowed by policy"):
        authorization_policy.require_rule(caller, "get_node", {})


def test_the_highest_role_decides() -> None:
    assert authorization_policy.is_admin(caller_with("reader", "admin"))
    assert not authorization_policy.is_admin(caller_with("reader", "member"))
    connection = row(CONNECTION, BLUE)
    assert authorization_policy.sees_secrets(caller_with("reader", "member"), CONNECTION)(connection)
    assert not authorization_policy.sees_secrets(caller_with("reader"), CONNECTION)(connection)
    assert not authorization_policy.sees_secrets(caller_with("member"), CONNECTION)(row(CONNECTION, RED))
    assert authorization_policy.sees_secrets(caller_with("admin"), CONNECTION)(row(CONNECTION, RED))
    assert authorization_policy.secrets_scope(caller_with("reader"), CONNECTION) == "nothing"


@pytest.mark.parametrize("name", ["router:external", "shared"])
def test_only_an_admin_sets_privileged_values(name: str) -> None:
    target, values = row(NETWORK, BLUE), {name: True}
    authorization_policy.require_values(caller_with("admin"), "create", NETWORK, target, values)
    authorization_policy.require_values(caller_with("member"), "create", NETWORK, target, {name: False})
    authorization_policy.require_values(caller_with("member"), "create", ROUTER, target, values)
    with pytest.raises(ApiError) as caught:
        authorization_policy.require_values(caller_with("member"), "create", NETWORK, target, values)
    assert caught.value.type == "PolicyNotAuthorized"
    assert caught.value.message == f"(rule:create_network and rule:create_network:{name}) is disallowed by policy"


def test_a_shared_or_external_network_can_be_read_and_not_changed() -> None:
    for flag in ("shared", "router:external"):
        network = row(NETWORK, RED, **{flag: True})
        for role in ("member", "reader"):
            assert authorization_policy.allows(caller_with(role), "get", NETWORK, network)
            assert not authorization_policy.allows(caller_with(role), "update", NETWORK, network)
        assert not authorization_policy.allows(caller_with("auditor"), "get", NETWORK, network)


def test_router_interfaces_have_their_own_rules() -> None:
    policy = policy_of({"remove_router_interface": "rule:admin_only"})
    caller, router = caller_with("member", policy=policy), row(ROUTER, BLUE)
    authorization_policy.require(caller, "add_router_interface", ROUTER, router)
    with pytest.raises(ApiError, match="rule:remove_router_interface is disallowed by policy"):
        authorization_policy.require(caller, "remove_router_interface", ROUTER, router)


# --- other rules --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "scope"),
    [
        ("", "all"),
        ("!", "nothing"),
        ("role:admin", "nothing"),
        ("role:MEMBER", "all"),
        ("rule:owner", "own"),
        ("tenant_id:%(project_id)s", "own"),
        ("not project_id:%(tenant_id)s", "by row"),
        (f"project_id:{BLUE}", "all"),
        (f"project_id:{RED}", "nothing"),
        ("user_id:alice", "all"),
        ("user_id:bob and rule:owner", "nothing"),
        ("user_id:alice and rule:owner", "own"),
        ("'x':%(name)s", "by row"),
        (f"'{BLUE}':%(project_id)s", "by row"),
        ("role:%(name)s", "by row"),
        ("user_id:%(project_id)s", "by row"),
        ("roles:%(tenant_id)s", "by row"),
        ("project_id:x-%(project_id)s", "by row"),
        ("project_id:%(project_id)s-x", "by row"),
        ("rule:owner and 'True':True", "own"),
    ],
)
def test_the_scope_of_a_rule(rule: str, scope: str) -> None:
    policy = policy_of({"get_ikepolicy": rule})
    for _again in range(2):
        assert authorization_policy.scope(caller_with("member", policy=policy), "get", IKE_POLICY) == scope


def test_a_scope_that_depends_on_more_than_roles_is_not_cached() -> None:
    policy = policy_of({"get_ikepolicy": "user_id:alice"})
    assert authorization_policy.scope(caller_with("member", policy=policy), "get", IKE_POLICY) == "all"
    assert (
        authorization_policy.scope(caller_with("member", policy=policy, user_id="bob"), "get", IKE_POLICY) == "nothing"
    )
    policy = policy_of({"get_ikepolicy": f"project_id:{BLUE} or rule:owner"})
    assert authorization_policy.scope(caller_with("member", policy=policy), "get", IKE_POLICY) == "all"
    assert authorization_policy.scope(caller_with("member", policy=policy, project_id=RED), "get", IKE_POLICY) == "own"


def test_a_network_rule_that_sql_cannot_select_is_evaluated_by_row() -> None:
    """The scope `own` of networks includes shared and external ones; a rule without them is evaluated by row."""
    for rule, scope in (
        ("rule:owner", "by row"),
        ("rule:owner or rule:shared", "by row"),
        ("rule:external or rule:owner or rule:shared", "own"),
        ("@", "all"),
        ("!", "nothing"),
    ):
        policy = policy_of({"get_network": rule})
        assert authorization_policy.scope(caller_with("member", policy=policy), "get", NETWORK) == scope, rule


PARTS = st.sampled_from(
    [
        "rule:owner",
        "rule:shared",
        "rule:external",
        "role:member",
        "role:reader",
        "user_id:alice",
        "'x':%(name)s",
        f"project_id:{BLUE}",
        f"'{RED}':%(project_id)s",
        "tenant_id:%(tenant_id)s",
        "role:%(name)s",
        "@",
        "!",
    ]
)
TEXTS = st.recursive(
    PARTS,
    lambda inner: st.one_of(
        st.builds("({} and {})".format, inner, inner),
        st.builds("({} or {})".format, inner, inner),
        inner.map("not {}".format),
    ),
    max_leaves=6,
)


@given(
    text=TEXTS,
    action=st.sampled_from(["get", "update"]),
    callers=st.lists(
        st.builds(
            FakeCaller,
            st.sets(st.sampled_from(["member", "reader", "x"])).map(frozenset),
            project_id=st.sampled_from([BLUE, RED]),
            user_id=st.sampled_from(["alice", "bob"]),
        ),
        min_size=1,
        max_size=5,
    ),
    rows=st.lists(
        st.builds(
            lambda project, name, shared, external: row(
                NETWORK, project, name=name, shared=shared, **{"router:external": external}
            ),
            st.sampled_from([BLUE, RED, "c0" * 16]),
            st.sampled_from(["x", "y"]),
            st.booleans(),
            st.booleans(),
        ),
        min_size=1,
        max_size=6,
    ),
)
@settings(max_examples=examples(300), deadline=None)
def test_cached_scopes_agree_with_the_rules(
    text: str, action: PolicyAction, callers: list[FakeCaller], rows: list[dict[str, Any]]
) -> None:
    """With cache and reduction to scopes, every result equals that of the rule itself."""
    policy = policy_of({f"{action}_network": text})
    plain = load({f"{action}_network": text})
    for caller in callers:
        caller_with_rules = msgspec.structs.replace(caller, policy=policy)
        credentials = {
            "roles": sorted(caller.roles),
            "user_id": caller.user_id,
            "project_id": caller.project_id,
            "tenant_id": caller.project_id,
        }
        scope = authorization_policy.scope(caller_with_rules, action, NETWORK)
        for network in rows:
            target = network | {"tenant_id": network["project_id"]}
            expected = plain.allows(f"{action}_network", target, credentials)
            assert authorization_policy.allows(caller_with_rules, action, NETWORK, network) == expected
            own = network["project_id"] == caller.project_id
            own = own or (action == "get" and (network["shared"] or network["router:external"]))
            assert {"all": True, "nothing": False, "own": own, "by row": expected}[scope] == expected
