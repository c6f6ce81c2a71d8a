"""The whole service once more, on the kernel's own ESP: the same agent, the same laboratory, the same leaks."""

from __future__ import annotations

from tests.kernel.guest import MARKS, passes

pytestmark = MARKS


def test_ah_on_kernel_esp() -> None:
    passes("tests/wire/test_policies.py::test_ah_and_transport_in_the_kernel")


def test_the_agent_on_kernel_esp() -> None:
    passes(*(f"tests/wire/{name}.py" for name in ("test_backend", "test_leaks", "test_families", "test_survival")))
