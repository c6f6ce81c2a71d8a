"""The lists of the console: connections by a filter, tunnels, the map, nodes, what is now, and what has changed."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.console.conftest import OpenConsole
from tests.harness import console as consoles
from tests.harness.console import Console, Fleet
from tests.harness.world import World

LEFT = "left-to-right"
RIGHT = "right-to-left"
HOSTILE = "<img src=x onerror=alert(1)> \u05d0\u05d1 " + "w" * 220


def rows(page: Page) -> Locator:
    """The rows of the table."""
    return page.locator("tbody tr[data-row]")


def filter_of(page: Page) -> Locator:
    """The field of the filter."""
    return page.get_by_role("combobox", name="Filter")


@pytest.fixture
def crowded(fleet: Fleet, open_console: OpenConsole) -> Console:
    """The list of a thousand connections."""
    console = open_console(fleet.url)
    console.log_in(fleet.user, fleet.password, "connections")
    expect(console.page.get_by_text("1,000 connections", exact=True)).to_be_visible()
    return console


def test_a_filter_is_in_the_url_and_counts_follow_it(crowded: Console) -> None:
    page = crowded.page
    filter_of(page).fill("name:site-00000 -name:site-000003")
    expect(page.get_by_text("9 of 1,000 connections")).to_be_visible()
    assert "q=name%3Asite-00000" in page.url
    page.get_by_role("button", name="up 9").click()
    expect(filter_of(page)).to_have_value("up name:site-00000 -name:site-000003")
    page.reload()
    expect(page.get_by_text("9 of 1,000 connections")).to_be_visible()
    expect(page.get_by_role("button", name="up 9")).to_have_attribute("aria-pressed", "true")
    filter_of(page).fill("nmae:x peer:100.64.0.0/30")
    expect(page.get_by_text("“nmae:x”: there is no such key. Meant: name?")).to_be_visible()
    expect(rows(page)).to_have_count(4)


def test_the_keyboard_alone_filters_and_opens(crowded: Console) -> None:
    page = crowded.page
    page.keyboard.press("/")
    expect(filter_of(page)).to_be_focused()
    page.keyboard.type("pee")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(filter_of(page)).to_have_value("peer:")
    page.keyboard.type("100.64.0.77")
    page.keyboard.press("Enter")
    expect(page.get_by_role("region", name="Connections")).to_be_focused()
    expect(page.get_by_text("1 of 1,000 connections")).to_be_visible()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"#/connection/[0-9a-f-]{36}$"))


def test_a_download_has_what_is_filtered(crowded: Console, tmp_path: Path) -> None:
    page = crowded.page
    filter_of(page).fill("name:site-00001")
    expect(page.get_by_text("10 of 1,000 connections")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    file = tmp_path / "connections.csv"
    download.value.save_as(file)
    with file.open(newline="") as text:
        lines = list(csv.DictReader(text))
    assert sorted(line["name"] for line in lines) == [f"site-{number:06}" for number in range(10, 20)]
    assert {line["state"] for line in lines} == {"up"}


@contextmanager
def restored(world: World, name: str) -> Iterator[str]:
    """A connection by its name, which is enabled and called so again afterwards."""
    id = next(item["id"] for item in connections(world) if item["name"] == name)
    path = f"/v2.0/vpn/ipsec-site-connections/{id}"
    try:
        yield id
    finally:
        body = {"ipsec_site_connection": {"admin_state_up": True, "name": name}}
        world.user.request("PUT", path, body)


def connections(world: World) -> list[dict[str, str]]:
    """The connections of the laboratory."""
    answer = world.user.request("GET", "/v2.0/vpn/ipsec-site-connections")
    found: list[dict[str, str]] = answer["ipsec_site_connections"]
    return found


def test_chosen_connections_are_disabled_and_enabled(laboratory: World, open_console: OpenConsole) -> None:
    console = open_console(consoles.url_of(laboratory))
    console.log_in_at(laboratory, place="connections")
    page = console.page
    with restored(laboratory, LEFT):
        page.get_by_role("checkbox", name=f"Choose {LEFT}").check()
        page.get_by_role("button", name="Disable", exact=True).click()
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_text(LEFT)).to_be_visible()
        dialog.get_by_role("button", name="Disable").click()
        row = rows(page).filter(has_text=LEFT)
        expect(row.get_by_text("○ disabled")).to_be_visible()
        expect(dialog).to_be_hidden()
        console.open("changes?kind=revision")
        expect(page.get_by_role("listitem").filter(has_text="admin_state_up").first).to_contain_text(f"{LEFT} changed")
        console.open("tunnels")
        card = page.get_by_role("article", name=LEFT)
        expect(card.get_by_text("○ disabled")).to_be_visible()
    expect(card.get_by_text("up", exact=False).first).to_be_visible()


def test_a_reader_changes_nothing(laboratory: World, open_console: OpenConsole) -> None:
    console = open_console(consoles.url_of(laboratory))
    console.log_in_at(laboratory, "reader", "connections")
    page = console.page
    expect(page.get_by_role("link", name=LEFT)).to_be_visible()
    expect(page.get_by_role("checkbox", name=f"Choose {LEFT}")).to_have_count(0)
    console.open("tunnels")
    expect(page.get_by_role("article")).to_have_count(2)
    expect(page.get_by_role("link", name="New tunnel")).to_have_count(0)
    console.open("nodes")
    expect(page.get_by_text("do not include this page")).to_be_visible()


def test_a_hostile_name_is_text_everywhere(laboratory: World, open_console: OpenConsole) -> None:
    console = open_console(consoles.url_of(laboratory))
    console.log_in_at(laboratory, "admin", "changes")
    page = console.page
    expect(page.get_by_role("listitem").filter(has_text=LEFT).first).to_be_visible()
    with restored(laboratory, LEFT) as id:
        path, body = f"/v2.0/vpn/ipsec-site-connections/{id}", {"ipsec_site_connection": {"name": HOSTILE}}
        laboratory.user.request("PUT", path, body)
        for place in ("changes", "connections", "map", "map?view=table"):
            console.open(place)
            expect(page.locator(":not(title, option)", has_text="<img src=x").last).to_be_visible()
        assert page.locator("img").count() == 0


def test_what_a_tunnel_carries_is_shown(laboratory: World, open_console: OpenConsole) -> None:
    console = open_console(consoles.url_of(laboratory))
    console.log_in_at(laboratory, place="tunnels")
    expect(console.page.get_by_text(re.compile("b/s ↓")).first).to_be_visible()
    console.open("connections")
    expect(console.page.get_by_text(re.compile("b/s / ")).first).to_be_visible()


def test_an_operator_sees_what_is_now_and_the_nodes(laboratory: World, open_console: OpenConsole) -> None:
    console = open_console(consoles.url_of(laboratory))
    console.log_in_at(laboratory, "admin", "now")
    page = console.page
    expect(page.get_by_text("Nothing: every connection is as it should be.")).to_be_visible()
    expect(page.get_by_text("▲ 1 ready")).to_be_visible()
    console.open("nodes")
    page.get_by_role("link", name="node-1").click()
    expect(page.get_by_role("heading", name="2 gateways")).to_be_visible()
    page.get_by_role("link", name="left", exact=True).click()
    expect(page.get_by_text("1 of 2 connections")).to_be_visible()
    console.open("changes/audit?resource=router")
    expect(page.get_by_role("cell", name="interface added").first).to_be_visible()


def test_every_node_of_the_map_is_a_link(laboratory: World, open_console: OpenConsole) -> None:
    console = open_console(consoles.url_of(laboratory))
    console.log_in_at(laboratory, place="map")
    page = console.page
    expect(page.get_by_role("link", name=re.compile("left .*: gateway, 1 tunnel, the worst one is up"))).to_be_visible()
    page.get_by_role("link", name=re.compile("right .*: a gateway of ours")).press("Enter")
    expect(page.get_by_role("link", name=re.compile("right .*: gateway"))).to_be_focused()
    page.get_by_role("link", name=f"up {RIGHT}: tunnel").press("Enter")
    page.wait_for_url(re.compile(r"#/connection/"))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nobody_is_left_out(laboratory: World, open_console: OpenConsole, theme: str) -> None:
    console = open_console(consoles.url_of(laboratory), color_scheme=theme)
    console.log_in_at(laboratory, "admin", "now")
    console.page.set_viewport_size(consoles.PHONE)
    for place in ("now", "tunnels", "connections", "map", "map?view=table", "nodes", "changes", "changes/audit"):
        console.open(place)
        expect(console.page.get_by_role("heading", level=1)).to_be_visible()
        expect(console.page.get_by_text("Loading…")).to_have_count(0)
        assert console.axe() == [], place
        assert console.page.evaluate("document.documentElement.scrollWidth") <= consoles.PHONE["width"], place
        console.shot(f"{re.sub(r'[^a-z]+', '-', place)}-{theme}")
