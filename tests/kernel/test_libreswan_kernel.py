"""The tests with libreswan as the peer, which has no ESP of its own, with kernel ESP."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.harness import libreswan
from tests.kernel.guest import MARKS, assert_passes

pytestmark = MARKS


@pytest.mark.parametrize(
    "tests", [("test_libreswan.py", "test_peer_config_libreswan.py"), ("certificates/test_libreswan.py",)], ids="-".join
)
def test_the_wire_tests_pass_with_libreswan(tests: tuple[str, ...]) -> None:
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    try:
        root = libreswan.unpack(cache / "linkspan" / "libreswan")
    except libreswan.Unavailable as error:
        pytest.skip(f"libreswan's packages cannot be downloaded: {error}")
    assert_passes(*(f"tests/wire/{name}" for name in tests), environment={libreswan.VARIABLE: str(root)})
