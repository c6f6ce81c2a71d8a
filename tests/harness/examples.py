"""Numbers of generated examples that follow the profile: `./dev test --fast` takes a sample of them."""

from __future__ import annotations

from hypothesis import settings

_USUAL = 100
"""Hypothesis' own default, which the numbers in the tests are compared with."""


def examples(count: int) -> int:
    """`count`, or as much less as the profile asks for less than the default."""
    return max(1, count * settings().max_examples // _USUAL)
