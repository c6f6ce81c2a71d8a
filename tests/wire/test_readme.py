"""The README shows what people see: its texts are those of this laboratory, and still have the shape that they show.

What a failure prints is what the README has to show instead.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from linkspan.cli import diagnose, status
from linkspan.cli.layout import MARKS, Screen
from tests.harness.terminal import on_terminal
from tests.harness.world import World, until
from tests.wire.conftest import need_charon

pytestmark = [pytest.mark.wire, pytest.mark.root]

README = Path(__file__).parents[2] / "README.md"
WIDTH = 100
PATH = "/v2.0/vpn/ipsec-site-connections"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The laboratory, in which the two ends have different keys after a while: a fault at once."""
    need_charon()
    world = World(tmp_path_factory.mktemp("readme") / "state", environment={"LINKSPAN_API_PSK_GRACE": "0"})
    try:
        yield world
    finally:
        world.stop()


def command(world: World, *arguments: str) -> list[str]:
    """A command line of the laboratory's user."""
    return [sys.executable, "-m", "linkspan.bootstrap", *arguments, "--state", str(world.state)]


def shown(heading: str) -> str:
    """The text that the README shows for a command line."""
    lines = README.read_text().splitlines()
    start = lines.index(f"    $ {heading}") + 1
    block = []
    for line in lines[start:]:
        if (line and not line.startswith("    ")) or line.startswith("    $ "):
            break
        block.append(line.removeprefix("    "))
    return "\n".join(block).rstrip()


def shape(text: str) -> list[str]:
    """The lines of a text without what differs from run to run: marks, first words, names of columns."""
    kept: list[str] = []
    for line in text.splitlines():
        words = re.sub(r"\d+", "N", line).split()
        if words[:1] == ["N:N:N"]:
            # How many changes there were, and of which end, is another matter in each run.
            kept += [] if kept[-1] == "N:N:N" else ["N:N:N"]
            continue
        is_part = line.startswith("  ") and words and (words[0] in MARKS.values() or words[0] == "do")
        if is_part or (words and not line.startswith(" ")):
            kept.append(" ".join(words[:2]))
    return kept


def as_readme(texts: dict[str, str]) -> str:
    """The texts as the README has to show them."""
    lines = [line for heading, text in texts.items() for line in (f"$ {heading}", *text.splitlines(), "")]
    return "the README shows something else than:\n\n" + "\n".join(f"    {line}".rstrip() for line in lines)


def break_key(world: World) -> None:
    """Give one end another key, and wait until both know why they are down."""
    left, right = (world.lab["sites"][side]["connection_id"] for side in ("left", "right"))
    world.user.request("PUT", f"{PATH}/{right}", {"ipsec_site_connection": {"psk": "another key, of one end only"}})

    def is_known() -> bool:
        return all("key" in (world.connection(id)["status_reason"] or "") for id in (left, right))

    until(is_known, 60.0, lambda: str(world.connection(left)))


def test_the_watch_and_the_diagnosis_look_as_the_readme_shows_them(world: World) -> None:
    until(world.one_tunnel, 30.0)
    up = on_terminal(command(world, "diagnose", "left-to-right"), WIDTH, 40, NO_COLOR="1")
    frames: list[str] = []

    def is_broken(text: str) -> bool:
        if text.count("\x1b[J") == 1 and not frames:
            frames.append(text)
            break_key(world)
        return text.count("DOWN") > 4 and text.endswith("\x1b[J")

    watched = on_terminal(command(world, "status", "--watch"), WIDTH, 40, is_broken, 90.0, NO_COLOR="1")
    frame = re.sub(r"\x1b\[[HJK]", "", watched.rpartition("\x1b[H")[2])
    down = on_terminal(command(world, "diagnose", "left-to-right"), WIDTH, 40, NO_COLOR="1")
    texts = {"linkspan status --watch": frame.rpartition("\n\n")[0], "linkspan diagnose left-to-right": down}
    assert all(shape(shown(heading)) == shape(text) for heading, text in texts.items()), as_readme(texts)
    assert [line[:3] for line in up.splitlines() if line.startswith("  ✓")] == ["  ✓"] * 7, up
    for text in (up, down, frame):
        assert all(len(line) <= WIDTH for line in text.splitlines()), text


def test_the_shapes_are_those_of_the_layout() -> None:
    """The control: another order, a lost layer or another column is seen."""
    layers = [{"name": name, "state": "ok", "text": "x"} for name in ("intent", "node")]
    diagnosis: dict[str, Any] = {"name": "a", "status": "ACTIVE", "node": "n", "verdict": None, "live": None}
    text = "\n".join(diagnose.diagnosis_lines(diagnosis | {"layers": layers}, Screen(WIDTH)))
    for other in (layers[::-1], layers[:1], [layers[0] | {"state": "failed"}, layers[1]]):
        assert shape("\n".join(diagnose.diagnosis_lines(diagnosis | {"layers": other}, Screen(WIDTH)))) != shape(text)
    assert shape(" ".join(status.NODE_COLUMNS)) != shape(" ".join(status.CONNECTION_COLUMNS))
