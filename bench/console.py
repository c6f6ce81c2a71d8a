"""The console with a thousand connections in Chromium: the first paint of the list, and a storm of changes.

`ours` is what the browser measures from the start of a reload, with its cache as users have it; `bare` is the same list
by one request of a plain client. In the storm, other clients change 100 connections a second through the API; `ours` is
then the longest time that the page did not answer, and the requests that it sent a second, `bare` the changes a second.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from playwright.sync_api import sync_playwright

from bench.measure import Result, median
from tests.harness import console as consoles
from tests.harness.console import Console, Fleet, running_fleet

PAINT = 1000.0
"""Milliseconds."""
ANSWER = 500.0
"""Milliseconds that the page may be busy at a time: its user notices half a second."""
REQUESTS = 5.0
"""Requests a second for 100 changes a second."""
RATE = 100
_ROW = "tbody tr td a"
_PAINT = """async () => {
  while (!document.querySelector('tbody tr td a')) await new Promise(requestAnimationFrame)
  return performance.now()
}"""
_WATCH = """() => {
  window.busy = []
  new PerformanceObserver(list => list.getEntries().forEach(entry => window.busy.push(entry.duration)))
    .observe({ type: 'longtask' })
}"""


def run(quick: bool) -> list[Result]:
    """Return milliseconds, and requests a second."""
    rounds, seconds = (3, 5) if quick else (10, 20)
    consoles.build()
    with (
        tempfile.TemporaryDirectory(prefix="linkspan-bench-") as folder,
        running_fleet(Path(folder)) as fleet,
        sync_playwright() as playwright,
    ):
        browser = consoles.launch(playwright)
        with consoles.console(browser, fleet.url) as console:
            console.log_in(fleet.user, fleet.password, "connections")
            console.page.locator(_ROW).first.wait_for()
            results = [_paint(console, fleet, rounds), *_storm(console, fleet, seconds)]
        browser.close()
    return results


def _client(fleet: Fleet) -> httpx.Client:
    return httpx.Client(base_url=f"{fleet.url}/v2.0/vpn", auth=(fleet.user, fleet.password), timeout=60.0)


def _paint(console: Console, fleet: Fleet, rounds: int) -> Result:
    ours, bare = [], []
    with _client(fleet) as client:
        for _ in range(rounds):
            started = time.perf_counter()
            client.get("/ipsec-site-connections").raise_for_status()
            bare.append(1000 * (time.perf_counter() - started))
            console.page.reload(wait_until="commit")
            ours.append(float(console.page.evaluate(_PAINT)))
    return Result(
        name="console: first rows of 1,000",
        ours=median(ours),
        bare=median(bare),
        unit="ms",
        limit=PAINT,
        note=f"worst of {rounds}: {max(ours):.0f} ms",
    )


@contextmanager
def _changes(fleet: Fleet) -> Iterator[list[float]]:
    """Changes connections, `RATE` a second; yields the times at which that was done."""
    done: list[float] = []
    end = threading.Event()

    def change(part: int) -> None:
        with _client(fleet) as client:
            begin = time.monotonic()
            for number in range(part, 1_000_000, 4):
                if end.wait(max(0.0, begin + number / RATE - time.monotonic())):
                    return
                id = fleet.crowd.connections[number * 7 % len(fleet.crowd.connections)]
                body = {"ipsec_site_connection": {"description": f"change {number}"}}
                client.put(f"/ipsec-site-connections/{id}", json=body).raise_for_status()
                done.append(time.monotonic())

    threads = [threading.Thread(target=change, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield done
    finally:
        end.set()
        for thread in threads:
            thread.join()


def _storm(console: Console, fleet: Fleet, seconds: int) -> list[Result]:
    requests: list[str] = []
    page = console.page
    page.on("request", lambda request: requests.append(request.url))
    page.evaluate(_WATCH)
    with _changes(fleet) as done:
        page.wait_for_timeout(2000)
        requests.clear()
        begin = len(done)
        page.wait_for_timeout(1000 * seconds)
        rate = (len(done) - begin) / seconds
        # What a user does meanwhile.
        started = time.perf_counter()
        page.get_by_role("combobox", name="Filter").fill("name:site-0")
        page.wait_for_function("() => location.hash.includes('q=')")
        filtered = 1000 * (time.perf_counter() - started)
        sent = len(requests) / seconds
        busy = max([0.0, *page.evaluate("() => window.busy")])
    return [
        Result(name="console: requests in a storm", ours=sent, bare=rate, unit="1/s", limit=REQUESTS),
        Result(
            name="console: longest wait in a storm",
            ours=busy,
            bare=filtered,
            unit="ms",
            limit=ANSWER,
            note="bare: a filter typed meanwhile, until the page has it",
        ),
    ]
