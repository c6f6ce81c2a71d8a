"""`linkspan user|project|token`: their effects in the database, and their errors."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from linkspan.api.authentication.tokens import TokenAuth
from linkspan.api.http.caller import Caller
from linkspan.bootstrap import command_line, wiring
from linkspan.core.authorization import policy
from linkspan.core.authorization.policy import policy_of
from linkspan.core.schema.resources import IKE_POLICY, ROUTER
from linkspan.settings import load
from linkspan.store.identity import users
from linkspan.store.rows import quotas, writing
from linkspan.store.store import Store
from tests.api.users import quick

__all__ = ["quick"]

pytestmark = pytest.mark.usefixtures("quick")


class LocalCommands:
    """Runs commands over a database of their own."""

    def __init__(self, state: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.state = state
        self._capsys = capsys
        self("db", "upgrade")

    def _run(self, *arguments: str) -> tuple[int, str, str]:
        self._capsys.readouterr()
        code = command_line.execute([*arguments, "--state", str(self.state)])
        captured = self._capsys.readouterr()
        return code, captured.out, captured.err

    def __call__(self, *arguments: str) -> str:
        """Runs a command that has to succeed; returns its standard output."""
        code, out, err = self._run(*arguments)
        assert (code, err) == (0, ""), err
        return out

    def json(self, *arguments: str) -> Any:
        """Runs a command with `-f json`; returns the decoded output."""
        return json.loads(self(*arguments, "-f", "json"))

    def fails(self, *arguments: str, code: int = 1) -> str:
        """Runs a command that has to fail with `code`; returns its only line of standard error."""
        actual, _, err = self._run(*arguments)
        assert (actual, len(err.splitlines())) == (code, 1), err
        return err

    def store(self) -> Any:
        """Opens the store."""
        return wiring.open_store(load(environment={}, overrides={"state": self.state}))

    def roles(self, user: str) -> Any:
        """Returns a user's roles, by project."""
        return next(row["roles"] for row in self.json("user", "list") if row["name"] == user)

    def accepts(self, token: str) -> bool:
        """True if the API would accept the token."""
        with self.store() as store:
            return TokenAuth(store).find(token.encode()) is not None


@pytest.fixture
def linkspan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[LocalCommands]:
    """Commands over a database with two projects, and the user ada in project blue."""
    for name in list(os.environ):
        if name.startswith("LINKSPAN_"):
            monkeypatch.delenv(name)
    mask = os.umask(0o077)
    machine = LocalCommands(tmp_path / "state", capsys)
    machine("project", "create", "blue")
    machine("project", "create", "red", "--description", "the other")
    machine("user", "create", "ada", "--project", "blue")
    yield machine
    os.umask(mask)


def test_roles_are_granted_and_revoked(linkspan: LocalCommands) -> None:
    assert linkspan.roles("ada") == {"blue": ["member"]}
    linkspan("user", "grant", "ada", "--project", "red", "--role", "reader")
    linkspan("user", "grant", "ada", "--project", "blue", "--role", "admin")
    linkspan("user", "grant", "ada", "--project", "blue")
    assert linkspan.roles("ada") == {"blue": ["admin", "member"], "red": ["reader"]}
    assert "blue: admin, member; red: reader" in linkspan("user", "list")
    linkspan("user", "revoke", "ada", "--project", "blue", "--role", "admin")
    assert linkspan.roles("ada") == {"blue": ["member"], "red": ["reader"]}
    linkspan("user", "revoke", "ada", "--project", "red")
    assert linkspan.roles("ada") == {"blue": ["member"]}
    assert "does not have any role in project 'red'" in linkspan.fails("user", "revoke", "ada", "--project", "red")
    assert "the role admin in project 'blue'" in linkspan.fails(
        "user", "revoke", "ada", "--project", "blue", "--role", "admin", "--role", "member"
    )
    assert linkspan.roles("ada") == {"blue": ["member"]}


def test_a_manager_may_do_what_the_rules_give_a_manager(linkspan: LocalCommands) -> None:
    linkspan("user", "grant", "ada", "--project", "red", "--role", "manager")
    assert linkspan.roles("ada") == {"blue": ["member"], "red": ["manager"]}
    token = linkspan("token", "create", "--user", "ada", "--project", "red").removeprefix("token: ").strip()
    with linkspan.store() as store:
        found = TokenAuth(store).find(token.encode())
    assert found is not None
    assert found.project_id is not None
    assert found.roles == {"manager", "member", "reader"}
    rules = policy_of({"member_role": "role:manager", "delete_router": "rule:member_role and rule:owner"})
    caller = Caller(found.user_id, found.user_name, found.project_id, found.roles, rules)
    assert policy.scope(caller, "delete", ROUTER) == "own"
    assert policy.scope(msgspec.structs.replace(caller, roles=frozenset({"member"})), "delete", ROUTER) == "nothing"


def test_deleting_a_user_deletes_its_tokens(linkspan: LocalCommands) -> None:
    token = linkspan("token", "create", "--user", "ada").removeprefix("token: ").strip()
    assert linkspan.accepts(token)
    linkspan("user", "delete", "ada")
    assert linkspan.json("user", "list") == []
    assert not linkspan.accepts(token)
    assert linkspan.json("token", "list") == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("user", "delete", "eve"),
        ("user", "grant", "eve", "--project", "blue"),
        ("user", "revoke", "eve", "--project", "blue"),
        ("user", "set-password", "eve"),
        ("token", "create", "--user", "eve"),
    ],
)
def test_an_unknown_user_is_refused(linkspan: LocalCommands, arguments: tuple[str, ...]) -> None:
    assert "no user named 'eve': see 'linkspan user list'" in linkspan.fails(*arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ("project", "delete", "green"),
        ("user", "grant", "ada", "--project", "green"),
        ("user", "revoke", "ada", "--project", "green"),
        ("token", "create", "--user", "ada", "--project", "green"),
    ],
)
def test_an_unknown_project_is_refused(linkspan: LocalCommands, arguments: tuple[str, ...]) -> None:
    assert "no project named 'green': see 'linkspan project list'" in linkspan.fails(*arguments)


