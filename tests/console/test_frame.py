"""The frame of the console: login, menu, live state, and what every page owes to everybody."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.console.conftest import OpenConsole
from tests.harness import console as consoles
from tests.harness.console import Fleet
from tests.harness.world import World


def test_a_wrong_password_says_so_and_a_right_one_logs_in(laboratory: World, open_console: OpenConsole) -> None:
    console = open_console(consoles.url_of(laboratory))
    page = console.page
    page.goto(f"{console.url}/console/")
    page.get_by_label("User name").fill("demo")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_have_text("The name or the password is wrong.")
    assert page.get_by_label("User name").input_value() == "demo"
    console.log_in_at(laboratory, place="connections")
    expect(page.get_by_role("link", name="left-to-right")).to_be_visible()
    expect(page.get_by_text("● live")).to_be_visible()


def test_a_reload_keeps_the_login_and_no_script_has_the_token(laboratory: World, open_console: OpenConsole) -> None:
    console = open_console(consoles.url_of(laboratory))
    console.log_in_at(laboratory, place="connections")
    expect(console.page.get_by_role("link", name="left-to-right")).to_be_visible()
    console.page.reload()
    expect(console.page.get_by_role("link", name="left-to-right")).to_be_visible()
    console.open("tunnels")
    expect(console.page.get_by_role("link", name="left-to-right")).to_be_visible()
    console.shot("tunnels-demo")
    (cookie,) = console.page.context.cookies()
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Strict"
    stored = console.page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie])")
    assert cookie["value"] not in stored


def test_log_out_ends_the_token(laboratory: World, open_console: OpenConsole) -> None:
    console = open_console(consoles.url_of(laboratory))
    console.log_in_at(laboratory)
    (cookie,) = console.page.context.cookies()
    console.page.get_by_role("button", name="Log out").click()
    expect(console.page.get_by_label("Password")).to_be_visible()
    assert not console.page.context.cookies()
    answer = console.page.request.get(f"{console.url}/v2.0/vpn/ikepolicies", headers={"X-Auth-Token": cookie["value"]})
    assert answer.status == 401


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_thousand_connections(fleet: Fleet, open_console: OpenConsole, theme: str) -> None:
    console = open_console(fleet.url, color_scheme=theme)
    console.log_in(fleet.user, fleet.password, "connections")
    expect(console.page.locator("table")).to_have_attribute("aria-rowcount", "1001")
    assert console.axe() == []
    console.shot(f"a-thousand-{theme}")
