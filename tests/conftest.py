"""Options and markers of the whole suite."""

from __future__ import annotations

import signal

import pytest
from hypothesis import HealthCheck, settings

# Assertions in these modules report the compared values, as in a test. They are imported later, inside functions.
pytest.register_assert_rewrite("tests.api.world", "tests.clients", "tests.harness")

# Properties assert on values, not on speed: a busy machine must not fail them.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")
# The profile of ./dev test --fast: the same properties with fewer examples.
settings.register_profile("fast", settings.get_profile("suite"), max_examples=15)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the options of this suite; `--mutant` is for ./dev test --mutate."""
    parser.addoption("--all", action="store_true", help="every case where the suite takes a sample (long)")
    parser.addoption("--sample", action="store_true", help="without the files that are the same on each release")
    parser.addoption("--note-durations", action="store_true", help="write tests/harness/durations.json")
    parser.addoption("--mutant", default="", help="ATTRIBUTE=held|frozen: the agent drops it; its tests must fail")


def pytest_configure(config: pytest.Config) -> None:
    # A shell may start background jobs with SIGINT ignored; the processes that tests start would inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.getoption("--note-durations") and not hasattr(config, "workerinput"):
        from tests.harness.durations import Durations

        config.pluginmanager.register(Durations())
    config.addinivalue_line("markers", "whole: only with --all")
    config.addinivalue_line("markers", "shows(*attributes): this test observes the effect of these attributes")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselects the tests marked `whole` without `--all`, with `--mutant` all that do not show the attribute, and what
    `--sample` leaves out. With `--no-loadscope-reorder` the slowest files come first."""
    from tests.harness import matrix
    from tests.harness.durations import file_of, noted, slowest_first

    deselected = [] if config.getoption("--all") else [item for item in items if item.get_closest_marker("whole")]
    if mutant := config.getoption("--mutant").partition("=")[0]:
        deselected += [item for item in items if not _shows(item, mutant)]
    if config.getoption("--sample"):
        deselected += [item for item in items if file_of(item.nodeid) in matrix.same_on_each_release()]
    if deselected:
        config.hook.pytest_deselected(items=deselected)
        items[:] = [item for item in items if item not in deselected]
    if not config.getoption("loadscopereorder", True):
        places = slowest_first([item.nodeid for item in items], noted())
        items.sort(key=lambda item: places[file_of(item.nodeid)])


def _shows(item: pytest.Item, attribute: str) -> bool:
    return any(attribute in mark.args for mark in item.iter_markers("shows"))
