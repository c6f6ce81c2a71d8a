"""PostgreSQL that hangs, is a standby or goes away: each request is answered in time, and work goes on by itself."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest

from linkspan.api.http import dispatcher
from linkspan.bootstrap import command_line
from linkspan.store.database import deadlines
from linkspan.store.database import engine as engines
from tests.api.serving import Served, served, wait_for
from tests.harness.databases import open_store
from tests.harness.postgres import REPLICATED, Server, server, standby

pytestmark = pytest.mark.postgres

POLICIES = "/v2.0/vpn/ikepolicies"
ALICE = {"authorization": "alice"}
SHORT = 1.0


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorter deadlines."""
    monkeypatch.setattr(deadlines, "ANSWER", SHORT)
    monkeypatch.setattr(deadlines, "PING", SHORT)
    monkeypatch.setattr(dispatcher, "PATIENCE", SHORT)


@pytest.fixture
def primary() -> Iterator[Server]:
    """A server that others may replicate."""
    with server(REPLICATED) as running:
        yield running


@contextmanager
def api_over(*servers: Server) -> Iterator[Served]:
    """An API over several servers, as its URL would name them."""
    hosts = "&".join(f"host={each.folder}" for each in servers)
    engine = engines.connect(f"postgresql://postgres@/linkspan?{hosts}&target_session_attrs=read-write")
    with served(engine) as running:
        yield running
    wait_for(lambda: not engine.pool.checkedout())  # type: ignore[attr-defined]
    engine.dispose()


def answers(running: Served, count: int = 30, seconds: float = 30.0) -> list[int]:
    """The status codes of so many requests at once, more than there are threads; every other one writes."""

    def send(number: int) -> int:
        if number % 2:
            return httpx.get(f"{running.url}{POLICIES}?limit=1", headers=ALICE, timeout=seconds).status_code
        body = {"ikepolicy": {"name": f"{number}"}}
        response = httpx.post(f"{running.url}{POLICIES}", headers=ALICE, json=body, timeout=seconds)
        assert response.status_code == 201 or response.headers["retry-after"]
        return response.status_code

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(send, range(count)))


def test_a_hung_primary_blocks_nothing_after_the_failover(primary: Server) -> None:
    primary.current()
    with standby(primary) as second, api_over(primary, second) as running:
        assert set(answers(running)) == {200, 201}
        primary.signal(signal.SIGSTOP)
        assert set(answers(running)) == {503}
        assert httpx.get(f"{running.url}/", timeout=5.0).status_code == 200
        second.promote()
        # The primary stays as it is: nobody ends it.
        wait_for(lambda: set(answers(running, 2)) == {200, 201}, 20.0)
        assert set(answers(running)) == {200, 201}
        primary.signal(signal.SIGCONT)


def test_without_deadlines_threads_wait_for_ever(primary: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: threads wait for ever for a server that does not answer."""
    monkeypatch.setattr(deadlines.DeadlineConnection, "wait", psycopg.Connection.wait)
    primary.current()
    with api_over(primary) as running:
        assert set(answers(running)) == {200, 201}
        primary.signal(signal.SIGSTOP)
        with pytest.raises(httpx.ReadTimeout):
            answers(running, seconds=4 * SHORT)
        primary.signal(signal.SIGCONT)


@pytest.mark.parametrize("which", ["backends", "postmaster"])
def test_a_part_of_the_server_that_hangs(primary: Server, which: str) -> None:
    primary.current()
    with api_over(primary) as running:
        assert set(answers(running)) == {200, 201}
        postmaster, *_ = primary.processes()
        stopped = [postmaster] if which == "postmaster" else primary.backends()
        assert stopped
        primary.signal(signal.SIGSTOP, stopped)
        if which == "backends":
            # New connections are as good as ever.
            assert set(answers(running)) == {200, 201}
        else:
            # Connections that are there go on.
            assert set(answers(running, 2)) == {200, 201}
        primary.signal(signal.SIGCONT)
        assert set(answers(running)) == {200, 201}


def test_a_short_outage_is_waited_for(primary: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "PATIENCE", 8.0)
    primary.current()
    with api_over(primary) as running:
        assert set(answers(running)) == {200, 201}
        primary.stop()
        with ThreadPoolExecutor(1) as pool:
            sent = pool.submit(answers, running)
            primary.start()
            assert set(sent.result()) == {200, 201}
        assert set(answers(running)) == {200, 201}


def test_an_outage_that_lasts_is_a_503_in_time(primary: Server) -> None:
    primary.current()
    with api_over(primary) as running:
        assert set(answers(running)) == {200, 201}
        primary.stop()
        started = time.monotonic()
        assert set(answers(running)) == {503}
        assert httpx.get(f"{running.url}/healthz", timeout=5.0).status_code == 503
        assert time.monotonic() - started < 20


def test_an_api_over_a_standby_reads_and_says_that_it_cannot_write(primary: Server) -> None:
    primary.current()
    first = engines.connect(primary.url("linkspan"))
    open_store(first)
    first.dispose()
    with standby(primary) as second:
        engine = engines.connect(second.url("linkspan"))
        with served(engine) as running:
            assert set(answers(running)) == {200, 503}
            second.promote()
            wait_for(lambda: set(answers(running, 2)) == {200, 201}, 20.0)
        engine.dispose()


@pytest.mark.parametrize("state", ["empty", "current"])
def test_a_command_over_a_standby_says_so_in_one_sentence(
    primary: Server, state: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if state == "empty":
        primary.run("CREATE DATABASE linkspan TEMPLATE template0")
    else:
        primary.current()
    with standby(primary) as second:
        command = ["db", "upgrade"] if state == "empty" else ["node", "create", "north"]
        assert command_line.execute([*command, "--database", second.url("linkspan")]) == 1
    shown = capsys.readouterr().err
    assert len(shown.splitlines()) == 1, shown
    assert "takes no writes, it is a standby or read-only" in shown
