"""A kernel with ESP, AH and XFRM interfaces, as a process: runs one command on this machine's root file system.

`LINKSPAN_UMLRUN` names the program that boots it (default: ../shared/kernel/umlrun beside the repository).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UMLRUN = Path(os.environ.get("LINKSPAN_UMLRUN", ROOT.parent / "shared" / "kernel" / "umlrun"))
SECONDS = 600

MARKS = [
    pytest.mark.root,
    pytest.mark.kernel,
    pytest.mark.timeout(SECONDS + 30),
    pytest.mark.skipif(
        not UMLRUN.exists(), reason=f"no kernel with ESP to boot: {UMLRUN} is not there, set LINKSPAN_UMLRUN"
    ),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: sudo ./dev test tests/kernel"),
]


def guest(*command: str, seconds: int = SECONDS) -> str:
    """Runs a command inside the guest and returns its output; the test fails with it if the command does."""
    whole = [str(UMLRUN), "-t", str(seconds), "--", *command]
    done = subprocess.run(whole, capture_output=True, text=True, cwd=ROOT, timeout=seconds + 20, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]
    return done.stdout


def passes(*tests: str) -> None:
    """These tests, which need a real charon, pass inside."""
    said = guest(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "wire", *tests)
    assert " passed" in said
    assert " skipped" not in said, "what is run here is run nowhere else"
