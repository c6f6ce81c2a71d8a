"""Rotations of a pre-shared key in generated histories, over the model of charon."""

from __future__ import annotations

import pytest

from linkspan.core.tunnel import key_rotation
from tests.agent.key_rotations import RotationHistory

HISTORIES, SHARE = 96, 12


@pytest.mark.parametrize(
    "first", [pytest.param(first, marks=[pytest.mark.slow] if first else []) for first in range(0, HISTORIES, SHARE)]
)
def test_a_rotation_ends_with_the_new_key_whatever_happens(first: int) -> None:
    """With ends that only respond, shared keys, IKE SAs that end, and crashes of agents and charons."""
    histories = range(first, first + SHARE)
    assert {seed: faults[:3] for seed in histories if (faults := RotationHistory(seed).run())} == {}


def test_without_the_previous_key_the_tunnels_are_down_meanwhile() -> None:
    assert any("is down" in fault for seed in range(0, 8, 2) for fault in RotationHistory(seed, grace=False).run())


def test_ends_that_change_at_the_same_failure_do_not_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_rotation, "TOLERATED", 0)
    assert any(RotationHistory(seed).run() for seed in range(40))
