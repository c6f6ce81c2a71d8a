"""`./dev bench`: the cost of Linkspan relative to a bare implementation, measured in one run.

Absolute figures depend on the machine and its load; the ratio of two alternating measurements depends on the code.
Prints a table and writes JSON to bench/results/.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import time
from pathlib import Path

import structlog

from bench import activation, api, concurrency, console, crowd, density, fleet, load, status, throughput
from bench.measure import Result, table

BENCHES = {
    "load": load.run,
    "crowd": crowd.run,
    "density": density.run,
    "activation": activation.run,
    "api": api.run,
    "concurrency": concurrency.run,
    "throughput": throughput.run,
    "fleet": fleet.run,
    "status": status.run,
    "console": console.run,
}
RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Run the named benches, or all."""
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of: {', '.join(BENCHES)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions: to see that the benches work")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - BENCHES.keys()
    if unknown:
        parser.error(f"no bench {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    results: list[Result] = []
    for name in arguments.names or BENCHES:
        print(f"==> {name}", flush=True)
        results += BENCHES[name](arguments.quick)
    print(table(results))
    print(f"written to {write(results)}")
    return 0 if all(result.holds for result in results) else 1


def write(results: list[Result]) -> Path:
    """Write the figures as JSON, one file per run; return its path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    record = {
        "machine": f"{platform.machine()} {platform.release()}",
        "python": platform.python_version(),
        "results": [result.record() for result in results],
    }
    path.write_text(json.dumps(record, indent=1) + "\n")
    return path


if __name__ == "__main__":
    raise SystemExit(main())
