"""Each line of the checklist has a marked test with a control."""

from __future__ import annotations

import pytest

from tests.harness import security_lines
from tests.harness.security_lines import LINES


def without_test(lines: set[str]) -> set[str]:
    return set(LINES) - lines


def test_every_line_has_a_test() -> None:
    assert without_test({check.line for check in security_lines.checks()}) == set()


@pytest.mark.parametrize("line", list(LINES))
def test_a_line_that_loses_its_tests_is_noticed(line: str) -> None:
    """The control."""
    assert without_test({check.line for check in security_lines.checks() if check.line != line}) == {line}


@pytest.mark.parametrize("check", security_lines.checks(), ids=lambda check: check.test)
def test_every_check_says_what_was_tried_and_has_a_control(check: security_lines.Check) -> None:
    assert check.line in LINES
    assert len(check.tried) > 10
    assert check.control
    assert not check.control_test or security_lines.exists(check.control_test)
