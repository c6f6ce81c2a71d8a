"""User-mode Linux with ESP, AH and XFRM interfaces: runs a command on this machine's root file system.

`LINKSPAN_UMLRUN` names the program that boots it (default: ../shared/kernel/umlrun beside the repository).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UMLRUN = Path(os.environ.get("LINKSPAN_UMLRUN", ROOT.parent / "shared" / "kernel" / "umlrun"))
SECONDS = 1200
KEEP_MEMORY = "GLIBC_TUNABLES=glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=268435456"
"""A page fault costs 75 microseconds inside, so memory that was freed, as by argon2 (64 MiB a password), is kept."""

MARKS = [
    pytest.mark.root,
    pytest.mark.kernel,
    pytest.mark.timeout(SECONDS + 30),
    pytest.mark.skipif(
        not UMLRUN.exists(), reason=f"no kernel with ESP to boot: {UMLRUN} does not exist, set LINKSPAN_UMLRUN"
    ),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: sudo ./dev test tests/kernel"),
]


def guest(*command: str, seconds: int = SECONDS) -> str:
    """Run a command inside and return its output; fail with its output if the command fails."""
    whole = [str(UMLRUN), "-t", str(seconds), "--", "/usr/bin/env", KEEP_MEMORY, *command]
    done = subprocess.run(whole, capture_output=True, text=True, cwd=ROOT, timeout=seconds + 20, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]
    return done.stdout


def assert_passes(*tests: str, environment: Mapping[str, str] | None = None) -> None:
    """Assert that these tests, which need a real charon, pass inside, with additional environment variables."""
    variables = [f"{name}={value}" for name, value in (environment or {}).items()]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "wire", *tests]
    output = guest("/usr/bin/env", *variables, *command)
    assert " passed" in output
    assert " skipped" not in output, "skipped tests run nowhere else"
