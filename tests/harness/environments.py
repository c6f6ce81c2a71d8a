"""Programs that cannot share the project's packages: clients of other versions, and Keystone.

Each has a Python environment of its own, made by ./dev from tests/clients/environments/NAME.lock when it is first
asked for. What cannot be installed fails the test that needs it: a client that was not there has shown nothing.
"""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


@functools.cache
def python(name: str) -> Path:
    """The Python of an environment. Raises RuntimeError with what ./dev said."""
    done = subprocess.run([ROOT / "dev", "environment", name], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"there is no environment {name}: {done.stderr.strip()}")
    return Path(done.stdout.strip()) / "bin" / "python"
