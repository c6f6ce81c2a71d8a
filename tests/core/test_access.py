"""Roles and what each allows, over the whole registry."""

from __future__ import annotations

import pytest

from linkspan.core import access
from linkspan.core.problem import Problem
from linkspan.core.resources import NETWORK, RESOURCES, ROUTER, Resource

EXPECTED = {
    "admin": {"get", "create", "update", "delete"},
    "member": {"get", "create", "update", "delete"},
    "manager": {"get", "create", "update", "delete"},
    "reader": {"get"},
    "auditor": set(),
    "": set(),
}


@pytest.mark.parametrize("role", EXPECTED)
@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.name)
def test_every_role_on_every_resource(role: str, resource: Resource) -> None:
    roles = frozenset({role})
    possible = set(access.ACTIONS) if resource.writable else {"get"}
    assert {action for action in access.ACTIONS if access.allows(roles, action, resource)} == EXPECTED[role] & possible
    for action in access.ACTIONS:
        if not access.allows(roles, action, resource):
            with pytest.raises(Problem) as caught:
                access.require(roles, action, resource)
            assert caught.value.status == 403
            assert caught.value.message == f"rule:{action}_{resource.singular} is disallowed by policy"


def test_the_highest_role_counts() -> None:
    assert access.is_admin(frozenset({"reader", "admin"}))
    assert not access.is_admin(frozenset({"reader", "member", "Admin"}))
    assert access.sees_secrets(frozenset({"reader", "member"}))
    assert not access.sees_secrets(frozenset({"reader"}))
    assert access.rank(frozenset()) == 0


@pytest.mark.parametrize("name", ["router:external", "shared"])
def test_what_only_an_admin_sets(name: str) -> None:
    access.require_values(frozenset({"admin"}), "create", NETWORK, {name: True})
    access.require_values(frozenset({"member"}), "create", NETWORK, {name: False})
    access.require_values(frozenset({"member"}), "create", ROUTER, {name: True})
    with pytest.raises(Problem) as caught:
        access.require_values(frozenset({"member"}), "create", NETWORK, {name: True})
    assert caught.value.type == "PolicyNotAuthorized"
    assert name in caught.value.message
