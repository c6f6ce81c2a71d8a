"""OpenStack's command line, of any version, as a user types it. Import the versions in a conftest:

    from tests.harness.openstack_cli import openstack_7, openstack_10

Each is a process for the session that forks for every command; `execute` does without it.
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
    """Exit code and output of a command."""

    code: int
    out: str
    err: str


class OpenStack:
    """The command of one environment. See `openstack`."""

    def __init__(self, python: Path, forks: subprocess.Popen[str]) -> None:
        self._script = python.with_name("openstack")
        self._forks = forks

    def run(self, words: tuple[str, ...], environment: Mapping[str, str]) -> Done:
        """One command, forked from a process that is there."""
        assert self._forks.stdin
        assert self._forks.stdout
        self._forks.stdin.write(json.dumps({"words": words, "environment": dict(environment)}) + "\n")
        self._forks.stdin.flush()
        return msgspec.json.decode(self._forks.stdout.readline(), type=Done)

    def execute(self, words: tuple[str, ...], environment: Mapping[str, str]) -> Done:
        """One command, by the installed script: slower by a second and a half, and without our forking process."""
        done = subprocess.run(
            [self._script, *words], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        return Done(done.returncode, done.stdout, done.stderr)


def plain() -> dict[str, str]:
    """Our environment without a word about clouds."""
    return {name: value for name, value in os.environ.items() if not name.startswith("OS_")}


@contextmanager
def openstack(python: Path) -> Iterator[OpenStack]:
    """The command of the environment with this Python."""
    # -P: the folder of the script is no place to import from.
    with subprocess.Popen(
        [python, "-P", FORKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=plain(), text=True, encoding="utf-8"
    ) as forks:
        # Leaving the block closes its input, and that ends it.
        yield OpenStack(python, forks)


@pytest.fixture(scope="session")
def openstack_10() -> Iterator[OpenStack]:
    """The version that the project's own environment holds."""
    with openstack(Path(sys.executable)) as command:
        yield command


@pytest.fixture(scope="session")
def openstack_7() -> Iterator[OpenStack]:
    """7.1, whose `vpn` commands are python-neutronclient's."""
    with openstack(environments.python("openstackclient-7")) as command:
        yield command


class Cli:
    """The command as one user, whom `OS_CLIENT_CONFIG_FILE` and `OS_CLOUD` in an environment name."""

    def __init__(self, command: OpenStack, home: Path, environment: Mapping[str, str]) -> None:
        self._command = command
        self._environment = {**plain(), "HOME": str(home), **environment}

    def run(self, *words: str) -> Done:
        """One command."""
        return self._command.run(words, self._environment)

    def execute(self, *words: str) -> Done:
        """One command, by the installed script."""
        return self._command.execute(words, self._environment)

    def __call__(self, *words: str) -> Any:
        """Runs a command that must succeed, and returns its JSON output."""
        done = self.run(*words, "-f", "json")
        assert done.code == 0, done.err + done.out
        return json.loads(done.out)

    def quietly(self, *words: str) -> None:
        """A command that works and prints nothing."""
        done = self.run(*words)
        assert (done.code, done.out) == (0, ""), done.err + done.out
