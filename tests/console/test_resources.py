"""The pages of what connections are made of: policies, services, networks, certificates, quotas, users."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.console.conftest import OpenConsole
from tests.harness import console as consoles
from tests.harness.console import Console
from tests.harness.world import World, until

HOSTILE: Final = "<img src=x onerror=alert(1)> \u05d0\u05d1 " + "n" * 220
PLACES: Final = (
    "policies/ikepolicy",
    "policies/ipsecpolicy",
    "services/vpnservice",
    "services/endpoint_group",
    "networks/router",
    "networks/network",
    "networks/subnet",
    "networks/port",
    "certificates/certificate",
    "certificates/trust_anchor",
    "quotas",
    "users/users",
    "users/projects",
    "account",
)
FORMS: Final = ("policies/ikepolicy/new", "networks/subnet/new", "certificates/certificate/new", "users/users/new")
"""Places with a form in a dialog."""
PAGES: Final = tuple({place.split("/")[0]: place for place in PLACES}.values())
"""One place of each page: its others have the same parts."""


def dialog(page: Page) -> Locator:
    """The dialog that is open."""
    return page.locator("dialog[open]")


def fill(form: Locator, **values: str) -> None:
    """Fills in texts and chooses words, by the names of attributes."""
    for name, value in values.items():
        field = form.locator(f'[id$="-{name}"]')
        if field.evaluate("element => element.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(value)


def create(console: Console, kind: str, name: str, **values: str) -> str:
    """Makes an object by its form, and returns its id, which the place of its page has."""
    page = console.page
    console.open(f"{kind}/new")
    fill(dialog(page), name=name, **values)
    dialog(page).get_by_role("button", name="Create", exact=True).click()
    expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible()
    return page.url.rsplit("/", 1)[1]


def delete(console: Console, kind: str, id: str) -> None:
    """Deletes an object on its page."""
    page = console.page
    console.open(f"{kind}/{id}")
    page.get_by_role("button", name="Delete", exact=True).click()
    dialog(page).get_by_role("button", name="Delete", exact=True).click()
    expect(dialog(page)).to_have_count(0)
    expect(page.get_by_label("Filter", exact=True)).to_be_visible()


@contextmanager
def deleted_after(world: World, path: str, values: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """An object of the API that is gone afterwards."""
    (singular,) = values
    item = world.user.request("POST", path, values)[singular]
    try:
        yield item
    finally:
        world.user.request("DELETE", f"{path}/{item['id']}")


def test_a_policy_with_a_weak_algorithm(laboratory: World, open_console: OpenConsole) -> None:
    console = open_console(consoles.url_of(laboratory))
    console.log_in_at(laboratory, place="policies/ikepolicy/new")
    page = console.page
    fill(dialog(page), name="old", pfs="group2")
    dialog(page).get_by_role("button", name="Create", exact=True).click()
    expect(dialog(page)).to_contain_text("Weak choices: pfs group2")
    dialog(page).get_by_role("button", name="Create it so").click()
    expect(page.get_by_role("definition").filter(has_text="group2")).to_contain_text("weak")
    id = page.url.rsplit("/", 1)[1]
    # A profile stands for the algorithms, which the form then does not ask for.
    page.get_by_role("button", name="Edit").click()
    fill(dialog(page), crypto_profile="recommended")
    expect(dialog(page).get_by_label("PFS")).to_have_count(0)
    dialog(page).get_by_role("button", name="Save").click()
    expect(page.get_by_role("definition").filter(has_text="group19")).to_be_visible()
    expect(page.get_by_text("weak")).to_have_count(0)
    delete(console, "policies/ikepolicy", id)


def test_the_dry_run_answers_before_a_policy_in_use_is_saved(laboratory: World, open_console: OpenConsole) -> None:
    console = open_console(consoles.url_of(laboratory))
    console.log_in_at(laboratory, place="policies/ikepolicy")
    page = console.page
    page.get_by_role("link", name="lab-ike").click()
    expect(page.get_by_role("heading", name="2 connections use it")).to_be_visible()
    page.get_by_role("button", name="Edit").click()
    fill(dialog(page), pfs="group15")
    dialog(page).get_by_role("button", name="Save").click()
    expect(dialog(page).get_by_role("listitem")).to_have_count(2)
    expect(dialog(page).get_by_role("listitem").first).to_contain_text("the old version carries")
    dialog(page).get_by_role("button", name="Back to the form").click()
    expect(dialog(page).get_by_label("PFS")).to_have_value("group15")
    dialog(page).get_by_role("button", name="Cancel").click()
    policies = laboratory.user.request("GET", "/v2.0/vpn/ikepolicies?name=lab-ike")["ikepolicies"]
    assert [policy["pfs"] for policy in policies] == ["group14"]


def test_nobodys_change_is_lost(laboratory: World, open_console: OpenConsole) -> None:
    with deleted_after(laboratory, "/v2.0/vpn/ikepolicies", {"ikepolicy": {"name": "both"}}) as policy:
        console = open_console(consoles.url_of(laboratory))
        console.log_in_at(laboratory, place=f"policies/ikepolicy/{policy['id']}")
        page = console.page
        page.get_by_role("button", name="Edit").click()
        fill(dialog(page), name="mine")
        theirs = {"ikepolicy": {"description": "theirs"}}
        laboratory.user.request("PUT", f"/v2.0/vpn/ikepolicies/{policy['id']}", theirs)
        dialog(page).get_by_role("button", name="Save").click()
        expect(dialog(page)).to_contain_text("Somebody else has changed it")
        dialog(page).get_by_role("button", name="Start again").click()
        fill(dialog(page), name="mine")
        dialog(page).get_by_role("button", name="Save").click()
        expect(page.get_by_role("heading", name="mine")).to_be_visible()
        expect(page.get_by_role("definition").filter(has_text="theirs")).to_be_visible()


def test_an_error_stands_beside_the_attribute_that_it_names(laboratory: World, open_console: OpenConsole) -> None:
    console = open_console(consoles.url_of(laboratory))
    console.log_in_at(laboratory, place="networks/subnet/new")
    page = console.page
    expect(dialog(page).get_by_role("option", name="left-lan")).to_be_attached()
    dialog(page).get_by_label("Network", exact=False).select_option("left-lan")
    fill(dialog(page), name="bad", cidr="10.78.0.0/24", gateway_ip="nowhere")
    dialog(page).get_by_role("button", name="Create", exact=True).click()
    field = dialog(page).get_by_label("Gateway IP")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_have_accessible_description(re.compile("Invalid input for gateway_ip"))
    expect(field).to_be_focused()
    expect(field).to_have_value("nowhere")
    console.open("services/endpoint_group/new")
    fill(dialog(page), name="bad", type="cidr", endpoints="10.0.0.0/33")
    dialog(page).get_by_role("button", name="Create", exact=True).click()
    expect(dialog(page).get_by_role("alert")).to_contain_text("10.0.0.0/33")
    fill(dialog(page), type="subnet")
    expect(dialog(page).get_by_role("checkbox", name=re.compile("left-lan-v4"))).to_be_visible()


def test_a_router_with_an_interface(laboratory: World, open_console: OpenConsole) -> None:
    console = open_console(consoles.url_of(laboratory))
    console.log_in_at(laboratory)
    page = console.page
    network = create(console, "networks/network", "attic")
    page.get_by_role("link", name="New subnet").click()
    fill(dialog(page), name="attic-v4", cidr="10.77.0.0/24")
    dialog(page).get_by_role("button", name="Create", exact=True).click()
    expect(page.get_by_role("definition").get_by_text("10.77.0.1", exact=True)).to_be_visible()
    router = create(console, "networks/router", "attic-router")
    page.get_by_label("Attach a subnet").select_option(label="attic-v4 (10.77.0.0/24)")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_role("row").filter(has_text="10.77.0.1")).to_be_visible()
    page.get_by_role("button", name="Remove the interface 10.77.0.1").click()
    expect(dialog(page)).to_contain_text("No connection feels it.")
    dialog(page).get_by_role("button", name="Remove").click()
    expect(page.get_by_text("No subnet is attached to it.")).to_be_visible()
    delete(console, "networks/router", router)
    delete(console, "networks/network", network)


def test_certificates_of_an_authority_of_ones_own(laboratory: World, open_console: OpenConsole) -> None:
    console = open_console(consoles.url_of(laboratory))
    console.log_in_at(laboratory)
    page = console.page
    anchor = create(console, "certificates/trust_anchor", "own-ca", source="generated")
    certificate = create(console, "certificates/certificate", "gw", subject_alt_names="gw.example.org")
    request = page.locator("section pre").inner_text()
    console.open(f"certificates/trust_anchor/{anchor}")
    page.get_by_role("button", name="Issue a certificate").click()
    dialog(page).get_by_label("Request (CSR)", exact=True).fill("nonsense")
    dialog(page).get_by_role("button", name="Issue a certificate").click()
    expect(dialog(page).get_by_role("alert")).to_contain_text("csr")
    dialog(page).get_by_label("Request (CSR)", exact=True).fill(request)
    dialog(page).get_by_role("button", name="Issue a certificate").click()
    issued = dialog(page).locator("pre").first.inner_text()
    page.keyboard.press("Escape")
    console.open(f"certificates/certificate/{certificate}")
    page.get_by_role("button", name="Enter the certificate").click()
    fill(dialog(page), certificate=issued)
    dialog(page).get_by_role("button", name="Save").click()
    expect(page.get_by_role("definition").filter(has_text="valid")).to_be_visible()
    expect(page.get_by_text(re.compile(r"\(in 1[12] months\)"))).to_be_visible()
    console.open(f"certificates/trust_anchor/{anchor}")
    page.get_by_role("button", name="Revoke a certificate").click()
    dialog(page).get_by_label("Certificate", exact=True).fill(issued)
    dialog(page).get_by_role("button", name="Revoke a certificate").click()
    expect(dialog(page)).to_contain_text("The certificate is on the revocation list")
    page.keyboard.press("Escape")
    console.open(f"certificates/certificate/{certificate}")
    expect(page.get_by_role("definition").filter(has_text="revoked")).to_be_visible()
    delete(console, "certificates/certificate", certificate)
    delete(console, "certificates/trust_anchor", anchor)


def test_a_user_from_the_first_day_to_the_last(laboratory: World, open_console: OpenConsole) -> None:
    admin = open_console(consoles.url_of(laboratory))
    admin.log_in_at(laboratory, "admin")
    page = admin.page
    project = create(admin, "users/projects", "blue")
    user = create(admin, "users/users", "ada", password="a password of ada")
    grant = page.get_by_role("form", name="Grant a role")
    grant.get_by_label("Project").select_option("blue")
    grant.get_by_label("Role").select_option("reader")
    grant.get_by_role("button", name="Grant").click()
    expect(page.get_by_role("button", name="Revoke reader of ada in blue")).to_be_visible()
    admin.open(f"quotas/{project}")
    page.get_by_role("button", name="Edit").click()
    fill(dialog(page), router="0")
    dialog(page).get_by_role("button", name="Save").click()
    expect(page.get_by_role("row").filter(has_text="Routers")).to_contain_text("full")
    page.get_by_role("button", name="Back to the defaults").click()
    dialog(page).get_by_role("button", name="Back to the defaults").click()
    expect(page.get_by_role("row").filter(has_text="Routers")).to_contain_text("10")

    own = open_console(consoles.url_of(laboratory))
    own.log_in("ada", "a password of ada", "account")
    _change_password(own.page, "another", "the next password of ada")
    expect(own.page.get_by_role("alert")).to_have_text("The present password is wrong.")
    _change_password(own.page, "a password of ada", "the next password of ada")
    expect(own.page.get_by_role("status").filter(has_text="The password is changed.")).to_be_visible()
    own.page.get_by_role("button", name="New application credential").click()
    fill(dialog(own.page), name="ci")
    dialog(own.page).get_by_role("button", name="Create", exact=True).click()
    secret = own.page.locator("pre").inner_text()
    assert "application_credential_secret: " in secret
    own.page.get_by_role("button", name="Delete ci?").click()
    dialog(own.page).get_by_role("button", name="Delete").click()
    expect(own.page.get_by_text("There is none yet.")).to_be_visible()

    admin.open(f"users/users/{user}")
    page.get_by_role("button", name="Disable").click()
    dialog(page).get_by_role("button", name="Disable").click()
    expect(page.get_by_role("definition").filter(has_text="disabled")).to_be_visible()
    until(lambda: _logged_out_after_reload(own.page), 20)
    delete(admin, "users/users", user)
    delete(admin, "users/projects", project)


def _logged_out_after_reload(page: Page) -> bool:
    """The API knows a token for some seconds after it has ended."""
    page.reload()
    page.locator("nav, #name").first.wait_for()
    return page.locator("#name").is_visible()


def _change_password(page: Page, present: str, new: str) -> None:
    page.get_by_label("Present password").fill(present)
    page.get_by_label("New password").fill(new)
    page.get_by_role("button", name="Change the password").click()


@pytest.mark.parametrize("user", ["reader", "other"])
def test_others_see_what_the_api_allows(laboratory: World, open_console: OpenConsole, user: str) -> None:
    """A reader of the project sees its objects and no button; a member of another one sees its own: none."""
    with deleted_after(laboratory, "/v2.0/vpn/ikepolicies", {"ikepolicy": {"name": HOSTILE}}) as policy:
        console = open_console(consoles.url_of(laboratory))
        console.log_in_at(laboratory, user)
        page = console.page
        writing = page.get_by_role("main").get_by_role("button", name=re.compile("^(New|Edit|Delete|Remove|Add|Issue)"))
        for place in PLACES[:10]:
            console.open(place)
            expect(page.get_by_role("region")).to_be_visible()
            if user == "reader":
                expect(writing).to_have_count(0)
        console.open(f"policies/ikepolicy/{policy['id']}")
        if user == "reader":
            expect(page.get_by_role("heading", name=HOSTILE)).to_be_visible()
            expect(writing).to_have_count(0)
            console.open("networks/router")
            page.get_by_role("link", name="left", exact=True).click()
            expect(page.get_by_role("heading", name="Interfaces")).to_be_visible()
            expect(writing).to_have_count(0)
        else:
            expect(page.get_by_role("alert")).to_contain_text("could not be found")
        console.open("users/users")
        expect(page.get_by_text("Your roles in this project do not include this page.")).to_be_visible()


def test_every_page_is_for_everybody(laboratory: World, open_console: OpenConsole) -> None:
    """No serious fault for assistive technology in both themes, and no page is wider than a phone."""
    console = open_console(consoles.url_of(laboratory), viewport=consoles.PHONE)
    console.log_in_at(laboratory, "admin")
    page = console.page
    for place in (*PLACES, *FORMS):
        console.open(place)
        expect(page.locator("main h1")).to_be_visible()
        expect(page.get_by_text("Loading…")).to_have_count(0)
        if place in FORMS:
            expect(dialog(page)).to_be_visible()
        wide = "document.documentElement.scrollWidth > innerWidth"
        assert not page.evaluate(wide), f"{place} is wider than the screen"
        assert console.axe() == [], place
        if place in PAGES:
            page.emulate_media(color_scheme="dark")
            assert console.axe() == [], f"{place} in the dark"
            page.emulate_media(color_scheme="light")
        console.shot(f"{place.replace('/', '-')}-phone")
