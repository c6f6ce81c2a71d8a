"""`linkspan node`: what the commands do in the database, what they print, and their errors. `join` is real in
`tests/api/test_node_certificates.py`."""

from __future__ import annotations

import io
import json
import stat
import sys
from pathlib import Path

import pytest

from linkspan.core.node_join import authority_of
from linkspan.core.secret import hash_token
from linkspan.store import audit
from linkspan.store.nodes import credentials, registry
from tests.admin.test_account_commands import LocalCommands


@pytest.fixture
def linkspan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> LocalCommands:
    """The commands over a new database."""
    return LocalCommands(tmp_path / "state", capsys)


def listed(linkspan: LocalCommands) -> dict[str, tuple[str, str]]:
    """By what each node is known, and until when."""
    return {node["name"]: (node["credential"], node["expires"]) for node in linkspan.json("node", "list")}


def test_a_join_token_is_printed_once_and_kept_as_a_hash(linkspan: LocalCommands) -> None:
    token = linkspan("node", "join-token", "edge-1").strip()
    assert authority_of(token)
    assert listed(linkspan) == {"edge-1": ("none", "never")}
    with linkspan.store() as store:
        with store.read() as tx:
            (kept,) = tx.connection.driver.execute(
                "SELECT hash, round(expires_at - issued_at) FROM node_credential"
            ).fetchall()
        assert tuple(kept) == (hash_token(token.encode()), 900.0)
        with store.write() as tx:
            assert credentials.take_join_token(tx, hash_token(token.encode()))
            assert credentials.take_join_token(tx, hash_token(token.encode())) is None
    assert token not in json.dumps(linkspan.json("node", "list"))


def test_a_join_token_goes_into_a_file_of_its_owner(linkspan: LocalCommands, tmp_path: Path) -> None:
    file = tmp_path / "token"
    output = linkspan("node", "join-token", "edge-1", "--token-file", str(file), "--expires", "1h")
    assert stat.S_IMODE(file.stat().st_mode) == 0o400
    assert authority_of(file.read_text().strip())
    assert file.read_text().strip() not in output
    assert "exists already" in linkspan.fails("node", "join-token", "edge-1", "--token-file", str(file))


def test_a_join_token_lasts_an_hour_at_most(linkspan: LocalCommands) -> None:
    for value in ("61m", "2h", "3601s", "1d", "never", "0s", "-1m", "x"):
        linkspan.fails("node", "join-token", "edge-1", "--expires", value, code=2)
    assert listed(linkspan) == {}


def test_a_name_that_is_no_file_name_is_refused(linkspan: LocalCommands, tmp_path: Path) -> None:
    for name in (
        "",
        "a/b",
        "../x",
        ".",
        "..",
        "a\nb",
        "a\x1b[31m",
        "a\u202eb",
        "x" * 241,
        "\u00e4" * 121,
        "\U0001f511" * 61,
    ):
        assert "name" in linkspan.fails("node", "join-token", name)
        assert "name" in linkspan.fails("node", "create", name, "--token-file", str(tmp_path / "token"))
    assert listed(linkspan) == {}


def test_a_token_ends_unless_it_is_for_this_machine(linkspan: LocalCommands, tmp_path: Path) -> None:
    linkspan("node", "create", "usual", "--token-file", str(tmp_path / "a"))
    linkspan("node", "create", "short", "--token-file", str(tmp_path / "b"), "--expires", "1h")
    linkspan("node", "create", "local", "--token-file", str(tmp_path / "c"), "--expires", "never")
    nodes = listed(linkspan)
    assert {name: kind for name, (kind, _) in nodes.items()} == dict.fromkeys(nodes, "token")
    assert nodes["local"][1] == "never"
    assert nodes["short"][1] < nodes["usual"][1]


def test_revoke_and_delete_end_what_a_node_has(linkspan: LocalCommands, tmp_path: Path) -> None:
    linkspan("node", "create", "a", "--token-file", str(tmp_path / "a"))
    linkspan("node", "join-token", "a")
    linkspan("node", "revoke", "a")
    assert listed(linkspan) == {"a": ("none", "never")}
    with linkspan.store() as store, store.read() as tx:
        assert tx.connection.driver.execute("SELECT count(*) FROM node_credential").fetchall() == [(0,)]
    linkspan("node", "join-token", "a")
    linkspan("node", "delete", "a")
    assert listed(linkspan) == {}


def test_a_node_with_gateways_is_deleted_by_force_only(linkspan: LocalCommands, tmp_path: Path) -> None:
    linkspan("node", "create", "a", "--token-file", str(tmp_path / "a"))
    with linkspan.store() as store, store.write() as tx:
        node = registry.node_by_name(tx, "a")
        assert node is not None
        gateway = "INSERT INTO gateway (router_id, node_id, generation) VALUES ('r', ?, 1)"
        tx.connection.driver.execute(gateway, (node["id"],))
    assert "switch its machine off first" in linkspan.fails("node", "delete", "a")
    linkspan("node", "delete", "a", "--force")
    with linkspan.store() as store, store.read() as tx:
        assert tx.connection.driver.execute("SELECT router_id, node_id FROM gateway").fetchall() == [("r", None)]


def test_a_node_that_is_not_there_or_has_no_certificate_is_named(linkspan: LocalCommands) -> None:
    for action in ("rotate", "revoke", "delete"):
        assert "no node named 'x'" in linkspan.fails("node", action, "x")
    linkspan("node", "join-token", "a")
    assert "has no certificate" in linkspan.fails("node", "rotate", "a")


def test_the_commands_are_audited_under_the_name_of_who_runs_them(linkspan: LocalCommands) -> None:
    for action in ("join-token", "revoke", "delete"):
        linkspan("node", action, "a")
    with linkspan.store() as store, store.read() as tx:
        entries = audit.page(tx, {"resource": "node"}, 10)
    assert [entry.action for entry in reversed(entries)] == ["create", "revoke", "delete"]
    assert all(entry.user_id.startswith("uid:") for entry in entries)


def test_join_takes_the_token_from_a_file_or_standard_input(
    linkspan: LocalCommands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never as an argument, which everybody on the machine sees. Nobody listens at the URL."""
    token = linkspan("node", "join-token", "a").strip()
    file = tmp_path / "token"
    file.write_text(f"{token}\n")
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{token}\n"))
    for options in (("--token-file", str(file)), ()):
        error = linkspan.fails("node", "join", "https://127.0.0.1:1", *options)
        assert "cannot join at https://127.0.0.1:1" in error
        assert token not in error
    # Nothing is left there.
    assert "linkspan node join-token NAME" in linkspan.fails("node", "join", "https://127.0.0.1:1")
