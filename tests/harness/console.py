"""The web console in Debian's Chromium, driven by Playwright. Every page that is opened is watched for faults."""

from __future__ import annotations

import fcntl
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import yaml
from playwright.sync_api import Browser, Page, Playwright, Request, ViewportSize

from tests.harness import api_process
from tests.harness.crowd import PASSWORD, Crowd, Crowds
from tests.harness.world import World

ROOT: Final = Path(__file__).parents[2]
CHROMIUM: Final = "/usr/bin/chromium"
# What Chromium itself says about an answer of the API that the console expects.
_EXPECTED: Final = "Failed to load resource: the server responded with a status of"
WIDE: Final[ViewportSize] = {"width": 1280, "height": 800}
PHONE: Final[ViewportSize] = {"width": 360, "height": 740}
SHOTS: Final = ROOT / "tests/console/shots"
"""The folder of the last run's screenshots."""


def build() -> None:
    """Builds the console if a source is newer, once for all workers."""
    with (Path(tempfile.gettempdir()) / "linkspan-console-build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run([ROOT / "dev", "console"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def launch(playwright: Playwright) -> Browser:
    """Starts the browser, as root, which needs it without Chromium's own sandbox."""
    return playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])


class Console:
    """The console of one API in one page. `page`: Playwright's own."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.faults: list[str] = []
        self._origin = urlsplit(url).netloc
        page.on("pageerror", lambda error: self.faults.append(f"script: {error}"))
        page.on("console", self._said)
        page.on("request", self._requested)

    def _said(self, message: Any) -> None:
        if message.type in ("error", "warning") and not message.text.startswith(_EXPECTED):
            self.faults.append(f"{message.type}: {message.text}")

    def _requested(self, request: Request) -> None:
        place = urlsplit(request.url)
        if place.netloc != self._origin and place.scheme != "blob":
            self.faults.append(f"another origin: {request.url}")

    def open(self, place: str = "") -> None:
        """Opens a place, such as `connections?q=down`, in the running console, or starts it."""
        address = f"{self.url}/console/#/{place}"
        if self.page.url.startswith(f"{self.url}/console/"):
            self.page.evaluate("place => { location.hash = place }", f"/{place}")
        else:
            self.page.goto(address)

    def log_in(self, user: str, password: str, place: str = "") -> None:
        """Logs a user in, as a person does, and goes to a place."""
        self.page.goto(f"{self.url}/console/#/{place}")
        self.page.get_by_label("User name").fill(user)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Log in").click()
        self.page.locator("nav").first.wait_for(state="attached")

    def log_in_at(self, world: World, user: str = "demo", place: str = "") -> None:
        """Logs a user of a running service in: admin, demo (a member), reader, or other (a member elsewhere)."""
        clouds = yaml.safe_load((world.state / "clouds.yaml").read_text(encoding="utf-8"))["clouds"]
        auth = clouds[f"linkspan-{user}"]["auth"]
        self.log_in(auth["username"], auth["password"], place)

    def shot(self, name: str) -> None:
        """Keeps a screenshot of the page."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SHOTS / f"{name}.png")

    def axe(self) -> list[str]:
        """The serious and critical faults that axe-core finds in the page as it is: its rule and the elements."""
        self.page.evaluate((ROOT / "console/node_modules/axe-core/axe.min.js").read_text(encoding="utf-8"))
        found = self.page.evaluate("async () => (await axe.run()).violations")
        return [
            f"{fault['id']}: {', '.join(str(node['html']) for node in fault['nodes'])}"
            for fault in found
            if fault["impact"] in ("serious", "critical")
        ]


class Fleet(msgspec.Struct, frozen=True):
    """An API without agents, and its thousand connections, all ACTIVE. The user `blue` is a member of their project,
    with `PASSWORD` of the crowd."""

    url: str
    crowd: Crowd
    user: str = "blue"
    password: str = PASSWORD


@contextmanager
def running_fleet(state: Path) -> Iterator[Fleet]:
    """Runs an API over a thousand connections in a folder."""
    url, key_file = f"sqlite:///{state / 'linkspan.db'}", state / "seal"
    with api_process.filled_store(url, key_file) as store:
        filled = Crowds(store).add("blue", 1000, 50)
    with api_process.running_api(state, url, key_file) as api:
        yield Fleet(f"http://127.0.0.1:{api.port}", filled)


@contextmanager
def console(browser: Browser, url: str, **context: Any) -> Iterator[Console]:
    """Opens a window of its own, with no cookies. Its faults are the test's."""
    opened = browser.new_context(**({"viewport": WIDE} | context))
    opened.set_default_timeout(20_000)
    try:
        window = Console(opened.new_page(), url)
        yield window
        assert not window.faults, window.faults
    finally:
        opened.close()


def url_of(world: World) -> str:
    """The URL of the API of a running service."""
    return f"http://127.0.0.1:{world.port}"
