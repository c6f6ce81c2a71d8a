"""Options of the whole suite."""

from __future__ import annotations

import pytest
from hypothesis import settings

# What ./dev test --fast asks for: the same properties, tried less often.
settings.register_profile("fast", max_examples=15)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--all`: what is a sample by default is done for everything."""
    parser.addoption("--all", action="store_true", help="every case where the suite takes a sample (long)")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "whole: only with --all")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What only `--all` does is left out, not skipped: the sample beside it stands for it."""
    if config.getoption("--all"):
        return
    left_out = [item for item in items if item.get_closest_marker("whole")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
