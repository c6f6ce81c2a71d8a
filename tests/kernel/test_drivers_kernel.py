"""The drivers' tests once more, on the kernel's own ESP: inside user-mode Linux, on this machine's root file system.

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

pytestmark = [pytest.mark.root, pytest.mark.kernel, pytest.mark.timeout(SECONDS + 30)]

if not UMLRUN.exists():
    pytest.skip(f"no kernel with ESP to boot: {UMLRUN} is not there, set LINKSPAN_UMLRUN", allow_module_level=True)


def guest(*command: str, seconds: int = SECONDS) -> str:
    """What a command prints inside; the test fails with that if the command does."""
    whole = [str(UMLRUN), "-t", str(seconds), "--", *command]
    done = subprocess.run(whole, capture_output=True, text=True, cwd=ROOT, timeout=seconds + 20, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]
    return done.stdout


def test_the_kernels_esp_is_detected() -> None:
    program = "from linkspan.drivers import backend; print('detected', backend.detect())"
    assert "detected kernel" in guest(sys.executable, "-c", program, seconds=60)


def test_the_drivers_on_kernel_esp() -> None:
    tests = [f"tests/drivers/{name}.py" for name in ("test_contract", "test_wire", "test_charon", "test_transport")]
    said = guest(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "wire", *tests)
    assert " passed" in said
