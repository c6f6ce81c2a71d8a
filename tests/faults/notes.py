"""Notes on the ends that did not name the cause, with charon's logs, in the file that FAULT_NOTES names."""

from __future__ import annotations

import os
from pathlib import Path

from linkspan.lab.faults.declaration import ENDS, Case, TunnelEnd
from linkspan.lab.faults.stage import Stage
from linkspan.lab.faults.watch import Watch

LINES = 25
"""Of each log."""


def write(stage: Stage, case: Case, watched: Watch) -> None:
    """Append a note, if there is such a file."""
    file = os.environ.get("FAULT_NOTES")
    if not file:
        return
    end, told = watched.end, watched.told
    text = (
        f"\n## {case.name}, {end} ({case.role_of(end)}): {watched.judgement}\n\n{case.fault.title}.\n"
        f"Told after {watched.seconds:.1f} s: `{told.code}` ({told.status}) {told.sentence}\nRight: {case.right(end)}\n"
    )
    logs = "".join(f"\nlog of {other}:\n\n{_tail(stage, case, other)}\n" for other in ENDS)
    with Path(file).open("a", encoding="utf-8") as notes:
        notes.write(text + logs)


def _tail(stage: Stage, case: Case, end: TunnelEnd) -> str:
    if end == "far" and case.kind == "plain":
        log = stage.plain().log
    else:
        files = stage.state.glob(f"**/gateways/{stage.router_id(end)}/charon.log")
        log = "".join(file.read_text(errors="replace") for file in files)
    return "\n".join(f"    {line}" for line in log.splitlines()[-LINES:])
