"""The processes inside network namespaces, of one and of many at once."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator

import pytest

from linkspan.drivers.linux import netns

pytestmark = pytest.mark.root


@pytest.fixture
def namespaces() -> Iterator[tuple[str, str]]:
    """Two namespaces."""
    tag = secrets.token_hex(3)
    names = (f"ls-netns-{tag}-a", f"ls-netns-{tag}-b")
    try:
        for name in names:
            netns.create(name, lambda: None)
        yield names
    finally:
        for name in names:
            netns.delete(name)


def test_processes_are_those_of_the_named_namespaces(namespaces: tuple[str, str]) -> None:
    children = [netns.run_inside(name, lambda: subprocess.Popen(["sleep", "60"])) for name in namespaces]
    try:
        first, second = (child.pid for child in children)
        assert netns.processes(namespaces[0]) == [first]
        assert set(netns.processes(*namespaces, "ls-netns-unknown")) == {first, second}
        assert netns.processes("ls-netns-unknown") == netns.processes() == []
    finally:
        for child in children:
            child.kill()
            child.wait()
