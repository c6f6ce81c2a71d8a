"""The wizard for a new tunnel: from its first step to packets that pass, and what it does when something fails."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import pytest
from playwright.sync_api import Page, expect

from linkspan.cli.client import Client
from linkspan.core.schema.resources import (
    CONNECTION,
    ENDPOINT_GROUP,
    IKE_POLICY,
    IPSEC_POLICY,
    NETWORK,
    PORT,
    ROUTER,
    SERVICE,
    Resource,
)
from linkspan.lab import fabric
from tests.console.conftest import OpenConsole
from tests.harness import console as consoles
from tests.harness.console import Console
from tests.harness.world import World, ping_with_retry, until

KEY: Final = "wizards-of-two-ends-share-this"
LEFT, RIGHT = "2001:db8:ffff::2", "2001:db8:ffff::3"
OTHER_KEY: Final = re.compile("PSK_MISMATCH|AUTHENTICATION_REFUSED")
"""The verdict on keys that differ: it depends on which end has initiated last."""
MADE: Final = (CONNECTION, SERVICE, ENDPOINT_GROUP, IKE_POLICY, IPSEC_POLICY)
"""What the wizard makes, in the order in which it can be deleted."""


def ids(client: Client, resource: Resource) -> set[str]:
    answer = client.request("GET", f"/v2.0/{resource.path}")
    return {item["id"] for item in answer[resource.plural]}


@pytest.fixture
def swept(laboratory: World) -> Iterator[None]:
    """Deletes what a test has made."""
    before = {resource.name: ids(laboratory.user, resource) for resource in MADE}
    yield
    for resource in MADE:
        for id in ids(laboratory.user, resource) - before[resource.name]:
            laboratory.user.request("DELETE", f"/v2.0/{resource.path}/{id}")
        until(lambda: ids(laboratory.user, resource) <= before[resource.name], 20.0)  # noqa: B023 # called at once


def begin(console: Console, world: World, user: str = "demo") -> Page:
    console.log_in_at(world, user, "new")
    expect(console.page.get_by_label("Name of the tunnel")).to_be_visible()
    return console.page


def step(page: Page, title: str) -> None:
    """Goes to the next step, whose heading then has the focus."""
    page.get_by_role("button", name="Next").click()
    expect(page.get_by_role("heading", name=title)).to_be_focused()
    expect(page.get_by_role("list", name="Steps").locator("[aria-current=step]")).to_contain_text(title.split(": ")[1])


def enter_where(page: Page, name: str, router: str, networks: str) -> None:
    page.get_by_label("Name of the tunnel").fill(name)
    options = page.get_by_label("Router", exact=True)
    options.select_option(options.locator("option", has_text=router).get_attribute("value"))
    chosen = page.get_by_role("group", name="Local networks")
    for label in chosen.locator("label").all():
        label.get_by_role("checkbox").set_checked(networks in label.inner_text())


def enter_peer(page: Page, address: str, networks: str, device: str = "linkspan") -> None:
    page.get_by_label("Address or name of the peer").fill(address)
    page.get_by_label("Device of the peer").select_option(device)
    page.get_by_label("Networks behind the peer").fill(networks)


def to_review(page: Page, name: str, router: str, local: str, address: str, networks: str) -> None:
    enter_where(page, name, router, local)
    step(page, "Step 2 of 4: Peer")
    enter_peer(page, address, networks)
    step(page, "Step 3 of 4: Security")
    page.get_by_role("textbox", name="Pre-shared key").fill(KEY)
    step(page, "Step 4 of 4: Review")


def planned(page: Page) -> dict[str, str]:
    """What will be there: the kind of each object, and what becomes of it."""
    rows = page.locator(".objects li").all()
    return {row.locator(".kind").inner_text(): row.locator(".muted").last.inner_text() for row in rows}


def wait_up(page: Page, name: str) -> None:
    expect(page.get_by_role("heading", name=f"{name} is up")).to_be_visible(timeout=40_000)


@pytest.mark.usefixtures("swept")
def test_a_tunnel_made_here_carries_pings_is_broken_repaired_and_deleted(
    laboratory: World, open_console: OpenConsole
) -> None:
    console = open_console(consoles.url_of(laboratory))
    page = begin(console, laboratory)
    to_review(page, "berlin", "left", "fd00:1::/64", RIGHT, "FD00:2:0::/64")
    assert set(planned(page).values()) == {"is created"}
    console.shot("wizard-review")
    page.get_by_role("button", name="Create the tunnel").click()
    expect(page.get_by_role("heading", name="Waiting for berlin")).to_be_focused()
    expect(page.get_by_role("heading", name="Why:")).to_be_visible()
    expect(page.get_by_label("For which device")).to_have_value("linkspan")
    expect(page.get_by_role("region", name="connection.sh")).to_contain_text("linkspan connection create")
    key = page.get_by_role("region", name="psk.txt")
    expect(key).to_contain_text("REPLACE_WITH_THE_PRE_SHARED_KEY")
    page.get_by_label("With the pre-shared key").check()
    expect(key).to_have_text(KEY)
    assert console.axe() == []
    console.shot("wizard-waiting")

    page.get_by_role("link", name="Make another tunnel").click()
    to_review(page, "oslo", "right", "fd00:2::/64", LEFT, "fd00:1::/64")
    assert planned(page)["IKE policy"] == planned(page)["IPsec policy"] == "is used as it is"
    page.get_by_role("button", name="Create the tunnel").click()
    wait_up(page, "oslo")
    destination = laboratory.lab["sites"]["right"]["host"]["addresses"][1].partition("/")[0]
    with laboratory.wire() as wire:
        answer = ping_with_retry(lambda: fabric.ping(laboratory.host("left"), destination, 5))
    assert answer.received == answer.sent
    assert wire.tally.protected > 0
    assert wire.tally.plaintext == wire.tally.drops == 0
    expect(page.get_by_role("list", name="Layers").get_by_text("ok", exact=True)).to_have_count(7)
    console.shot("wizard-up")

    oslo = page.url.partition("/new/")[2].partition("?")[0]
    change_key(laboratory, oslo, "another-key-that-nobody-knows")
    verdict = page.get_by_role("region", name="Why:").get_by_role("code")
    expect(verdict).to_have_text(OTHER_KEY, timeout=40_000)
    console.open(f"connection/{oslo}")
    expect(verdict).to_have_text(OTHER_KEY)
    expect(page.get_by_role("list", name="Layers").locator("[aria-current=step]")).to_contain_text("Authentication")
    console.open(f"connection/{oslo}/key")
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Enter one").check()
    dialog.get_by_label("Pre-shared key").fill(KEY)
    dialog.get_by_role("button", name="See what it does").click()
    dialog.get_by_role("button", name="Change the key").click()
    expect(dialog.get_by_text("has the new key since revision")).to_be_visible()
    console.open(f"new/{oslo}")
    wait_up(page, "oslo")

    console.open(f"connection/{oslo}/delete")
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_role("link", name="left-to-right")).to_be_visible()
    expect(page.get_by_role("link", name="oslo")).to_have_count(0)


def change_key(world: World, id: str, key: str) -> None:
    world.user.request("PUT", f"/v2.0/{CONNECTION.path}/{id}", {CONNECTION.singular: {"psk": key}})


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_each_step_says_what_is_wrong_and_works_without_a_mouse(
    laboratory: World, open_console: OpenConsole, theme: str
) -> None:
    console = open_console(consoles.url_of(laboratory), color_scheme=theme)
    page = begin(console, laboratory)
    page.set_viewport_size(consoles.WIDE if theme == "light" else consoles.PHONE)
    page.get_by_label("Name of the tunnel").press("Enter")
    expect(page.get_by_role("alert")).to_have_text("2 things are to be corrected.")
    expect(page.get_by_label("Name of the tunnel")).to_be_focused()
    expect(page.get_by_label("Name of the tunnel")).to_have_accessible_description(re.compile("Give it a name"))
    assert console.axe() == []
    enter_where(page, "paris", "left", "10.1.0.0/24")
    step(page, "Step 2 of 4: Peer")
    enter_peer(page, "198.51.100.7/32", "10.9.0.5/24", "aws")
    page.get_by_role("button", name="Next").click()
    expect(page.get_by_text("Enter one address, without a prefix length.")).to_be_visible()
    expect(page.get_by_text("10.9.0.5/24 is an address inside of 10.9.0.0/24")).to_be_visible()
    enter_peer(page, "198.51.100.2", "10.1.0.128/25", "aws")
    expect(page.get_by_text("This is the address of the router itself.")).to_be_visible()
    expect(page.get_by_text("10.1.0.128/25 is, or is inside of, 10.1.0.0/24")).to_be_visible()
    assert console.axe() == []
    enter_peer(page, "198.51.100.7", "10.9.0.0/24", "palo-alto")
    step(page, "Step 3 of 4: Security")
    expect(page.get_by_text("aes-256 instead of aes-256-gcm-16")).to_be_visible()
    page.get_by_role("button", name="Generate").press("Enter")
    key = page.get_by_role("textbox", name="Pre-shared key").input_value()
    assert len(key) == 43
    assert console.axe() == []
    step(page, "Step 4 of 4: Review")
    assert console.axe() == []
    console.shot(f"wizard-{theme}")
    page.reload()
    expect(page.get_by_text("The key is not kept over a reload.")).to_be_visible()
    stored = page.evaluate("JSON.stringify([localStorage, sessionStorage])")
    assert "paris" in stored
    assert key not in stored
    page.get_by_role("button", name="Back").click()
    expect(page.get_by_label("Networks behind the peer")).to_have_value("10.9.0.0/24")


@pytest.fixture
def no_more_ipsec_policies(laboratory: World) -> Iterator[Any]:
    """The project can make no IPsec policy. Yields a function that permits it again."""
    project = laboratory.user.request("GET", "/v2.0/quotas/tenant")["tenant"]["tenant_id"]

    def limit(count: int) -> None:
        laboratory.admin.request("PUT", f"/v2.0/quotas/{project}", {"quota": {"ipsecpolicy": count}})

    limit(0)
    yield lambda: limit(-1)
    limit(-1)


@pytest.mark.usefixtures("swept")
def test_what_was_made_before_a_failure_is_gone_on_with_or_removed(
    laboratory: World, open_console: OpenConsole, no_more_ipsec_policies: Any
) -> None:
    before = {resource.name: ids(laboratory.user, resource) for resource in MADE}
    console = open_console(consoles.url_of(laboratory))
    page = begin(console, laboratory)
    to_review(page, "rome", "left", "10.1.0.0/24", "198.51.100.9", "10.9.0.0/24")
    expect(page.get_by_role("alert")).to_contain_text("IPsec policy: Quota exceeded")
    page.get_by_role("button", name="Create the tunnel").click()
    expect(page.get_by_text("Made so far")).to_be_visible()
    expect(page.get_by_role("alert")).to_contain_text("IPsec policy: this was not made.")
    assert len(ids(laboratory.user, IKE_POLICY) - before[IKE_POLICY.name]) == 1
    page.get_by_role("button", name="Remove what was made").click()
    expect(page.get_by_text("Made so far")).to_have_count(0)
    assert ids(laboratory.user, IKE_POLICY) == before[IKE_POLICY.name]

    page.get_by_role("button", name="Create the tunnel").click()
    expect(page.get_by_text("Made so far")).to_be_visible()
    no_more_ipsec_policies()
    page.get_by_role("button", name="Go on").dblclick()
    expect(page.get_by_role("heading", name="Waiting for rome")).to_be_visible()
    made = {resource.name: len(ids(laboratory.user, resource) - before[resource.name]) for resource in MADE}
    once = (CONNECTION, IKE_POLICY, IPSEC_POLICY)
    assert made == {resource.name: int(resource in once) for resource in MADE}


def test_an_error_of_the_api_is_beside_the_field_that_it_names(laboratory: World, open_console: OpenConsole) -> None:
    console = open_console(consoles.url_of(laboratory))
    page = begin(console, laboratory)
    enter_where(page, "vienna", "left", "10.1.0.0/24")
    step(page, "Step 2 of 4: Peer")
    enter_peer(page, "198.51.100.9", "10.9.0.0/24")
    page.get_by_text("More: Identities").click()
    page.get_by_label("Identity of the peer").fill("198.51.100.9/32")
    step(page, "Step 3 of 4: Security")
    page.get_by_role("textbox", name="Pre-shared key").fill(KEY)
    page.get_by_label("Algorithms").select_option(label="Policies that there are")
    for policy in ("IKE policy", "IPsec policy"):
        page.get_by_label(policy).select_option(index=1)
    step(page, "Step 4 of 4: Review")
    page.get_by_role("button", name="Create the tunnel").click()
    expect(page.get_by_role("heading", name="Step 2 of 4: Peer")).to_be_visible()
    expect(page.get_by_label("Identity of the peer")).to_be_focused()
    expect(page.locator("#wizard-peerId-problem")).to_contain_text("Invalid input for peer_id")


def test_a_project_without_a_router_gets_one_and_a_reader_no_wizard(
    laboratory: World, open_console: OpenConsole
) -> None:
    client = laboratory.client("other")
    console = open_console(consoles.url_of(laboratory))
    page = begin(console, laboratory, "other")
    expect(page.get_by_text("This project has none yet.")).to_be_visible()
    try:
        page.get_by_label("Name of the tunnel").fill("lima")
        page.get_by_label("Addresses of the network inside").fill("10.7.0.0/24")
        page.get_by_role("button", name="Make them").click()
        expect(page.get_by_role("checkbox", name="10.7.0.0/24")).to_be_checked()
        step(page, "Step 2 of 4: Peer")
    finally:
        remove_inventory(client)
    reader = open_console(consoles.url_of(laboratory))
    reader.log_in_at(laboratory, "reader", "new")
    expect(reader.page.get_by_text("Your roles in this project do not include this page.")).to_be_visible()
    expect(reader.page.get_by_role("link", name="New tunnel")).to_have_count(0)


def remove_inventory(client: Client) -> None:
    """Deletes the routers and networks of a project."""
    for router in client.request("GET", f"/v2.0/{ROUTER.path}")[ROUTER.plural]:
        for port in client.request("GET", f"/v2.0/{PORT.path}", query=[("device_id", router["id"])])[PORT.plural]:
            if port["device_owner"] == "network:router_interface":
                path = f"/v2.0/{ROUTER.path}/{router['id']}/remove_router_interface"
                client.request("PUT", path, {"port_id": port["id"]})
        client.request("DELETE", f"/v2.0/{ROUTER.path}/{router['id']}")
    for network in client.request("GET", f"/v2.0/{NETWORK.path}")[NETWORK.plural]:
        if not network["router:external"]:
            client.request("DELETE", f"/v2.0/{NETWORK.path}/{network['id']}")
