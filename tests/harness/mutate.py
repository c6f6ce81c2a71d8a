"""`./dev test --mutate`: an agent ignores one attribute at a time, and a test of the wire matrix must fail for each.

There are two mutants of every attribute (`mutations`): held at a fixed value, and frozen at its first value. Only the
tests marked with the attribute run. A mutant is killed by a failing test, not by one that fails in its setup. The
results are written to tests/wire/mutants.json, which docs/attributes.md shows. Arguments: attributes, or parts of their
names; none means all.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from tests.harness.matrix import MUTANTS, ROOT, mutants
from tests.harness.mutations import MUTABLE, ways

WORKERS = int(os.environ.get("MUTATE_WORKERS", "2"))
SECONDS = 400
FAILED = re.compile(r"^FAILED tests/wire/(\S+)", re.MULTILINE)


def main(only: list[str]) -> int:
    """Run the mutants; return 0 if all were killed."""
    wanted = [
        f"{attribute}={way}"
        for attribute in MUTABLE
        for way in ways(attribute)
        if not only or any(part in attribute for part in only)
    ]
    if not wanted:
        print(f"no attribute name contains {', '.join(only)}: there are {', '.join(MUTABLE)}", file=sys.stderr)
        return 2
    killers = {} if not only else mutants()
    survived = []
    with ThreadPoolExecutor(WORKERS) as pool:
        for number, (name, killer, took) in enumerate(pool.map(_run, wanted), 1):
            print(f"{number:3}/{len(wanted)}  {name:44} {took:4.0f} s  {killer or 'SURVIVED'}", flush=True)
            killers[name] = killer
            if not killer:
                survived.append(name)
    MUTANTS.write_text(json.dumps(dict(sorted(killers.items())), indent=1) + "\n", encoding="utf-8")
    print(f"{len(wanted) - len(survived)} of {len(wanted)} mutants killed", *survived, sep="\n  ")
    return 1 if survived else 0


def _run(mutant: str) -> tuple[str, str, float]:
    """Run a mutant; return it, the test that failed (empty if it survived) and the duration in seconds."""
    started = time.monotonic()
    command = [sys.executable, "-m", "pytest", "tests/wire", "-x", "-q", "-p", "no:cacheprovider", "--mutant", mutant]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return mutant, "", time.monotonic() - started
    killer = FAILED.search(done.stdout)
    if not killer:
        print(f"--- {mutant}: pytest ended with {done.returncode}\n{done.stdout[-1500:]}{done.stderr[-500:]}")
    return mutant, killer[1] if killer else "", time.monotonic() - started


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
