"""The rule of a node's name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from linkspan.core.node_join import NAME_BYTES, name_fault


@pytest.mark.parametrize(
    "name", ["a", "edge-1.example.org", "a b", "...", "x" * NAME_BYTES, "\u00e4" * (NAME_BYTES // 2)]
)
def test_a_name_that_a_node_can_have_is_that_of_its_files(name: str, tmp_path: Path) -> None:
    assert name_fault(name) == ""
    # The longest name of a file with it: a draft of its identity, by a process with the highest number.
    (tmp_path / f".{name}.pem.{2**22}").touch()


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("", "is empty"),
        ("a/b", "name of a file"),
        ("/", "name of a file"),
        (".", "name of a file"),
        ("..", "name of a file"),
        ("a\nb", "not printable (U+000A)"),
        ("a\x00", "not printable (U+0000)"),
        ("\ud800", "not printable (U+D800)"),
        ("x" * (NAME_BYTES + 1), f"has {NAME_BYTES + 1} bytes"),
        ("\u00e4" * (NAME_BYTES // 2) + "x", f"has {NAME_BYTES + 1} bytes"),
        ("\U0001f511" * 100, "has 400 bytes"),
    ],
)
def test_a_name_that_it_cannot_have(name: str, fault: str) -> None:
    assert fault in name_fault(name)


def test_a_longer_name_would_not_be_one_of_a_file(tmp_path: Path) -> None:
    """The control."""
    with pytest.raises(OSError, match="too long"):
        os.mknod(tmp_path / f".{'x' * 250}.pem.1")
