"""The timeline as a stream: nothing is lost or doubled between streams, and clients cost a bounded amount."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from linkspan.api.http import slow_clients
from linkspan.api.resources import timeline_stream
from linkspan.store import timeline
from linkspan.store.audit import Actor
from linkspan.store.timeline_ticker import TimelineTicker
from tests.api.serving import Served, served, wait_for
from tests.api.world import CONNECTIONS, Api, LocalSite

MANY = 9000
EVENTS = "/v2.0/linkspan/events"
HEADERS = {"accept": "text/event-stream", "authorization": "alice"}


@contextmanager
def streaming(database: Engine) -> Iterator[tuple[Served, LocalSite]]:
    """A server whose timeline is put into order all the time, and a site of alice."""
    with served(database) as service:
        api = service.api
        with TimelineTicker(api.store, api.notifier.changed, 1000, interval=0.02):
            yield service, LocalSite(api)


class Listener:
    """Reads a stream in a thread. `events`: their data; `last`: the last id."""

    def __init__(
        self, service: Served, path: str, last: str | None = None, user: str = "alice", most: int = 10**9
    ) -> None:
        self.events: list[dict[str, Any]] = []
        self.last = last
        self.is_open = threading.Event()
        self.most = most
        headers = HEADERS | {"authorization": user} | ({} if last is None else {"last-event-id": last})
        self._thread = threading.Thread(target=self._read, args=(service.url + path, headers), daemon=True)
        self._thread.start()

    def _read(self, url: str, headers: dict[str, str]) -> None:
        with httpx.stream("GET", url, headers=headers, timeout=30.0) as response:
            assert response.headers["content-type"] == "text/event-stream", response.status_code
            for line in response.iter_lines():
                name, _, value = line.partition(": ")
                if name == "id":
                    self.last = value
                    self.is_open.set()
                elif name == "data":
                    self.events.append(json.loads(value))
                    if len(self.events) >= self.most:
                        return

    def join(self) -> None:
        self._thread.join(20.0)
        assert not self._thread.is_alive()

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()


def edit_often(site: LocalSite, connection: dict[str, Any]) -> None:
    for number in range(25):
        edit(site, connection, number)


def edit(site: LocalSite, connection: dict[str, Any], number: int) -> None:
    site.api.update(f"{CONNECTIONS}/{connection['id']}", "ipsec_site_connection", description=f"number {number}")


def test_a_stream_has_what_follows_and_a_page_says_the_same(database: Engine) -> None:
    with streaming(database) as (service, site):
        connection, other = site.connection(), site.connection(peer_id="other", peer_cidrs=["10.8.0.0/24"])
        path = f"/v2.0{CONNECTIONS}/{connection['id']}/events"
        listener, everything = Listener(service, path), Listener(service, EVENTS)
        assert listener.is_open.wait(20.0)
        assert everything.is_open.wait(20.0)
        for number in range(5):
            edit(site, connection, number)
            edit(site, other, number)
        wait_for(lambda: len(listener.events) >= 5 and len(everything.events) >= 10)
        assert {event["connection_id"] for event in listener.events} == {connection["id"]}
        page = service.api.get(f"{CONNECTIONS}/{connection['id']}/events")["events"]
        assert listener.events == page[:5][::-1]


def test_streams_that_break_off_lose_and_double_nothing(database: Engine) -> None:
    """Several writers, and a client that breaks off after a few events each time."""
    with streaming(database) as (service, site):
        connections = [site.connection(peer_id=str(number), peer_cidrs=[f"10.8.{number}.0/24"]) for number in range(4)]
        threads = [threading.Thread(target=edit_often, args=(site, item)) for item in connections]
        seen: list[dict[str, Any]] = []
        last = "0"
        for thread in threads:
            thread.start()
        while len(seen) < 4 * 26:
            listener = Listener(service, EVENTS, last, most=7)
            wait_for(lambda listener=listener, seen=seen: listener.ended or len(seen) + len(listener.events) >= 104)  # type: ignore[misc]
            seen += listener.events
            last = seen[-1]["id"]
        for thread in threads:
            thread.join()
        ids = [int(event["id"]) for event in seen]
        assert ids == sorted(set(ids))
        assert [sum(event["connection_id"] == item["id"] for event in seen) for item in connections] == [26] * 4


def test_after_and_since_begin_in_the_past_and_kinds_filter(database: Engine) -> None:
    with streaming(database) as (service, site):
        connection = site.connection()
        edit(site, connection, 1)
        path = f"/v2.0{CONNECTIONS}/{connection['id']}/events"
        for query in ("after=0", "since=2020-01-01T00:00:00Z", "kind=revision&after=0"):
            listener = Listener(service, f"{path}?{query}", most=2)
            listener.join()
            assert [event["revision"]["action"] for event in listener.events] == ["create", "update"]
        nothing = Listener(service, f"{path}?kind=down&after=0")
        assert nothing.is_open.wait(20.0)
        wait_for(lambda: int(nothing.last or 0) > 0)
        assert nothing.events == []


@pytest.mark.security("10", tried="the stream of another project", control="itself: a reader of the project gets them")
def test_another_project_streams_nothing(database: Engine) -> None:
    with streaming(database) as (service, site):
        connection = site.connection()
        path = f"{service.url}/v2.0{CONNECTIONS}/{connection['id']}/events"
        assert httpx.get(path, headers=HEADERS | {"authorization": "bob"}).status_code == 404
        assert httpx.get(path, headers=HEADERS | {"authorization": "nobody"}).status_code == 401
        assert httpx.get(f"{service.url}{EVENTS}", headers=HEADERS | {"authorization": "auditor"}).status_code == 403
        assert httpx.get(f"{path}?after=x", headers=HEADERS).status_code == 400
        foreign = Listener(service, f"{EVENTS}?after=0", user="bob")
        own = Listener(service, f"{EVENTS}?after=0", user="reader")
        for number in range(3):
            edit(site, connection, number)
        wait_for(lambda: len(own.events) == 4)
        wait_for(lambda: foreign.last == own.last)
        assert foreign.events == []


def test_a_stream_ends_so_that_its_caller_is_looked_at_again(database: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline_stream.EventStreams.__init__, "__defaults__", (0.1, 0.3))
    with streaming(database) as (service, _site):
        Listener(service, EVENTS).join()


def test_streams_of_a_project_are_bounded_and_others_get_theirs(
    database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timeline_stream, "OF_PROJECT", 3)
    with streaming(database) as (service, _site):
        listeners = [Listener(service, EVENTS) for _ in range(3)]
        assert all(listener.is_open.wait(20.0) for listener in listeners)
        response = httpx.get(f"{service.url}{EVENTS}", headers=HEADERS)
        assert (response.status_code, response.json()["NeutronError"]["type"]) == (429, "TooManyRequests")
        assert int(response.headers["retry-after"]) > 0
        assert Listener(service, EVENTS, user="bob").is_open.wait(20.0)
        assert service.stop() < 10.0
        for listener in listeners:
            listener.join()


@pytest.mark.security(
    "8", tried="a client that never reads its stream", control="itself: a client that reads gets all events"
)
def test_a_client_that_does_not_read_is_cut_off_and_holds_nobody_up(
    database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slow_clients, "TAKING", 0.5)
    with streaming(database) as (service, site):
        host, port = service.url.removeprefix("http://").split(":")
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect((host, int(port)))
            headers = {"host": host, **HEADERS}
            lines = [f"GET {EVENTS}?after=0 HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
            client.sendall("\r\n".join(lines).encode())
            reader = Listener(service, f"{EVENTS}?after=0", user="admin", most=MANY)
            fill(service.api, site.router["project_id"])
            assert is_closed(client)
            wait_for(lambda: len(reader.events) >= MANY, 60.0)


def fill(api: Api, project_id: str) -> None:
    """More events than the buffers of a connection take."""
    actor = Actor("1", "alice", project_id)
    with api.store.write() as tx:
        for number in range(MANY):
            own = (project_id, "x" * 200)
            timeline.revised(tx, actor, "update", "connection", str(number), (), own=own)


def is_closed(client: socket.socket) -> bool:
    """Waits until the server has closed a connection, without reading what it has sent."""
    deadline = time.monotonic() + 30.0
    while time.monotonic() < deadline:
        try:
            client.send(b"\r\n")
        except OSError:
            return True
        time.sleep(0.1)
    return False
