"""Status and reason from desired and observed state."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.core.diagnosis.causes import CAUSES
from linkspan.core.state.status import GRACE, Node, Observed, StatusInputs, compute

NOW = 1000.0
ALIVE = Node("north", NOW + 30)
LOST = Node("north", NOW - 1)


def report(state: str = "up", **more: Any) -> Observed:
    """A recent report of the latest revision."""
    values: dict[str, Any] = {"revision": 5, "state": state, "reason": "", "applied_at": NOW - 1, "ready_at": NOW - 1}
    return Observed(**values | more)


def inputs(**more: Any) -> StatusInputs:
    """The inputs for an object that was changed a second ago at revision 5."""
    values: dict[str, Any] = {
        "deleted": False,
        "enabled": True,
        "revision": 5,
        "changed_at": NOW - 1,
        "node": ALIVE,
        "observed": report(),
    }
    return StatusInputs(**values | more)


LONG_AGO = NOW - GRACE - 1


@pytest.mark.parametrize(
    ("inputs_", "status", "reason"),
    [
        (inputs(), "ACTIVE", ""),
        (inputs(observed=report("ready")), "ACTIVE", ""),
        (inputs(observed=report("up", reason="1 of 2 child SAs is up")), "ACTIVE", "1 of 2"),
        (inputs(deleted=True), "PENDING_DELETE", "confirm"),
        (inputs(deleted=True, node=None, observed=None), "PENDING_DELETE", ""),
        # No node is assigned.
        (inputs(node=None, observed=None), "PENDING_CREATE", "waits for a node"),
        (inputs(node=None, observed=None, changed_at=LONG_AGO), "DOWN", "no node"),
        # Its node is lost.
        (inputs(node=LOST, observed=None), "PENDING_CREATE", "north"),
        (inputs(node=LOST, observed=None, changed_at=LONG_AGO), "DOWN", "node lost"),
        (inputs(node=LOST), "DOWN", "node lost"),
        (inputs(node=LOST, observed=report("error", reason="x")), "DOWN", "node lost"),
        # Not yet applied.
        (inputs(observed=None), "PENDING_CREATE", ""),
        (inputs(observed=None, changed_at=LONG_AGO), "DOWN", "has not applied it yet"),
        (inputs(observed=report(revision=4)), "PENDING_UPDATE", ""),
        (inputs(observed=report("down", revision=4, ready_at=None, reason="no answer")), "PENDING_CREATE", "no answer"),
        (inputs(observed=report(revision=4), changed_at=LONG_AGO), "ACTIVE", "still runs the previous version"),
        # Applied, not up.
        (inputs(observed=report("down", ready_at=None, reason="no answer")), "PENDING_CREATE", "no answer"),
        (inputs(observed=report("down", ready_at=LONG_AGO, reason="no answer")), "PENDING_UPDATE", "no answer"),
        # It was up at this revision and went down: no grace period applies.
        (inputs(observed=report("down", reason="no answer")), "DOWN", "no answer"),
        (inputs(observed=report("down", applied_at=LONG_AGO, reason="no answer")), "DOWN", "no answer"),
        (inputs(observed=report("down", applied_at=LONG_AGO)), "DOWN", "not up"),
        (inputs(observed=report("error", reason="no AH here")), "ERROR", "no AH here"),
        (inputs(observed=report("error", reason="x", revision=4), changed_at=LONG_AGO), "ERROR", "x"),
        # Disabled.
        (inputs(enabled=False, observed=report("disabled", ready_at=None)), "DOWN", "admin_state_up is false"),
        (inputs(enabled=False, observed=report("ready")), "DOWN", "admin_state_up is false"),
        (inputs(enabled=False, observed=report("disabled", reason="of the router")), "DOWN", "admin_state_up is false"),
        (inputs(observed=report("disabled", ready_at=None, reason="of the router")), "DOWN", "of the router"),
        (inputs(observed=report("disabled", reason="of the router", revision=4)), "PENDING_UPDATE", "of the router"),
    ],
)
def test_the_status_follows_from_the_inputs(inputs_: StatusInputs, status: str, reason: str) -> None:
    verdict = compute(inputs_, NOW)
    assert verdict[0] == status
    assert reason in verdict[1]
    assert verdict.code in CAUSES or (verdict.status, verdict.code) == ("ACTIVE", "")


def test_the_grace_is_a_parameter() -> None:
    late = inputs(observed=report("down", applied_at=NOW - 6.0, ready_at=None))
    assert compute(late, NOW, 7.0)[0] == "PENDING_CREATE"
    assert compute(late, NOW, 5.0)[0] == "DOWN"


TIMES = st.floats(0, 2000)
STATES = st.sampled_from(["up", "down", "disabled", "error", "ready"])
ANY = st.builds(
    StatusInputs,
    deleted=st.booleans(),
    enabled=st.booleans(),
    revision=st.integers(0, 9),
    changed_at=TIMES,
    node=st.none() | st.builds(Node, name=st.just("north"), lease_until=TIMES),
    observed=st.none()
    | st.builds(
        Observed,
        revision=st.integers(0, 9),
        state=STATES,
        reason=st.sampled_from(["", "because"]),
        applied_at=TIMES,
        ready_at=st.none() | TIMES,
    ),
)


@given(inputs_=ANY, now=TIMES)
def test_any_inputs_have_a_status(inputs_: StatusInputs, now: float) -> None:
    status, reason, _ = compute(inputs_, now)
    assert (status == "PENDING_DELETE") == inputs_.deleted
    if status in ("DOWN", "PENDING_DELETE"):
        assert reason
    if status == "ACTIVE":
        assert inputs_.enabled
        assert inputs_.node is not None
        assert inputs_.node.lease_until >= now


@given(inputs_=ANY)
def test_nothing_stays_pending_forever(inputs_: StatusInputs) -> None:
    if not inputs_.deleted:
        assert compute(inputs_, 10_000.0)[0] in ("ACTIVE", "DOWN", "ERROR")
