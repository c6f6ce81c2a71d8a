"""The tests of the whole service with kernel ESP."""

from __future__ import annotations

import pytest

from tests.harness.matrix import KERNEL
from tests.kernel.guest import MARKS, assert_passes

pytestmark = MARKS
LONG = {"algorithms", "renewals"}


@pytest.mark.parametrize("part", [pytest.param(part, marks=[pytest.mark.whole] * (part in LONG)) for part in KERNEL])
def test_the_wire_tests_pass_with_kernel_esp(part: str) -> None:
    assert_passes(*(f"tests/wire/{name}" for name in KERNEL[part]))
