"""A browser: Debian's Chromium without a window, driven through chromedriver and the WebDriver protocol."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from tests.harness.world import free_port, until

PATIENCE: Final = 60.0
"""Seconds that an element has to appear."""
_ELEMENT: Final = "element-6066-11e4-a52e-4f735466cecf"
_SET: Final = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('change', {bubbles: true}))"


class Browser:
    """A session of the browser. Elements are named by CSS selectors, or by XPath where they begin with a slash.

    Every method waits until its element is there.
    """

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def open(self, url: str) -> None:
        """Open a page."""
        self._post("url", url=url)

    @property
    def url(self) -> str:
        """The URL of the page."""
        return str(self._client.get("url").json()["value"])

    def text(self, element: str) -> str:
        """Return the text of an element."""
        answer = self._client.get(f"element/{self._find(element)}/text").raise_for_status()
        return str(answer.json()["value"])

    def has(self, element: str) -> bool:
        """True if the page has the element now."""
        return bool(self._post("elements", **_selector(element)))

    def click(self, element: str) -> None:
        """Click on an element."""
        self._post(f"element/{self._find(element)}/click")

    def press(self, element: str) -> None:
        """Click on an element by a script, also where another one covers it."""
        self._post("execute/sync", script="arguments[0].click()", args=[{_ELEMENT: self._find(element)}])

    def type(self, element: str, text: str) -> None:
        """Replace the text of a field."""
        found = self._find(element)
        self._post(f"element/{found}/clear")
        self._post(f"element/{found}/value", text=text)

    def set(self, element: str, value: str) -> None:
        """Set the value of a field by a script, also where another element shows it."""
        self._post("execute/sync", script=_SET, args=[{_ELEMENT: self._find(element)}, value])

    def _find(self, element: str) -> str:
        found: list[str] = []

        def look() -> bool:
            found[:] = [item[_ELEMENT] for item in self._post("elements", **_selector(element))]
            return bool(found)

        until(look, PATIENCE, lambda: f"{element} on {self.url}: {self._body()}")
        return found[0]

    def _body(self) -> str:
        return str(self._post("execute/sync", script="return document.body.innerText", args=[]))[:2000]

    def _post(self, path: str, **values: Any) -> Any:
        answer = self._client.post(path, json=values)
        assert answer.status_code == 200, answer.text
        return answer.json()["value"]


def _selector(element: str) -> dict[str, str]:
    return {"using": "xpath" if element.startswith("/") else "css selector", "value": element}


@contextmanager
def running(folder: Path) -> Iterator[Browser]:
    """Start a browser with its files in a folder; end it afterwards."""
    driver = shutil.which("chromedriver")
    assert driver, "needs Chromium: ./dev test --all installs it"
    port = free_port()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            # If this process is killed, the driver is killed too; the browser ends with it.
            ["setpriv", "--pdeathsig", "TERM", "--", driver, f"--port={port}"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    arguments = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--window-size=1600,1200",
    ]
    options = {"args": [*arguments, f"--user-data-dir={folder / 'profile'}"]}
    capabilities = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}
    base = f"http://127.0.0.1:{port}/session"
    with httpx.Client(timeout=120.0, trust_env=False) as client:

        def listens() -> bool:
            try:
                return client.get(f"http://127.0.0.1:{port}/status").status_code == 200
            except httpx.TransportError:
                return False

        try:
            until(listens, PATIENCE)
            answer = client.post(base, json=capabilities)
            assert answer.status_code == 200, answer.text
            base = f"{base}/{answer.json()['value']['sessionId']}"
            with httpx.Client(base_url=base, timeout=120.0, trust_env=False) as session:
                yield Browser(session)
            client.delete(base)
        finally:
            process.terminate()
            process.wait(20.0)
