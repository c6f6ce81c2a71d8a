"""The tests with libreswan as the peer, which has no ESP of its own, with kernel ESP."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.harness import libreswan
from tests.kernel.guest import MARKS, assert_passes

pytestmark = MARKS


def test_libreswan_carries_all_pairs_of_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    try:
        root = libreswan.unpack(cache / "linkspan" / "libreswan")
    except libreswan.Unavailable as error:
        pytest.skip(f"libreswan's packages cannot be downloaded: {error}")
    assert_passes("tests/wire/test_libreswan.py", environment={libreswan.VARIABLE: str(root)})
