"""The permission matrix in the browser: each role sees the objects that the API shows it, and the buttons that it allows.

What is allowed comes from the matrix that `tests/api/test_rbac.py` holds the API to, what is seen from the API itself.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
import pytest
from playwright.sync_api import Locator, expect

from linkspan.core.schema.resources import (
    CERTIFICATE,
    CONNECTION,
    ENDPOINT_GROUP,
    IKE_POLICY,
    IPSEC_POLICY,
    NETWORK,
    ROUTER,
    SERVICE,
    SUBNET,
    TRUST_ANCHOR,
    Resource,
)
from tests.api.test_rbac import EXPECTED
from tests.console.conftest import OpenConsole
from tests.harness import console as consoles
from tests.harness.console import Console
from tests.harness.world import World

LISTS: Final = {
    "policies/ikepolicy": IKE_POLICY,
    "policies/ipsecpolicy": IPSEC_POLICY,
    "services/vpnservice": SERVICE,
    "services/endpoint_group": ENDPOINT_GROUP,
    "networks/router": ROUTER,
    "networks/network": NETWORK,
    "networks/subnet": SUBNET,
    "certificates/certificate": CERTIFICATE,
    "certificates/trust_anchor": TRUST_ANCHOR,
}
OPERATORS: Final = ("nodes", "users")


class User(msgspec.Struct, frozen=True):
    """A user of the laboratory: name and role; `owns`: the laboratory is in the user's project."""

    name: str
    role: str
    owns: bool


USERS: Final = (
    User("admin", "admin", False),
    User("demo", "member", True),
    User("reader", "reader", True),
    User("other", "member", False),
)


def allowed(user: User, action: str, *, own: bool) -> bool:
    """True if the matrix lets a role carry out an action on an own object, or on a foreign one."""
    result = EXPECTED[action][user.role][0 if own else 1]
    return isinstance(result, int) and result < 300


def shown(world: World, user: User, resource: Resource) -> list[dict[str, Any]]:
    """The objects that the API lists for a user."""
    found: list[dict[str, Any]] = world.client(user.name).request("GET", f"/v2.0/{resource.path}")[resource.plural]
    return found


def button(console: Console, name: str) -> Locator:
    return console.page.get_by_role("main").get_by_role("button", name=name, exact=True)


@pytest.mark.parametrize("user", USERS, ids=lambda user: user.name)
def test_each_role_sees_what_the_api_allows(laboratory: World, open_console: OpenConsole, user: User) -> None:
    console = open_console(consoles.url_of(laboratory))
    console.log_in_at(laboratory, user.name, "connections")
    page = console.page
    connections = shown(laboratory, user, CONNECTION)
    assert bool(connections) == (user.owns or user.role == "admin"), "control: the laboratory is in one project"
    expect(page.locator("tbody tr")).to_have_count(len(connections))
    for place, resource in LISTS.items():
        objects = shown(laboratory, user, resource)
        console.open(place)
        expect(page.locator("tbody tr")).to_have_count(len(objects))
        new = page.get_by_role("main").get_by_role("button", name="New")
        expect(new).to_have_count(int(allowed(user, "create", own=True)))
        for item in objects[:2]:
            own = user.owns and item["project_id"] == connections[0]["project_id"]
            console.open(f"{place}/{item['id']}")
            expect(page.get_by_role("heading", name=item["name"], exact=True)).to_be_visible()
            expect(button(console, "Edit")).to_have_count(int(allowed(user, "update", own=own)))
            expect(button(console, "Delete")).to_have_count(int(allowed(user, "delete", own=own)))
    for place in OPERATORS:
        console.open(place)
        expect(page.get_by_text("Your roles in this project do not include this page.")).to_have_count(
            int(user.role != "admin")
        )
    console.open(f"connection/{laboratory.lab['sites']['left']['connection_id']}")
    if connections:
        expect(page.get_by_role("heading", name="left-to-right", exact=True)).to_be_visible()
        page.get_by_role("button", name="Actions").click()
        menu = page.get_by_role("list", name="Actions")
        expect(menu).to_be_visible()
        actions = {"edit": "update", "delete": "delete", "rollback": "rollback", "probe": "probe", "compare": "compare"}
        for name, action in actions.items():
            expect(menu.locator(f"a[href$='/{name}']")).to_have_count(int(allowed(user, action, own=user.owns)))
    else:
        expect(page.get_by_role("heading", name="There is no such connection")).to_be_visible()
