"""The stage of the faults, once for each worker, and their table at the end of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from linkspan.lab.faults.stage import Stage
from tests.faults.table import COLUMNS, LATE, PROPERTY, Row, lines
from tests.harness.world import World
from tests.wire.conftest import need_charon

_rows: list[Row] = []


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The laboratory of `linkspan run` as the stage of faults."""
    need_charon()
    world = World(tmp_path_factory.mktemp("faults") / "state")
    try:
        with Stage(world.lab, world.user) as stage:
            yield stage
    finally:
        world.stop()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note the rows of a test, also of one that ran in another process."""
    if report.when == "call":
        for name, value in report.user_properties:
            if name == PROPERTY and isinstance(value, list | tuple):
                _rows.append(Row(*value))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the table."""
    if not _rows:
        return
    terminalreporter.section("faults")
    for line in lines(COLUMNS, _rows):
        terminalreporter.write_line(line)
    counts = Counter(row.judgement for row in _rows)
    known = len(_rows) - counts["cannot know"]
    said = ", ".join(f"{counts[name]} {name}" for name in ("right", "vague", "wrong", "nothing", "cannot know"))
    terminalreporter.write_line(f"{len({row.case for row in _rows})} faults, {len(_rows)} ends: {said}")
    if known:
        late = sum(row.seconds.endswith(LATE) for row in _rows)
        terminalreporter.write_line(f"right where the end can know: {100 * counts['right'] / known:.0f} %, {late} late")