def test_a_short_password_is_refused(linkspan: LocalCommands, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("elevenchars\n", encoding="ascii")
    for command in (("create", "eve", "--project", "blue"), ("set-password", "ada")):
        assert "at least 12 characters" in linkspan.fails("user", *command, "--password-file", str(file))
    assert [row["name"] for row in linkspan.json("user", "list")] == ["ada"]
    file.write_text("elevenchars!\n", encoding="ascii")
    linkspan("user", "create", "eve", "--project", "blue", "--password-file", str(file))


def test_only_an_empty_project_is_deleted(linkspan: LocalCommands) -> None:
    with linkspan.store() as store:
        id = project_id(store, "blue")
        with store.write() as tx:
            policies = [writing.insert(tx, IKE_POLICY, {"project_id": id})["id"] for _ in range(2)]
            quotas.set_quotas(tx, id, {"connection": 1})
    refused = linkspan.fails("project", "delete", "blue")
    assert "project 'blue' still has 2 ikepolicies: delete them first" in refused
    with linkspan.store() as store, store.write() as tx:
        writing.remove(tx, IKE_POLICY, policies.pop())
    assert "still has 1 ikepolicy:" in linkspan.fails("project", "delete", "blue")
    with linkspan.store() as store, store.write() as tx:
        writing.remove(tx, IKE_POLICY, policies.pop())
    assert linkspan("project", "delete", "blue") == "users without a default project now: ada\n"
    assert linkspan("project", "delete", "red") == ""
    assert linkspan.json("project", "list") == []
    (row,) = linkspan.json("user", "list")
    assert row | {"id": 0} == {"id": 0, "name": "ada", "project_name": None, "enabled": True, "roles": {}}
    with linkspan.store() as store, store.read() as tx:
        assert quotas.of_project(tx, id) == {}
    assert "has no default project" in linkspan.fails("token", "create", "--user", "ada")


def project_id(store: Store, name: str) -> str:
    """Returns the id of a project."""
    with store.read() as tx:
        project = users.project(tx, name=name)
    assert project is not None
    id: str = project["id"]
    return id


def test_a_token_is_printed_once_and_not_stored(linkspan: LocalCommands) -> None:
    output = linkspan("token", "create", "--user", "ada", "--name", "ci")
    token = output.removeprefix("token: ").strip()
    assert len(token) >= 43
    assert linkspan.accepts(token)
    (row,) = linkspan.json("token", "list")
    assert row | {"id": 0} == {
        "id": 0,
        "name": "ci",
        "user_name": "ada",
        "project_name": "blue",
        "expires": row["expires"],
    }
    days = (datetime.fromisoformat(row["expires"]).timestamp() - time.time()) / 86_400
    assert 89 < days <= 90, "the default"
    assert token not in linkspan("token", "list")
    for file in linkspan.state.rglob("*"):
        assert not file.is_file() or token.encode() not in file.read_bytes()
    linkspan("token", "delete", row["id"])
    assert not linkspan.accepts(token)
    assert "no static token with the id" in linkspan.fails("token", "delete", row["id"])


def test_a_token_is_written_to_a_new_private_file(linkspan: LocalCommands, tmp_path: Path) -> None:
    file = tmp_path / "token"
    output = linkspan("token", "create", "--user", "ada", "--token-file", str(file))
    assert output == f"the token is in {file}\n"
    assert file.stat().st_mode & 0o777 == 0o400
    assert linkspan.accepts(file.read_text().strip())
    assert "exists already" in linkspan.fails("token", "create", "--user", "ada", "--token-file", str(file))
    assert len(linkspan.json("token", "list")) == 1


def test_a_token_expires(linkspan: LocalCommands) -> None:
    short = (
        linkspan("token", "create", "--user", "ada", "--name", "a", "--expires", "1s").removeprefix("token: ").strip()
    )
    linkspan("token", "create", "--user", "ada", "--name", "b", "--expires", "30d")
    linkspan("token", "create", "--user", "ada", "--name", "c", "--expires", "never")
    time.sleep(1.1)
    assert not linkspan.accepts(short)
    first, second, third = (row["expires"] for row in linkspan.json("token", "list"))
    assert (first, third) == ("expired", "never")
    assert second > time.strftime("%Y-%m-%dT", time.gmtime(time.time() + 29 * 86_400))
    for wrong in ("soon", "-1d", "0d", "5", "1y"):
        assert "not a duration such as" in linkspan.fails(
            "token", "create", "--user", "ada", "--expires", wrong, code=2
        )


def test_a_token_for_another_project_needs_a_role_there(linkspan: LocalCommands) -> None:
    assert "has no role in that project" in linkspan.fails("token", "create", "--user", "ada", "--project", "red")
    linkspan("user", "grant", "ada", "--project", "red", "--role", "reader")
    token = linkspan("token", "create", "--user", "ada", "--project", "red").removeprefix("token: ").strip()
    with linkspan.store() as store:
        caller = TokenAuth(store).find(token.encode())
    assert caller is not None
    assert (caller.project_name, caller.roles) == ("red", frozenset({"reader"}))
