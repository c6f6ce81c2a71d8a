"""What a run leaves out is what it should, and the slowest files come first."""

from __future__ import annotations

import re
import subprocess
import sys

from tests.harness import durations, matrix
from tests.harness.sources import ROOT


def test_what_is_the_same_on_each_release_is_named_once_and_what_stands_for_it_stays() -> None:
    left_out = matrix.same_on_each_release()
    files = {str(path.relative_to(ROOT)) for path in matrix.WIRE.rglob("test_*.py")}
    assert left_out < files
    assert sum(map(len, matrix.SAME_ON_EACH_RELEASE.values())) == len(left_out)
    stand_for_them = re.findall(r"test_\w+\.py", " ".join(matrix.SAME_ON_EACH_RELEASE))
    assert stand_for_them
    assert {f"tests/wire/{name}" for name in stand_for_them} <= files - left_out


def test_a_sample_is_without_what_is_the_same_on_each_release() -> None:
    assert collected("--sample") == {"tests/wire/test_edit.py"}
    assert collected() == {"tests/wire/test_edit.py", "tests/wire/test_families.py"}


def collected(*options: str) -> set[str]:
    """The files of which pytest has tests to run, of two."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *options]
    command += ["tests/wire/test_edit.py", "tests/wire/test_families.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return {durations.file_of(line) for line in done.stdout.splitlines() if "::" in line}


def test_the_slowest_files_come_first_and_then_the_largest() -> None:
    nodeids = ["small::a", "large::a", "large::b", "quick::a", "quick::b", "quick::c", "slow::a"]
    places = durations.slowest_first(nodeids, {"slow": 60.0, "quick": 5.0, "absent": 90.0})
    assert sorted(places, key=places.__getitem__) == ["slow", "quick", "large", "small"]
