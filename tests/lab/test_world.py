"""The service of the wire tests is built once pings pass, and not because the report of the laboratory is there."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness.world import World

Reporting = Callable[..., World]


@pytest.fixture
def reporting(tmp_path: Path) -> Iterator[Reporting]:
    """A service whose laboratory reports these lost pings in per cent."""
    world = World.__new__(World)
    world.state, world.output_file = tmp_path, tmp_path / "out"
    world.process = subprocess.Popen(["sleep", "60"])
    (tmp_path / "lab.json").write_text("{}")

    def report(*losses: int) -> World:
        lines = (f"10.1.0.10 → 10.2.0.10   {10 - loss // 10}/10 pings, {loss} % loss, 1 ms\n" for loss in losses)
        world.output_file.write_text("".join(lines))
        return world

    try:
        yield report
    finally:
        world.process.kill()
        world.process.wait()


@pytest.mark.parametrize("losses", [(0, 0), (10, 0), (0, 90)])
def test_a_lost_packet_is_none_of_the_harness(reporting: Reporting, losses: tuple[int, int]) -> None:
    reporting(*losses)._wait_until_built()


@pytest.mark.parametrize("losses", [(100, 0), (0, 100), (100, 100)])
def test_a_tunnel_through_which_nothing_passes_is_not_built(reporting: Reporting, losses: tuple[int, int]) -> None:
    with pytest.raises(AssertionError, match="no ping passed"):
        reporting(*losses)._wait_until_built()
