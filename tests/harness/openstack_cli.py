"""OpenStack's command-line client in several versions. Import the versions in a conftest:

    from tests.harness.openstack_cli import openstack_7, openstack_10

Each is a process for the session that forks for every command; `execute` starts the installed script instead.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.harness import environments

__all__ = ["Cli", "Done", "OpenStack", "openstack", "openstack_7", "openstack_10"]

FORKS = Path(__file__).with_name("openstack_forks.py")


class Done(msgspec.Struct, frozen=True):
    """The result of a command: its exit code and its output."""

    code: int
    out: str
    err: str


class OpenStack:
    """The client of one environment; created by `openstack`."""

    def __init__(self, python: Path, forks: subprocess.Popen[str]) -> None:
        self._script = python.with_name("openstack")
        self._forks = forks

    def run(self, words: tuple[str, ...], environment: Mapping[str, str]) -> Done:
        """Run a command in a fork of the running process."""
        assert self._forks.stdin
        assert self._forks.stdout
        self._forks.stdin.write(json.dumps({"words": words, "environment": dict(environment)}) + "\n")
        self._forks.stdin.flush()
        return msgspec.json.decode(self._forks.stdout.readline(), type=Done)

    def execute(self, words: tuple[str, ...], environment: Mapping[str, str]) -> Done:
        """Run a command with the installed script: slower, but without any test code in between."""
        done = subprocess.run(
            [self._script, *words], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        return Done(done.returncode, done.stdout, done.stderr)


def plain() -> dict[str, str]:
    """Return this process's environment without the OS_ variables."""
    return {name: value for name, value in os.environ.items() if not name.startswith("OS_")}


@contextmanager
def openstack(python: Path) -> Iterator[OpenStack]:
    """Start the client of the environment with this Python."""
    # -P: do not import from the script's folder.
    with subprocess.Popen(
        [python, "-P", FORKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=plain(), text=True, encoding="utf-8"
    ) as forks:
        # Leaving the block closes the process's standard input, which ends it.
        yield OpenStack(python, forks)


@pytest.fixture(scope="session")
def openstack_10() -> Iterator[OpenStack]:
    """The version in the project's own environment."""
    with openstack(Path(sys.executable)) as command:
        yield command


@pytest.fixture(scope="session")
def openstack_7() -> Iterator[OpenStack]:
    """7.1, whose `vpn` commands are python-neutronclient's."""
    with openstack(environments.python("openstackclient-7")) as command:
        yield command


class Cli:
    """The client as one user, selected by `OS_CLIENT_CONFIG_FILE` and `OS_CLOUD` in the environment."""

    def __init__(self, command: OpenStack, home: Path, environment: Mapping[str, str]) -> None:
        self._command = command
        self._environment = {**plain(), "HOME": str(home), **environment}

    def run(self, *words: str) -> Done:
        """Run a command."""
        return self._command.run(words, self._environment)

    def execute(self, *words: str) -> Done:
        """Run a command with the installed script."""
        return self._command.execute(words, self._environment)

    def __call__(self, *words: str) -> Any:
        """Run a command that must succeed; return its JSON output."""
        done = self.run(*words, "-f", "json")
        assert done.code == 0, done.err + done.out
        return json.loads(done.out)

    def quietly(self, *words: str) -> None:
        """Run a command that must succeed without output."""
        done = self.run(*words)
        assert (done.code, done.out) == (0, ""), done.err + done.out
