"""Options of the whole suite."""

from __future__ import annotations

import signal

import pytest
from hypothesis import settings

# What asserts in these says what it compared, as in a test.
pytest.register_assert_rewrite("tests.api.world", "tests.clients", "tests.harness")

# What ./dev test --fast asks for: the same properties, tried less often.
settings.register_profile("fast", max_examples=15)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--all`: what is a sample by default is done for everything. `--mutant`: used by ./dev test --mutate."""
    parser.addoption("--all", action="store_true", help="every case where the suite takes a sample (long)")
    parser.addoption("--mutant", default="", help="ATTRIBUTE=held|frozen: the agent drops it; its tests must fail")


def pytest_configure(config: pytest.Config) -> None:
    # Of what a shell has in its background it may have SIGINT ignored, and that would be inherited by what tests start.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "whole: only with --all")
    config.addinivalue_line("markers", "shows(*attributes): the effect of these attributes on the wire is seen here")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What only `--all` does is left out, not skipped: the sample beside it stands for it."""
    left_out = [] if config.getoption("--all") else [item for item in items if item.get_closest_marker("whole")]
    if mutant := config.getoption("--mutant").partition("=")[0]:
        left_out += [item for item in items if not _shows(item, mutant)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _shows(item: pytest.Item, attribute: str) -> bool:
    return any(attribute in mark.args for mark in item.iter_markers("shows"))
