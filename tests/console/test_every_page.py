"""What every page owes to everybody: accessibility in both themes, the keyboard, a phone's width, hostile texts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import httpx
import pytest
from playwright.sync_api import Dialog, expect

from tests.console.conftest import OpenConsole
from tests.harness import console as consoles
from tests.harness.console import PHONE, ROOT, Console, Fleet
from tests.harness.world import World

pytestmark = pytest.mark.timeout(400)

PLACES: Final = tuple(re.findall(r"path: '([a-z]+)'", (ROOT / "console/src/pages.ts").read_text(encoding="utf-8")))
HOSTILE: Final = (
    "<img src=x onerror=\"document.title='owned'\">",
    "{@html '<b>x</b>'} ${alert(1)} {{7*7}}",
    "left \u05d0\u05d1\u05d2 1.2.3.4",
    "W" * 255,
)
"""Names that a user may give. The third one turns the direction of what follows it, unless it is isolated; characters
that do nothing else are refused by the API."""
_FOCUSABLE: Final = "a[href], button, input, select, textarea, summary"
# Of a group of radio buttons, Tab reaches one.
_REACHABLE: Final = f"""() => [...document.querySelector('main').querySelectorAll('{_FOCUSABLE}')]
  .filter(element => element.checkVisibility({{ visibilityProperty: true }}) && !element.disabled)
  .filter(element => element.type !== 'radio' || element.checked)
  .map(element => element.outerHTML.slice(0, 120))"""
_FOCUSED: Final = """() => {
  const element = document.activeElement
  const main = document.querySelector('main')
  const seen = element.linkspanSeen === true
  element.linkspanSeen = true
  return { inside: main.contains(element), seen, html: element.outerHTML.slice(0, 120) }
}"""
_WIDER: Final = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


def settled(console: Console, place: str) -> None:
    """Opens a page and waits until it has its heading and has read what it shows."""
    console.open(place)
    expect(console.page.locator("main h1").first).to_be_visible()
    expect(console.page.locator("main [aria-busy=true]")).to_have_count(0)


def places(connection: str) -> list[tuple[str, str]]:
    """The name and the place of every page."""
    return [(name, f"connection/{connection}" if name == "connection" else name) for name in PLACES]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_serious_fault_of_accessibility(laboratory: World, open_console: OpenConsole, theme: str) -> None:
    console = open_console(consoles.url_of(laboratory), color_scheme=theme, reduced_motion="reduce")
    console.log_in_at(laboratory, "admin")
    faults = {}
    for name, place in places(laboratory.lab["sites"]["left"]["connection_id"]):
        settled(console, place)
        if found := console.axe():
            faults[name] = found
        console.shot(f"{name}-{theme}")
    assert not faults


def test_axe_finds_a_fault_that_is_there(laboratory: World, open_console: OpenConsole) -> None:
    """Control."""
    console = open_console(consoles.url_of(laboratory))
    console.log_in_at(laboratory, place="connections")
    settled(console, "connections")
    console.page.evaluate("document.querySelector('main').append(document.createElement('input'))")
    assert any(fault.startswith("label") for fault in console.axe())


def test_the_keyboard_reaches_everything(laboratory: World, open_console: OpenConsole) -> None:
    console = open_console(consoles.url_of(laboratory))
    console.log_in_at(laboratory, "admin")
    missed = {}
    for name, place in places(laboratory.lab["sites"]["left"]["connection_id"]):
        settled(console, place)
        reachable = console.page.evaluate(_REACHABLE)
        console.page.locator("#content").focus()
        reached = []
        for _ in range(4 * len(reachable) + 20):
            console.page.keyboard.press("Tab")
            focused = console.page.evaluate(_FOCUSED)
            if not focused["inside"]:
                break
            if not focused["seen"]:
                reached.append(focused["html"])
        # Live pages may have changed an attribute meanwhile, so the number counts.
        if len([html for html in reached if not html.startswith(("<div", "<svg", "<pre"))]) < len(reachable):
            missed[name] = sorted(set(reachable) - set(reached))
    assert not missed


def test_every_page_fits_a_phone(laboratory: World, open_console: OpenConsole) -> None:
    console = open_console(consoles.url_of(laboratory), viewport=PHONE)
    console.log_in_at(laboratory, "admin")
    wide = {}
    for name, place in places(laboratory.lab["sites"]["left"]["connection_id"]):
        settled(console, place)
        if over := console.page.evaluate(_WIDER):
            wide[name] = over
        console.shot(f"{name}-phone")
    assert not wide


@contextmanager
def hostile_names(fleet: Fleet) -> Iterator[None]:
    """Gives hostile names to what every page shows, and takes them back."""
    crowd = fleet.crowd
    objects = {
        "ipsec-site-connections": ("ipsec_site_connection", crowd.connections[:4]),
        "ikepolicies": ("ikepolicy", [crowd.ike]),
        "ipsecpolicies": ("ipsecpolicy", [crowd.ipsec]),
        "vpnservices": ("vpnservice", crowd.services[:4]),
    }
    with httpx.Client(base_url=f"{fleet.url}/v2.0/vpn", auth=(fleet.user, fleet.password), timeout=60.0) as http:

        def name(plural: str, singular: str, id: str, values: dict[str, str]) -> dict[str, str]:
            before = http.get(f"/{plural}/{id}").json()[singular]
            http.put(f"/{plural}/{id}", json={singular: values}).raise_for_status()
            return {key: before[key] for key in values}

        kept = [
            (plural, singular, id, name(plural, singular, id, {"name": text, "description": text}))
            for plural, (singular, ids) in objects.items()
            for id, text in zip(ids, HOSTILE, strict=False)
        ]
        try:
            yield
        finally:
            for plural, singular, id, values in kept:
                name(plural, singular, id, values)


def test_hostile_names_are_shown_as_text(fleet: Fleet, open_console: OpenConsole) -> None:
    """No element, script or direction comes from a name; long ones do not push anything off the screen."""
    console = open_console(fleet.url)
    dialogs: list[str] = []

    def dismiss(dialog: Dialog) -> None:
        dialogs.append(dialog.message)
        dialog.dismiss()

    console.page.on("dialog", dismiss)
    with hostile_names(fleet):
        console.log_in(fleet.user, fleet.password)
        for name, place in places(fleet.crowd.connections[0]):
            settled(console, place)
            assert console.page.locator("main img").count() == 0, name
            assert console.page.evaluate(_WIDER) == 0, name
            if name == "connection":
                expect(console.page.locator("main h1").first).to_contain_text(HOSTILE[0])
        settled(console, "connections?q=name:left*")
        shown = console.page.locator("main .name", has_text="\u05d2 1.2.3.4").first
        expect(shown).to_be_visible()
        assert shown.evaluate("element => getComputedStyle(element).unicodeBidi") == "isolate"
    assert "owned" not in console.page.title()
    assert not dialogs
