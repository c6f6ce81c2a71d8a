"""The page of a connection: why it is as it is, and what its users do with it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.console.conftest import OpenConsole
from tests.harness import console as consoles
from tests.harness.console import Console
from tests.harness.world import World

PATH = "/v2.0/vpn/ipsec-site-connections"
OURS = ("name", "peer_id", "mtu", "description", "admin_state_up", "psk")


@pytest.fixture
def left(laboratory: World) -> Iterator[dict[str, Any]]:
    """The connection of the left site. It is as it was, and up, afterwards."""
    id = laboratory.lab["sites"]["left"]["connection_id"]
    before = laboratory.wait_status(id, "ACTIVE")
    yield before
    now = laboratory.connection(id)
    changed = {name: before[name] for name in OURS if now[name] != before[name]}
    if changed:
        laboratory.user.request("PUT", f"{PATH}/{id}", {"ipsec_site_connection": changed})
    laboratory.wait_status(id, "ACTIVE")


def place_of(connection: dict[str, Any], action: str = "") -> str:
    return f"connection/{connection['id']}" + (f"/{action}" if action else "")


def state_of(page: Page, word: str) -> None:
    expect(page.locator("header .mark")).to_contain_text(word)


def test_a_wrong_key_is_named_and_rolled_back(
    laboratory: World, left: dict[str, Any], open_console: OpenConsole
) -> None:
    console = open_console(consoles.url_of(laboratory))
    page = console.page
    console.log_in_at(laboratory, place=place_of(left))
    state_of(page, "up")
    expect(page.get_by_role("listitem").filter(has_text="Child SA").first).to_contain_text("ok")
    console.shot("connection-up")

    page.get_by_role("button", name="Actions").click()
    page.get_by_role("link", name="New pre-shared key").click()
    dialog = page.get_by_role("dialog")
    key = dialog.locator("code").inner_text()
    assert re.fullmatch(r"[A-Za-z0-9]{44}", key)
    dialog.get_by_role("button", name="See what it does").click()
    expect(dialog.get_by_text("interrupted")).to_be_visible()
    dialog.get_by_role("button", name="Change the key").click()
    expect(dialog.get_by_role("status").filter(has_text="has the new key since revision")).to_be_visible()
    assert laboratory.connection(left["id"])["psk"] == key
    assert key in dialog.inner_text()
    # The key is a text of the open dialog, and nowhere else.
    attributes = "[...document.querySelectorAll('*')].flatMap(e => [...e.attributes].map(a => a.value)).join('\\n')"
    stored = "JSON.stringify([localStorage, sessionStorage, location.href, history.state])"
    assert key not in page.evaluate(attributes) + page.evaluate(stored)
    dialog.get_by_role("button", name="Close").last.click()
    expect(dialog).to_have_count(0)
    assert key not in page.content()

    why = page.get_by_role("region", name="Why:")
    expect(why.get_by_text("PSK_MISMATCH")).to_be_visible()
    expect(why.get_by_text("set psk to the peer's key")).to_be_visible()
    expect(why.get_by_role("link", name="New pre-shared key")).to_be_visible()
    console.shot("connection-down")

    why.get_by_role("link", name="Roll back to revision").click()
    expect(dialog.get_by_text("comes up")).to_be_visible()
    dialog.get_by_role("button", name="Roll back to revision").click()
    expect(dialog.get_by_text("The connection is as revision")).to_contain_text("psk")
    dialog.get_by_role("button", name="Close").last.click()
    state_of(page, "up")
    assert laboratory.connection(left["id"])["psk"] == left["psk"]


def test_an_edit_that_somebody_else_was_quicker_with(
    laboratory: World, left: dict[str, Any], open_console: OpenConsole
) -> None:
    console = open_console(consoles.url_of(laboratory))
    page = console.page
    console.log_in_at(laboratory, place=place_of(left, "edit?field=mtu"))
    dialog = page.get_by_role("dialog")
    mtu = dialog.get_by_label("MTU")
    expect(mtu).to_be_focused()
    mtu.fill("12")
    dialog.get_by_role("button", name="See what it does").click()
    expect(dialog.get_by_text("MTU 12 is too small")).to_be_visible()
    mtu.fill("1300")
    laboratory.user.request("PUT", f"{PATH}/{left['id']}", {"ipsec_site_connection": {"description": "quicker"}})
    dialog.get_by_role("button", name="See what it does").click()
    notice = dialog.get_by_role("status").filter(has_text="Somebody has changed the connection")
    expect(notice).to_contain_text("description – → quicker")
    expect(mtu).to_have_value("1300")
    dialog.get_by_role("button", name="See what it does").click()
    expect(dialog.get_by_text("no packet is lost")).to_be_visible()
    assert laboratory.connection(left["id"])["mtu"] == left["mtu"], "a dry run changes nothing"
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_have_count(0)
    now = laboratory.connection(left["id"])
    assert (now["mtu"], now["description"]) == (1300, "quicker")
    expect(page.get_by_text("quicker")).to_be_visible()
    expect(page.get_by_role("region", name="Timeline").get_by_text("mtu", exact=True).first).to_be_visible()


def test_disable_and_enable(laboratory: World, left: dict[str, Any], open_console: OpenConsole) -> None:
    console = open_console(consoles.url_of(laboratory))
    page = console.page
    console.log_in_at(laboratory, place=place_of(left))
    # By the keyboard alone.
    page.get_by_role("button", name="Actions").press("Enter")
    expect(page.get_by_role("link", name="Edit", exact=True)).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Disable")
    expect(dialog.get_by_text("goes down")).to_be_visible()
    dialog.get_by_role("button", name="Disable").press("Enter")
    expect(dialog).to_have_count(0)
    state_of(page, "disabled")
    why = page.get_by_role("region", name="Why:")
    expect(why.get_by_text("ADMIN_DISABLED")).to_be_visible()
    why.get_by_role("link", name="Enable").click()
    page.get_by_role("dialog").get_by_role("button", name="Enable").click()
    state_of(page, "up")


def test_probe_and_compare(laboratory: World, left: dict[str, Any], open_console: OpenConsole) -> None:
    console = open_console(consoles.url_of(laboratory))
    page = console.page
    console.log_in_at(laboratory, place=place_of(left, "probe"))
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Send packets").click()
    expect(dialog.get_by_role("listitem").filter(has_text="UDP 500")).to_contain_text("ok")
    expect(dialog.get_by_role("listitem").filter(has_text="inside MTU")).to_contain_text("ok")

    console.open(place_of(left, "compare"))
    answer = laboratory.user.request("GET", f"{PATH}/{left['id']}/peer-config", query={"format": "swanctl"})
    text = answer["peer_config"]["files"][0]["text"].replace("REPLACE_WITH_THE_PRE_SHARED_KEY", left["psk"])
    dialog.get_by_label("The peer's configuration").fill(text)
    dialog.get_by_role("button", name="Compare", exact=True).click()
    expect(dialog.get_by_text("It fits.")).to_be_visible()
    dialog.get_by_label("The peer's configuration").fill(text.replace("10.2.0.0/24", "10.3.0.0/24"))
    dialog.get_by_role("button", name="Compare", exact=True).click()
    expect(dialog.get_by_text("It does not fit.")).to_be_visible()
    expect(dialog.get_by_role("listitem").filter(has_text="the tunnel cannot come up")).to_contain_text("10.3.0.0/24")
    dialog.get_by_label("The peer's configuration").fill("nonsense {")
    dialog.get_by_role("button", name="Compare", exact=True).click()
    expect(dialog.get_by_role("alert")).to_be_visible()

    console.open(place_of(left, "peer"))
    dialog.get_by_label("For which device").select_option("swanctl")
    expect(dialog.get_by_role("region", name="swanctl.conf")).to_contain_text("10.2.0.0/24")


def test_traffic_is_drawn_and_tabled_with_its_rekeys(
    laboratory: World, left: dict[str, Any], open_console: OpenConsole
) -> None:
    console = open_console(consoles.url_of(laboratory))
    page = console.page
    console.log_in_at(laboratory, place=place_of(left))
    page.get_by_text("Settings").click()
    expect(page.get_by_role("definition").filter(has_text="bi-directional")).to_be_visible()
    assert left["psk"] not in page.content()
    traffic = page.get_by_role("region", name="Traffic of the last hour")
    expect(traffic.locator("canvas").first).to_be_visible()
    with laboratory.charon("left") as charon:
        child = next(child for sa in charon.sas() for child in sa.children)
        charon.rekey(child.unique_id)
    expect(traffic.locator("figcaption").first).to_contain_text("rekeyed")
    expect(page.get_by_role("region", name="Timeline").get_by_text("a child SA was rekeyed").first).to_be_visible()
    traffic.get_by_text("As a table, by minutes").click()
    expect(traffic.get_by_role("row").nth(1)).to_contain_text("b/s")


def test_delete_says_what_ends_and_what_is_gone_is_not_found(
    laboratory: World, left: dict[str, Any], open_console: OpenConsole
) -> None:
    console = open_console(consoles.url_of(laboratory))
    page = console.page
    other = {name: left[name] for name in ("vpnservice_id", "ikepolicy_id", "ipsecpolicy_id", "psk")}
    other |= {"name": "short-lived", "peer_address": "198.51.100.77", "peer_id": "198.51.100.77"}
    body = {"ipsec_site_connection": other | {"peer_cidrs": ["10.77.0.0/24"]}}
    made = laboratory.user.request("POST", PATH, body)["ipsec_site_connection"]
    console.log_in_at(laboratory, place=place_of(made, "delete"))
    dialog = page.get_by_role("dialog", name="Delete")
    expect(dialog.get_by_text("The tunnel to 198.51.100.77 ends")).to_be_visible()
    dialog.get_by_role("button", name="Back").click()
    expect(page.get_by_role("heading", name="short-lived")).to_be_visible()
    console.open(place_of(made, "delete"))
    dialog.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("heading", name="Connections")).to_be_visible()
    console.open(place_of(made))
    expect(page.get_by_role("heading", name="There is no such connection")).to_be_visible()
    state = laboratory.connection(left["id"])["status"]
    assert state == "ACTIVE"


def test_each_user_has_what_the_api_lets_them_do(
    laboratory: World, left: dict[str, Any], open_console: OpenConsole
) -> None:
    def window(user: str, action: str = "") -> Console:
        console = open_console(consoles.url_of(laboratory))
        console.log_in_at(laboratory, user, place_of(left, action))
        return console

    reader = window("reader")
    state_of(reader.page, "up")
    reader.page.get_by_role("button", name="Actions").click()
    menu = reader.page.locator("[popover] a")
    expect(menu).to_have_text(["Compare with the peer's configuration", "Peer's configuration"])
    reader.open(place_of(left, "edit"))
    expect(reader.page.get_by_role("heading", name=left["name"])).to_be_visible()
    expect(reader.page.get_by_role("dialog")).to_have_count(0)
    admin = window("admin")
    admin.page.get_by_role("button", name="Actions").click()
    expect(admin.page.locator("[popover] a")).to_have_count(8)
    stranger = window("other")
    expect(stranger.page.get_by_role("heading", name="There is no such connection")).to_be_visible()
    assert left["name"] not in stranger.page.content()


def test_a_hostile_name_is_text_and_everybody_can_read_it(
    laboratory: World, left: dict[str, Any], open_console: OpenConsole
) -> None:
    hostile = "<img src=x onerror=alert(1)>\u0627\u0644\u0639" + "w" * 220
    laboratory.user.request("PUT", f"{PATH}/{left['id']}", {"ipsec_site_connection": {"name": hostile}})
    console = open_console(consoles.url_of(laboratory))
    page = console.page
    console.log_in_at(laboratory, place=place_of(left))
    page.set_viewport_size(consoles.PHONE)
    state_of(page, "up")
    expect(page.get_by_role("heading", level=1)).to_have_text(hostile)
    expect(page.get_by_role("region", name="Both sides").get_by_text("agreed")).to_have_count(6)
    assert page.locator("main img").count() == 0
    dialog = page.get_by_role("dialog")
    for theme, action in (
        ("light", ""),
        ("dark", ""),
        ("light", "edit"),
        ("dark", "key"),
        ("light", "compare"),
        ("dark", "rollback"),
    ):
        page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]  # literals above
        console.open(place_of(left, action))
        if action:
            expect(dialog.get_by_role("heading", level=2)).to_contain_text(hostile)
            expect(dialog.locator("[aria-busy=true]")).to_have_count(0)
        assert console.axe() == [], (action, theme)
        boxes = "[document.documentElement, ...document.querySelectorAll('dialog[open]')]"
        assert page.evaluate(f"{boxes}.every(box => box.scrollWidth <= box.clientWidth)"), action
        console.shot(f"connection-phone-{action or 'page'}-{theme}")
