"""Fixtures: the real API on a free port, in a thread of the test process, and the command line as one of its users."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from linkspan.admin.initial_state import bootstrap_state
from linkspan.api.http.server import server
from linkspan.bootstrap import command_line, wiring
from linkspan.settings import load


class Service(msgspec.Struct, frozen=True):
    """A running API: its state directory and its URL."""

    state: Path
    url: str


class Linkspan:
    """Runs the command line in this process, as one user."""

    def __init__(self, service: Service, capsys: pytest.CaptureFixture[str], cloud: str = "linkspan-demo") -> None:
        self._service = service
        self._capsys = capsys
        self._cloud = cloud
        self.errors = ""

    def as_user(self, name: str) -> Linkspan:
        """Returns the command line of another user of the initial state."""
        return Linkspan(self._service, self._capsys, f"linkspan-{name}")

    def code(self, *arguments: str) -> int:
        """Runs a command and returns its exit code; `errors` holds its standard error."""
        return self._execute(*arguments, "--state", str(self._service.state), "--cloud", self._cloud)

    def run(self, *arguments: str) -> str:
        """Runs a command without --state and --cloud; returns its standard output."""
        assert self._execute(*arguments) == 0, self.errors
        return self.output

    def _execute(self, *arguments: str) -> int:
        self._capsys.readouterr()
        code = command_line.execute(arguments)
        captured = self._capsys.readouterr()
        self.output, self.errors = captured.out, captured.err
        assert "Traceback" not in self.errors
        return code

    def __call__(self, *arguments: str) -> str:
        """Runs a command that has to succeed; returns its standard output."""
        assert self.code(*arguments) == 0, self.errors
        return self.output

    def json(self, *arguments: str) -> Any:
        """Runs a command with `-f json`; returns the decoded output."""
        return json.loads(self(*arguments, "-f", "json"))

    def fails(self, *arguments: str) -> str:
        """Runs a command that has to fail; returns its only line of standard error."""
        assert self.code(*arguments) == 1, self.output
        assert len(self.errors.splitlines()) == 1, self.errors
        return self.errors


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    mask = os.umask(0o077)
    state = tmp_path_factory.mktemp("cli")
    settings = load(environment={}, overrides={"state": state})
    with wiring.open_application(settings) as (app, notifier), socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with wiring.open_store(settings) as store:
            bootstrap_state(store, state, url, {"node-1": state / "nodes" / "node-1.token"})
        running = server(app, notifier)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
        thread.start()
        while not running.started:
            time.sleep(0.01)
        yield Service(state, url)
        running.stop()
        thread.join()
    os.umask(mask)


@pytest.fixture
def linkspan(service: Service, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Linkspan:
    for name in list(os.environ):
        if name.startswith(("LINKSPAN_", "OS_")):
            monkeypatch.delenv(name)
    return Linkspan(service, capsys)
