"""The whole service once more, on the kernel's own ESP: the same agent, the same laboratory, the same tests."""

from __future__ import annotations

import pytest

from tests.harness.matrix import KERNEL
from tests.kernel.guest import MARKS, passes

pytestmark = MARKS
LONG = {"algorithms"}


@pytest.mark.parametrize("part", [pytest.param(part, marks=[pytest.mark.whole] * (part in LONG)) for part in KERNEL])
def test_the_agent_on_kernel_esp(part: str) -> None:
    passes(*(f"tests/wire/{name}" for name in KERNEL[part]))
