"""What the rules as they are let each role do, what a caller reaches, and that what is remembered stays right."""

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
from linkspan.core.schema.operations import PolicyAction
from linkspan.core.schema.resources import CONNECTION, IKE_POLICY, NETWORK, RESOURCES, ROUTER, Resource

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
"""role -> what it may do with objects of its own project, and of another one."""


class Who(msgspec.Struct, frozen=True):
    """A caller."""

    roles: frozenset[str]
    policy: Policy = DEFAULTS
    project_id: str = BLUE
    user_id: str = "alice"


def who(*roles: str, policy: Policy = DEFAULTS, **more: Any) -> Who:
    """A caller with these roles."""
    return Who(frozenset(roles), policy, **more)


def row(resource: Resource, project: str, **more: Any) -> dict[str, Any]:
    """An object of a project, as it is stored."""
    values = {item.name: item.default for item in resource.attributes if item.stored}
    return values | {"project_id": project, "network:project_id": project, "network:tenant_id": project} | more


@pytest.mark.parametrize("role", EXPECTED)
@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.name)
def test_every_role_on_every_resource(role: str, resource: Resource) -> None:
    caller = who(role)
    possible = set(ACTIONS) if resource.writable else {"get"}
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
    ("role", "reach"), [("admin", "all"), ("member", "own"), ("manager", "own"), ("reader", "own"), ("", "nothing")]
)
@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.name)
def test_lists_are_one_statement_under_the_rules_as_they_are(role: str, reach: str, resource: Resource) -> None:
    assert authorization_policy.scope(who(role), "get", resource) == reach


def test_without_rules_nothing_is_allowed() -> None:
    nobody = who("admin", policy=NO_RULES)
    assert not authorization_policy.is_admin(nobody)
    for resource in RESOURCES:
        assert authorization_policy.scope(nobody, "get", resource) == "nothing"
        assert not authorization_policy.sees_secrets(nobody, resource)(row(resource, BLUE))
    with pytest.raises(ApiError, match="disallowed by policy"):
        authorization_policy.require_rule(nobody, "get_node", {})


def test_the_highest_role_counts() -> None:
    assert authorization_policy.is_admin(who("reader", "admin"))
    assert not authorization_policy.is_admin(who("reader", "member"))
    connection = row(CONNECTION, BLUE)
    assert authorization_policy.sees_secrets(who("reader", "member"), CONNECTION)(connection)
    assert not authorization_policy.sees_secrets(who("reader"), CONNECTION)(connection)
    assert not authorization_policy.sees_secrets(who("member"), CONNECTION)(row(CONNECTION, RED))
    assert authorization_policy.sees_secrets(who("admin"), CONNECTION)(row(CONNECTION, RED))
    assert authorization_policy.secrets_scope(who("reader"), CONNECTION) == "nothing"


@pytest.mark.parametrize("name", ["router:external", "shared"])
def test_what_only_an_admin_sets(name: str) -> None:
    target, on = row(NETWORK, BLUE), {name: True}
    authorization_policy.require_values(who("admin"), "create", NETWORK, target, on)
    authorization_policy.require_values(who("member"), "create", NETWORK, target, {name: False})
    authorization_policy.require_values(who("member"), "create", ROUTER, target, on)
    with pytest.raises(ApiError) as caught:
        authorization_policy.require_values(who("member"), "create", NETWORK, target, on)
    assert caught.value.type == "PolicyNotAuthorized"
    assert caught.value.message == f"(rule:create_network and rule:create_network:{name}) is disallowed by policy"


def test_a_network_that_is_for_everybody_is_seen_and_not_changed() -> None:
    for flag in ("shared", "router:external"):
        network = row(NETWORK, RED, **{flag: True})
        for role in ("member", "reader"):
            assert authorization_policy.allows(who(role), "get", NETWORK, network)
            assert not authorization_policy.allows(who(role), "update", NETWORK, network)
        assert not authorization_policy.allows(who("auditor"), "get", NETWORK, network)


def test_interfaces_of_routers_have_rules_of_their_own() -> None:
    policy = policy_of({"remove_router_interface": "rule:admin_only"})
    caller, router = who("member", policy=policy), row(ROUTER, BLUE)
    authorization_policy.require(caller, "add_router_interface", ROUTER, router)
    with pytest.raises(ApiError, match="rule:remove_router_interface is disallowed by policy"):
        authorization_policy.require(caller, "remove_router_interface", ROUTER, router)


# --- other rules --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "reach"),
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
def test_what_is_reached(rule: str, reach: str) -> None:
    policy = policy_of({"get_ikepolicy": rule})
    for _again in range(2):
        assert authorization_policy.scope(who("member", policy=policy), "get", IKE_POLICY) == reach


def test_what_depends_on_more_than_roles_is_not_remembered_for_others() -> None:
    policy = policy_of({"get_ikepolicy": "user_id:alice"})
    assert authorization_policy.scope(who("member", policy=policy), "get", IKE_POLICY) == "all"
    assert authorization_policy.scope(who("member", policy=policy, user_id="bob"), "get", IKE_POLICY) == "nothing"
    policy = policy_of({"get_ikepolicy": f"project_id:{BLUE} or rule:owner"})
    assert authorization_policy.scope(who("member", policy=policy), "get", IKE_POLICY) == "all"
    assert authorization_policy.scope(who("member", policy=policy, project_id=RED), "get", IKE_POLICY) == "own"


def test_a_network_rule_that_sql_cannot_select_is_judged_by_row() -> None:
    """The store's own networks include those for everybody; a rule that leaves these out is not that."""
    for rule, reach in (
        ("rule:owner", "by row"),
        ("rule:owner or rule:shared", "by row"),
        ("rule:external or rule:owner or rule:shared", "own"),
        ("@", "all"),
        ("!", "nothing"),
    ):
        policy = policy_of({"get_network": rule})
        assert authorization_policy.scope(who("member", policy=policy), "get", NETWORK) == reach, rule


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
            Who,
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
@settings(max_examples=300, deadline=None)
def test_short_cuts_never_differ_from_the_rule(
    text: str, action: PolicyAction, callers: list[Who], rows: list[dict[str, Any]]
) -> None:
    """Whatever is remembered or worked out by kinds of objects: each answer is the rule's own, evaluated plainly."""
    policy = policy_of({f"{action}_network": text})
    plain = load({f"{action}_network": text})
    for caller in callers:
        asking = msgspec.structs.replace(caller, policy=policy)
        credentials = {
            "roles": sorted(caller.roles),
            "user_id": caller.user_id,
            "project_id": caller.project_id,
            "tenant_id": caller.project_id,
        }
        reach = authorization_policy.scope(asking, action, NETWORK)
        for each in rows:
            target = each | {"tenant_id": each["project_id"]}
            expected = plain.allows(f"{action}_network", target, credentials)
            assert authorization_policy.allows(asking, action, NETWORK, each) == expected
            own = each["project_id"] == caller.project_id
            own = own or (action == "get" and (each["shared"] or each["router:external"]))
            assert {"all": True, "nothing": False, "own": own, "by row": expected}[reach] == expected
