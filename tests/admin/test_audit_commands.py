"""What the commands of the API's machine do is in the audit trail, and `linkspan audit verify` follows its chain."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.admin.test_account_commands import LocalCommands
from tests.api.users import quick

__all__ = ["quick"]

pytestmark = pytest.mark.usefixtures("quick")


def entries(state: Path) -> list[tuple[str, str, str]]:
    """Action, resource and fields of every entry, in the order of the chain."""
    with closing(sqlite3.connect(state / "linkspan.db")) as connection, connection:
        return connection.execute("SELECT action, resource, fields FROM audit ORDER BY number").fetchall()


def test_each_command_that_changes_something_has_an_entry(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    linkspan = LocalCommands(tmp_path, capsys)
    password = tmp_path / "password"
    password.write_text("a password of some length\n")
    commands = [
        ("project", "create", "blue"),
        ("user", "create", "ada", "--project", "blue", "--role", "member", "--password-file", str(password)),
        ("user", "set-password", "ada", "--password-file", str(password)),
        ("user", "grant", "ada", "--project", "blue", "--role", "reader"),
        ("user", "revoke", "ada", "--project", "blue", "--role", "reader"),
        ("token", "create", "--user", "ada"),
        ("node", "create", "north", "--token-file", str(tmp_path / "north.token")),
        ("node", "join-token", "north"),
        ("node", "join-token", "south"),
        ("node", "revoke", "north"),
        ("node", "delete", "south"),
        ("user", "delete", "ada"),
        ("project", "delete", "blue"),
    ]
    for command in commands:
        linkspan(*command)
        # Chained after each, so that their order is that of the commands.
        assert "are whole" in linkspan("audit", "verify")
    assert entries(tmp_path) == [
        ("create", "project", '["description","name"]'),
        ("create", "user", '["name","password","roles"]'),
        ("update", "user", '["password"]'),
        ("grant", "user", '["roles"]'),
        ("revoke", "user", '["roles"]'),
        ("create", "token", '["expires_at","name"]'),
        ("create", "node", '["name","token"]'),
        ("update", "node", '["join_token"]'),
        ("create", "node", '["join_token","name"]'),
        ("revoke", "node", '["certificate","join_token","token"]'),
        ("delete", "node", "[]"),
        ("delete", "user", "[]"),
        ("delete", "project", "[]"),
    ]
    with closing(sqlite3.connect(tmp_path / "linkspan.db")) as connection, connection:
        assert connection.execute("SELECT DISTINCT user_id FROM audit").fetchall() == [(f"uid:{os.getuid()}",)]
        assert "a password of some length" not in str(connection.execute("SELECT * FROM audit").fetchall())


def test_a_change_of_the_trail_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    linkspan = LocalCommands(tmp_path, capsys)
    for name in ("blue", "red", "green"):
        linkspan("project", "create", name)
    assert "entries 1 to 3 are whole; 0 wait" in linkspan("audit", "verify")
    with closing(sqlite3.connect(tmp_path / "linkspan.db")) as connection, connection:
        connection.execute("DELETE FROM audit WHERE number = 2")
    assert "the audit trail is not whole: entry 2 is missing" in linkspan.fails("audit", "verify")


def test_a_name_that_is_not_printable_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    linkspan = LocalCommands(tmp_path, capsys)
    assert "not printable (U+202E)" in linkspan.fails("project", "create", "a\u202eb")
    assert "is empty" in linkspan.fails("project", "create", "")
