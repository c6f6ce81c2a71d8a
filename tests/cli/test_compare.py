"""`linkspan connection compare`: what is printed for people and as JSON, exit codes, and the example of the docs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from linkspan.cli.compare import comparison_lines
from linkspan.cli.layout import Screen
from linkspan.core.peer_side.comparison import compare
from linkspan.core.peer_side.differences import fits
from linkspan.core.peer_side.parsers import formats
from tests.cli.conftest import Linkspan
from tests.cli.test_commands import connect, site, site_names, unique
from tests.core.peer_side import fitting
from tests.core.samples import CONNECTION

__all__ = ["site", "site_names"]

DOCS = Path(__file__).parents[2] / "docs" / "compare.md"


@pytest.fixture
def made(linkspan: Linkspan, site: dict[str, str]) -> tuple[str, fitting.Peer]:
    """A connection, and the peer that fits it."""
    name = unique("compared")
    shown = linkspan.json(*connect(site, name, "--psk", "a key for both ends", third=91))
    service = linkspan.json("service", "show", site["service"])
    policy = linkspan.json("ike-policy", "show", site["ike"])
    peer = fitting.Peer(
        version=2 if policy["ike_version"] == "v2" else 1,
        aggressive=False,
        local_address=shown["peer_address"],
        remote_address=service["external_v4_ip"],
        local_id=shown["peer_id"],
        remote_id=service["external_v4_ip"],
        auth="psk",
        psk="a key for both ends",
        ike="aes128-sha256-modp2048",
        protocol="esp",
        child="aes128-sha256-ecp256",
        local_networks=tuple(shown["peer_cidrs"]),
        remote_networks=("10.9.0.0/24",),
        ike_seconds=7200,
        child_seconds=3600,
        dpd_action="hold",
        dpd_interval=30,
    )
    return name, peer


def test_a_file_that_fits_and_one_that_does_not(
    linkspan: Linkspan, made: tuple[str, fitting.Peer], tmp_path: Path
) -> None:
    name, peer = made
    file = tmp_path / "swanctl.conf"
    file.write_text(fitting.swanctl(peer))
    assert linkspan("connection", "compare", name, "--peer", str(file)).startswith(
        f"{name}  fits  with 'office' (swanctl)"
    )
    file.write_text(fitting.libreswan(msgspec.structs.replace(peer, psk="another")))
    command = ("connection", "compare", name, "--peer", str(file), "--format", "libreswan", "--name", "office")
    assert linkspan.code(*command) == 1
    assert "the tunnel cannot come up: psk, line" in linkspan.output
    assert "(PSK_MISMATCH)" in linkspan.output
    assert "another" not in linkspan.output
    assert linkspan.code(*command, "--json") == 1
    shown: dict[str, Any] = json.loads(linkspan.output)
    assert [difference["field"] for difference in shown["differences"]] == ["psk"]


def test_what_cannot_be_read_is_an_error(linkspan: Linkspan, made: tuple[str, fitting.Peer], tmp_path: Path) -> None:
    name, _ = made
    file = tmp_path / "peer.conf"
    for content, words in (
        (b"connections {\n a {\n", "line 2"),
        (b"\xff\xfe", "not UTF-8"),
        (b"x" * 300_000, "are read at most"),
        (b"hello", "none of the formats"),
    ):
        file.write_bytes(content)
        assert linkspan.code("connection", "compare", name, "--peer", str(file)) != 0
        assert words in linkspan.errors


def test_the_example_of_the_docs_is_what_is_printed() -> None:
    ours = msgspec.structs.replace(CONNECTION, name="to-branch")
    text = fitting.swanctl(msgspec.structs.replace(fitting.fitting(ours), ike="aes128-sha256-ecp256"))
    reading = formats.read(text.encode())
    found = compare(ours, reading.candidates[0].config, reading.keys)
    compared = {
        "connection_id": ours.id,
        "name": ours.name,
        "format": reading.format,
        "peer_connection": reading.candidates[0].name,
        "fits": fits(found),
        "differences": msgspec.to_builtins(found),
        "ignored": [],
    }
    printed = "\n".join(f"    {line}".rstrip() for line in comparison_lines(compared, Screen()))
    assert printed in DOCS.read_text()


def test_what_a_server_says_is_harmless() -> None:
    hostile = "\x1b[2J\nevil"
    difference = dict.fromkeys(("field", "severity", "code", "text", "ours", "theirs", "here", "there"), hostile)
    compared = {
        **dict.fromkeys(("connection_id", "name", "format", "peer_connection"), hostile),
        "fits": False,
        "differences": [difference | {"line": 1}],
        "ignored": [{"line": 1, "text": hostile}],
    }
    assert all("\x1b" not in line and "\n" not in line for line in comparison_lines(compared, Screen()))
