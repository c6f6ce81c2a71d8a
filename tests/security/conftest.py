"""`./dev test tests/security` also runs the marked tests of other folders with their controls, and prints a table of
lines, what was tried, and the control. In a run of all tests they run where they stand, once."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from tests.harness import security_lines
from tests.harness.security_lines import LINES
from tests.harness.sources import ROOT

_FOLDER = Path(__file__).parent
_outcomes: dict[str, set[str]] = defaultdict(set)


def pytest_configure(config: pytest.Config) -> None:
    if not _is_asked_for(config):
        return
    config.pluginmanager.register(Recorder())
    for check in security_lines.checks():
        for test in filter(None, (check.test, check.control_test)):
            path = str(ROOT / test)
            if not (ROOT / test.partition("::")[0]).is_relative_to(_FOLDER) and path not in config.args:
                config.args.append(path)


class Recorder:
    """Notes the outcome of every test: the hooks of this file get those of its folder alone."""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note an outcome."""
        if report.when == "call" or report.outcome != "passed":
            _outcomes[report.nodeid.partition("[")[0]].add(report.outcome)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if not _is_asked_for(config):
        return
    terminalreporter.section("security")
    for line, about in LINES.items():
        terminalreporter.write_line(f"{line}: {about}", bold=True)
        for check in security_lines.checks():
            if check.line == line:
                terminalreporter.write_line(f"    {_outcome(check.test):8} {check.test}")
                terminalreporter.write_line(f"             tried: {check.tried}")
                control = (
                    f"{_outcome(check.control_test)} {check.control_test}" if check.control_test else check.control
                )
                terminalreporter.write_line(f"             control: {control}")


def _outcome(test: str) -> str:
    outcomes = _outcomes.get(test, set())
    return "failed" if "failed" in outcomes else "/".join(sorted(outcomes)) or "not run"


def _is_asked_for(config: pytest.Config) -> bool:
    return any((config.invocation_params.dir / arg).resolve() == _FOLDER for arg in config.invocation_params.args)
