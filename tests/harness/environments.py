"""Programs that cannot share the project's packages: clients of other versions, and Keystone.

Each has its own Python environment, which ./dev creates on first use from tests/clients/environments/NAME.lock. If it
cannot be installed, the tests that need it fail rather than be skipped.
"""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


@functools.cache
def python(name: str) -> Path:
    """Return the Python of an environment. Raises RuntimeError with the output of ./dev."""
    done = subprocess.run([ROOT / "dev", "environment", name], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"there is no environment {name}: {done.stderr.strip()}")
    return Path(done.stdout.strip()) / "bin" / "python"
