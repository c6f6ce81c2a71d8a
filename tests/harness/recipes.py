"""The recipes of docs/certificates.md, as its readers copy them."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "certificates.md"
OURS: Final = "198.51.100.2"
PEER: Final = "198.51.100.3"
"""The addresses of the two ends on the page; the network of the peer there."""
NETWORK: Final = "10.2.0.0/24"


def blocks(heading: str) -> list[str]:
    """Return the indented blocks of a section of the page."""
    lines = PAGE.read_text(encoding="utf-8").partition(f"# {heading}\n")[2].splitlines()
    end = next((number for number, line in enumerate(lines) if line.startswith("#")), len(lines))
    found, block = [], list[str]()
    for line in [*lines[:end], "end"]:
        if line.startswith("    ") or (block and not line):
            block.append(line)
        elif block:
            found.append(textwrap.dedent("\n".join(block)).strip() + "\n")
            block = []
    return found


def changed(text: str, values: Mapping[str, str]) -> str:
    """Return a text with values of this machine in place of those of the page, all at once."""
    marks = {old: f"@{number}@" for number, old in enumerate(values)}
    for old, mark in marks.items():
        assert old in text, f"the page has no {old}"
        text = text.replace(old, mark)
    for old, mark in marks.items():
        text = text.replace(mark, values[old])
    return text


def run(script: str, folder: Path, state: Path) -> str:
    """Run commands of the page in a folder, `linkspan` as the user of a service; return their output."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"LINKSPAN_STATE": str(state), "PATH": path}
    command = ["sh", "-e", "-c", script]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
