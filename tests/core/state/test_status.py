"""Status from facts: every value where it belongs, a reason wherever something is not as desired."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.core.state.status import GRACE, Node, Observed, StatusInputs, compute

NOW = 1000.0
ALIVE = Node("north", NOW + 30)
LOST = Node("north", NOW - 1)


def seen(state: str = "up", **more: Any) -> Observed:
    """What was observed, of the newest revision, just now."""
    values: dict[str, Any] = {"revision": 5, "state": state, "reason": "", "applied_at": NOW - 1, "ready_at": NOW - 1}
    return Observed(**values | more)


def facts(**more: Any) -> StatusInputs:
    """An object that was changed just now at revision 5."""
    values: dict[str, Any] = {
        "deleted": False,
        "enabled": True,
        "revision": 5,
        "changed_at": NOW - 1,
        "node": ALIVE,
        "observed": seen(),
    }
    return StatusInputs(**values | more)


LONG_AGO = NOW - GRACE - 1


@pytest.mark.parametrize(
    ("given_", "status", "reason"),
    [
        (facts(), "ACTIVE", ""),
        (facts(observed=seen("ready")), "ACTIVE", ""),
        (facts(observed=seen("up", reason="1 of 2 child SAs is up")), "ACTIVE", "1 of 2"),
        (facts(deleted=True), "PENDING_DELETE", "confirm"),
        (facts(deleted=True, node=None, observed=None), "PENDING_DELETE", ""),
        # Nobody carries it.
        (facts(node=None, observed=None), "PENDING_CREATE", "waits for a node"),
        (facts(node=None, observed=None, changed_at=LONG_AGO), "DOWN", "no node"),
        # Its node is not there.
        (facts(node=LOST, observed=None), "PENDING_CREATE", "north"),
        (facts(node=LOST, observed=None, changed_at=LONG_AGO), "DOWN", "node lost"),
        (facts(node=LOST), "DOWN", "node lost"),
        (facts(node=LOST, observed=seen("error", reason="x")), "DOWN", "node lost"),
        # Not yet applied.
        (facts(observed=None), "PENDING_CREATE", ""),
        (facts(observed=None, changed_at=LONG_AGO), "DOWN", "has not applied it yet"),
        (facts(observed=seen(revision=4)), "PENDING_UPDATE", ""),
        (facts(observed=seen("down", revision=4, ready_at=None, reason="no answer")), "PENDING_CREATE", "no answer"),
        (facts(observed=seen(revision=4), changed_at=LONG_AGO), "ACTIVE", "still runs the previous version"),
        # Applied, not up.
        (facts(observed=seen("down", ready_at=None, reason="no answer")), "PENDING_CREATE", "no answer"),
        (facts(observed=seen("down", ready_at=LONG_AGO, reason="no answer")), "PENDING_UPDATE", "no answer"),
        # It was up as it is now, and was lost: no grace for that.
        (facts(observed=seen("down", reason="no answer")), "DOWN", "no answer"),
        (facts(observed=seen("down", applied_at=LONG_AGO, reason="no answer")), "DOWN", "no answer"),
        (facts(observed=seen("down", applied_at=LONG_AGO)), "DOWN", "not up"),
        (facts(observed=seen("error", reason="no AH here")), "ERROR", "no AH here"),
        (facts(observed=seen("error", reason="x", revision=4), changed_at=LONG_AGO), "ERROR", "x"),
        # Not meant to be up.
        (facts(enabled=False, observed=seen("disabled", ready_at=None)), "DOWN", "admin_state_up is false"),
        (facts(enabled=False, observed=seen("ready")), "DOWN", "admin_state_up is false"),
    ],
)
def test_status(given_: StatusInputs, status: str, reason: str) -> None:
    verdict = compute(given_, NOW)
    assert verdict[0] == status
    assert reason in verdict[1]


def test_the_grace_is_a_parameter() -> None:
    late = facts(observed=seen("down", applied_at=NOW - 6.0, ready_at=None))
    assert compute(late, NOW, 7.0)[0] == "PENDING_CREATE"
    assert compute(late, NOW, 5.0)[0] == "DOWN"


MOMENTS = st.floats(0, 2000)
STATES = st.sampled_from(["up", "down", "disabled", "error", "ready"])
ANY = st.builds(
    StatusInputs,
    deleted=st.booleans(),
    enabled=st.booleans(),
    revision=st.integers(0, 9),
    changed_at=MOMENTS,
    node=st.none() | st.builds(Node, name=st.just("north"), lease_until=MOMENTS),
    observed=st.none()
    | st.builds(
        Observed,
        revision=st.integers(0, 9),
        state=STATES,
        reason=st.sampled_from(["", "because"]),
        applied_at=MOMENTS,
        ready_at=st.none() | MOMENTS,
    ),
)


@given(given_=ANY, now=MOMENTS)
def test_any_facts_have_one_status(given_: StatusInputs, now: float) -> None:
    status, reason = compute(given_, now)
    assert (status == "PENDING_DELETE") == given_.deleted
    if status in ("DOWN", "PENDING_DELETE"):
        assert reason
    if status == "ACTIVE":
        assert given_.enabled
        assert given_.node is not None
        assert given_.node.lease_until >= now


@given(given_=ANY)
def test_nothing_stays_pending_for_ever(given_: StatusInputs) -> None:
    if not given_.deleted:
        assert compute(given_, 10_000.0)[0] in ("ACTIVE", "DOWN", "ERROR")
