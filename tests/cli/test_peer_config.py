"""`linkspan connection peer-config`: the configuration on standard output or in a folder, what to know on the error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from linkspan.cli import peer_config
from linkspan.cli.peer_config import notes
from linkspan.core import printable
from tests.cli.conftest import Linkspan
from tests.cli.test_commands import connect, site, site_names, unique

__all__ = ["site", "site_names"]

KEY = "Correct.Horse.42"


@pytest.fixture
def connection(linkspan: Linkspan, site: dict[str, str], tmp_path: Path) -> Any:
    """The name of a connection."""
    (tmp_path / "key").write_text(KEY)
    name = unique("branch")
    linkspan(*connect(site, name, "--psk-file", str(tmp_path / "key"), third=91))
    yield name
    linkspan("connection", "delete", name)


def test_the_values_are_printed_and_the_key_only_with_secret(linkspan: Linkspan, connection: str) -> None:
    shown = linkspan("connection", "peer-config", connection)
    assert "your gateway's public address" in shown
    assert "198.51.100.91" in shown
    assert KEY not in shown
    assert linkspan.errors.startswith("Values in plain words: tested: ")
    assert KEY in linkspan("connection", "peer-config", connection, "--secret")
    assert json.loads(linkspan("connection", "peer-config", connection, "-f", "json", "--secret"))["psk"] == KEY


def test_files_go_into_a_folder_and_only_their_owner_reads_them(
    linkspan: Linkspan, connection: str, tmp_path: Path
) -> None:
    folder = tmp_path / "peer"
    command = ("connection", "peer-config", connection, "--format", "linkspan", "--secret", "--output", str(folder))
    for _ in range(2):
        assert linkspan(*command).split() == [str(folder / name) for name in ("connection.sh", "psk.txt")]
    assert (folder / "psk.txt").read_text() == f"{KEY}\n"
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    printed = linkspan("connection", "peer-config", connection, "--format", "linkspan")
    assert printed.startswith("# --- connection.sh\n")
    assert "\n# --- psk.txt\n" in printed


def test_a_folder_that_cannot_be_written_is_named(linkspan: Linkspan, connection: str) -> None:
    arguments = ("connection", "peer-config", connection, "--output", "/proc/none")
    assert linkspan.code(*arguments) == 1
    assert linkspan.errors.splitlines()[-1].startswith("linkspan: cannot write /proc/none: ")


def test_what_a_device_cannot_do_fails_and_says_why(linkspan: Linkspan, connection: str) -> None:
    linkspan("connection", "set", connection, "--peer-id", "branch.example.org")
    assert linkspan.code("connection", "peer-config", connection, "--format", "gcp") == 1
    assert linkspan.output == ""
    *findings, last = linkspan.errors.splitlines()
    assert any(line.startswith("error: connection.peer_id: ") for line in findings)
    assert last == (
        "linkspan: Google Cloud VPN, Terraform cannot carry this connection; see the errors above, or use --format text"
    )


def test_an_unknown_format_is_a_usage_error(linkspan: Linkspan, connection: str) -> None:
    assert linkspan.code("connection", "peer-config", connection, "--format", "telnet") == 2


def test_what_a_server_sends_is_harmless(tmp_path: Path) -> None:
    """Neither a terminal nor a folder is at a server's mercy."""
    hostile = "\x1b]0;owned\x07"
    files = [{"name": "../../escaped", "text": hostile}]
    finding = {"severity": "error", "attribute": hostile, "text": hostile}
    found = {"title": hostile, "mark": "tested", "evidence": "", "findings": [finding], "by_hand": {hostile: hostile}}
    assert len([printable.one_line(line) for line in notes(found)]) == 3
    assert printable.unprintable("".join(peer_config._printed(files))) == ""
    (saved,) = peer_config._save(files, tmp_path / "folder")
    assert saved == tmp_path / "folder" / "escaped"
