"""Options and markers of the whole suite."""

from __future__ import annotations

import signal

import pytest
from hypothesis import HealthCheck, settings

# Assertions in these modules report the compared values, as in a test.
pytest.register_assert_rewrite("tests.api.world", "tests.clients", "tests.harness")

# Properties assert on values, not on speed: a busy machine must not fail them.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")
# The profile of ./dev test --fast: the same properties with fewer examples.
settings.register_profile("fast", settings.get_profile("suite"), max_examples=15)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds `--all`, for every case where the suite takes a sample, and `--mutant`, which ./dev test --mutate uses."""
    parser.addoption("--all", action="store_true", help="every case where the suite takes a sample (long)")
    parser.addoption("--mutant", default="", help="ATTRIBUTE=held|frozen: the agent drops it; its tests must fail")


def pytest_configure(config: pytest.Config) -> None:
    # A shell may start background jobs with SIGINT ignored; the processes that tests start would inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "whole: only with --all")
    config.addinivalue_line("markers", "shows(*attributes): this test observes the effect of these attributes")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselects the tests marked `whole` without `--all`, and with `--mutant` all that do not show the attribute."""
    deselected = [] if config.getoption("--all") else [item for item in items if item.get_closest_marker("whole")]
    if mutant := config.getoption("--mutant").partition("=")[0]:
        deselected += [item for item in items if not _shows(item, mutant)]
    if deselected:
        config.hook.pytest_deselected(items=deselected)
        items[:] = [item for item in items if item not in deselected]


def _shows(item: pytest.Item, attribute: str) -> bool:
    return any(attribute in mark.args for mark in item.iter_markers("shows"))
