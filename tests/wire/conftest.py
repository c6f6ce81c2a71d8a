"""One running service with its laboratory for all tests of a file: two sites, a tunnel, a host behind each."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from tests.harness.world import World


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """API, agent and two sites as `linkspan run` makes them."""
    if os.geteuid() != 0:
        pytest.skip("needs root for network namespaces: sudo ./dev test tests/wire")
    if shutil.which("charon-systemd", path="/usr/sbin:/sbin") is None:
        pytest.skip("needs charon-systemd: sudo ./dev test installs it")
    world = World(tmp_path_factory.mktemp("world") / "state")
    try:
        yield world
    finally:
        world.stop()
