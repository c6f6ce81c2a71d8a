"""The slowest files first, so that at the end of a run no worker is left with a long one while the others idle.

`pytest --note-durations` writes what the files of a run took into durations.json; other files keep what they have.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import pytest

FILE: Final = Path(__file__).with_name("durations.json")
LEAST: Final = 5.0
"""Seconds from which a file is noted: the order of the others does not matter."""


def slowest_first(nodeids: Iterable[str], seconds: Mapping[str, float]) -> dict[str, int]:
    """Returns the place of each file in a run of these tests. `seconds`: of the files that are noted; the others are
    last, those with the most tests first."""
    sizes = Counter(map(file_of, nodeids))
    ordered = sorted(sizes, key=lambda file: (-seconds.get(file, 0.0), -sizes[file], file))
    return {file: place for place, file in enumerate(ordered)}


def noted() -> dict[str, float]:
    """Returns the seconds of each file that is noted."""
    seconds: dict[str, float] = json.loads(FILE.read_text(encoding="utf-8"))
    return seconds


def file_of(nodeid: str) -> str:
    """Returns the file of a test, from the root of the repository."""
    return nodeid.partition("::")[0]


class Durations:
    """Adds up what each file takes, in whichever worker."""

    def __init__(self) -> None:
        self._seconds: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds[file_of(report.nodeid)] += report.duration  # type: ignore[assignment]

    def pytest_sessionfinish(self) -> None:
        seconds = noted() | self._seconds
        kept = {
            file: round(seconds[file]) for file in sorted(seconds) if seconds[file] >= LEAST and Path(file).exists()
        }
        FILE.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
