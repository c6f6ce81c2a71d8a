"""Every fault of the laboratory is set up for real, and each end names its cause.

`./dev test tests/faults` runs a sample, with `--all` every arrangement of every fault; `-n 2` halves the time.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from linkspan.lab.faults.catalogue import FAULTS
from linkspan.lab.faults.declaration import Case, cases
from linkspan.lab.faults.stage import Stage
from linkspan.lab.faults.watch import Watch, watch
from tests.faults import notes
from tests.faults.known import KNOWN, SAMPLE
from tests.faults.table import LATE, PROPERTY, Row
from tests.harness.strongswan import IKE_VERSIONS, needs_ikev1

pytestmark = [pytest.mark.wire, pytest.mark.root, pytest.mark.timeout(180)]

CASES = {case.name: case for case in cases(FAULTS.values()) if case.version.removeprefix("v") in IKE_VERSIONS}
PATIENCE = float(os.environ.get("FAULT_PATIENCE", "3"))
"""Times the seconds that a fault promises: a code that comes after these is late, which the table shows, and not
wrong."""


def marked(case: Case) -> object:
    marks = [] if case.name in SAMPLE else [pytest.mark.whole]
    if reason := KNOWN.get(case.name):
        marks.append(pytest.mark.xfail(reason=reason, strict=True, raises=AssertionError))
    if case.fault.far.ike.get("ike_version") == "v1":
        marks.append(needs_ikev1)
    return pytest.param(case, id=case.name, marks=marks)


def row(watched: Watch, case: Case) -> Row:
    """The row of an end in the table."""
    right = case.right(watched.end)
    wanted = "" if right is None or watched.judgement == "right" else " ".join(right)
    kinds = (case.fault.name, case.version, case.role, case.kind)
    code = f"{watched.told.code} (first {watched.wrong_before})" if watched.wrong_before else watched.told.code
    late = LATE if watched.judgement == "right" and watched.seconds > case.fault.seconds else ""
    return Row(*kinds, watched.end, watched.judgement, f"{watched.seconds:.1f}{late}", code, wanted)


@pytest.mark.parametrize("case", [marked(case) for case in CASES.values()])
def test_each_end_names_the_cause(stage: Stage, case: Case, record_property: Callable[[str, object], None]) -> None:
    try:
        begun = stage.set_up(case)
        patience = 1 if case.fault.lasting or case.name in KNOWN else PATIENCE
        told = watch(stage, case, begun, case.fault.seconds * patience, lambda _: None)
        for end in told:
            record_property(PROPERTY, tuple(row(end, case)))
            if not end.is_settled:
                notes.write(stage, case, end)
        assert {end.end: (end.judgement, end.told) for end in told if not end.is_settled} == {}
    finally:
        stage.clear()
