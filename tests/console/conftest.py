"""Fixtures of the console's tests: a browser, the laboratory with real agents, and an API with a thousand connections.

`laboratory` and `fleet` are started once for all tests of a worker: a test leaves them as it found them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.harness import console as consoles
from tests.harness.console import Console, Fleet, running_fleet
from tests.harness.world import World

HERE = Path(__file__).parent
OpenConsole = Callable[..., Console]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests of this folder, which the other parts of the suite leave out."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.console)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, and the console, built."""
    if not Path(consoles.CHROMIUM).exists():
        pytest.skip("needs chromium: sudo ./dev test installs it")
    consoles.build()
    expect.set_options(timeout=20_000)
    with sync_playwright() as playwright:
        running = consoles.launch(playwright)
        yield running
        running.close()


@pytest.fixture
def open_console(browser: Browser) -> Iterator[OpenConsole]:
    """Opens windows of the console of an API: `open_console(url)`, with options of Playwright's `new_context`."""
    with ExitStack() as opened:

        def window(url: str, **context: Any) -> Console:
            entered: AbstractContextManager[Console] = consoles.console(browser, url, **context)
            return opened.enter_context(entered)

        yield window


@pytest.fixture(scope="session")
def laboratory(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """API, agent and two sites, as `linkspan run` starts them: `laboratory.user` and `laboratory.admin` are clients of
    the API, `consoles.url_of(laboratory)` is its URL. A changed psk ends the one before it at once."""
    if os.geteuid() != 0:
        pytest.skip("needs root for network namespaces: sudo ./dev test tests/console")
    world = World(tmp_path_factory.mktemp("console") / "state", environment={"LINKSPAN_API_PSK_GRACE": "0"})
    try:
        yield world
    finally:
        world.stop()


@pytest.fixture(scope="session")
def fleet(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A thousand connections of one project."""
    with running_fleet(tmp_path_factory.mktemp("fleet")) as running:
        yield running
