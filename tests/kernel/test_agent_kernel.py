"""The whole service once more, on the kernel's own ESP: the same agent, the same laboratory, the same leaks."""

from __future__ import annotations

from tests.kernel.guest import MARKS, passes

pytestmark = MARKS


def test_the_agent_on_kernel_esp() -> None:
    passes(*(f"tests/wire/{name}.py" for name in ("test_backend", "test_leaks", "test_families", "test_survival")))


def test_selectors_and_translators_on_kernel_esp() -> None:
    """Every IP version in every other, and UDP around ESP only where somebody translates addresses."""
    passes("tests/wire/test_selectors.py", "tests/wire/test_addresses.py")
