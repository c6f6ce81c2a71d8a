"""`linkspan user|project|token`: what they change, and the one line where they cannot."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from linkspan.api.authentication.tokens import TokenAuth
from linkspan.bootstrap import command_line, wiring
from linkspan.core.schema.resources import IKE_POLICY
from linkspan.settings import load
from linkspan.store.identity import users
from linkspan.store.rows import quotas, writing
from linkspan.store.store import Store
from tests.api.users import quick

__all__ = ["quick"]

pytestmark = pytest.mark.usefixtures("quick")


class LocalCommands:
    """The command line over a database of its own."""

    def __init__(self, state: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.state = state
        self._capsys = capsys
        self("db", "upgrade")

    def _run(self, *arguments: str) -> tuple[int, str, str]:
        self._capsys.readouterr()
        code = command_line.execute([*arguments, "--state", str(self.state)])
        said = self._capsys.readouterr()
        return code, said.out, said.err

    def __call__(self, *arguments: str) -> str:
        """What a command that succeeds prints."""
        code, out, err = self._run(*arguments)
        assert (code, err) == (0, ""), err
        return out

    def json(self, *arguments: str) -> Any:
        """The same, decoded."""
        return json.loads(self(*arguments, "-f", "json"))

    def fails(self, *arguments: str, code: int = 1) -> str:
        """The one line that a command says when it fails."""
        found, _, err = self._run(*arguments)
        assert (found, len(err.splitlines())) == (code, 1), err
        return err

    def store(self) -> Any:
        """The store."""
        return wiring.open_store(load(environment={}, overrides={"state": self.state}))

    def roles(self, user: str) -> Any:
        """A user's roles, by project."""
        return next(row["roles"] for row in self.json("user", "list") if row["name"] == user)

    def holds(self, token: str) -> bool:
        """Whether the API would take a token."""
        with self.store() as store:
            return TokenAuth(store).find(token.encode()) is not None


@pytest.fixture
def linkspan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[LocalCommands]:
    """Two projects, and ada in blue."""
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


def test_roles(linkspan: LocalCommands) -> None:
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


def test_a_user_that_goes(linkspan: LocalCommands) -> None:
    token = linkspan("token", "create", "--user", "ada").removeprefix("token: ").strip()
    assert linkspan.holds(token)
    linkspan("user", "delete", "ada")
    assert linkspan.json("user", "list") == []
    assert not linkspan.holds(token)
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
def test_nobody(linkspan: LocalCommands, arguments: tuple[str, ...]) -> None:
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
def test_nowhere(linkspan: LocalCommands, arguments: tuple[str, ...]) -> None:
    assert "no project named 'green': see 'linkspan project list'" in linkspan.fails(*arguments)


def test_a_project_goes_when_it_is_empty(linkspan: LocalCommands) -> None:
    with linkspan.store() as store:
        id = project_id(store, "blue")
        with store.write() as tx:
            made = [writing.insert(tx, IKE_POLICY, {"project_id": id})["id"] for _ in range(2)]
            quotas.set_quotas(tx, id, {"connection": 1})
    refused = linkspan.fails("project", "delete", "blue")
    assert "project 'blue' still holds 2 ikepolicies: delete them first" in refused
    with linkspan.store() as store, store.write() as tx:
        writing.remove(tx, IKE_POLICY, made.pop())
    assert "still holds 1 ikepolicy:" in linkspan.fails("project", "delete", "blue")
    with linkspan.store() as store, store.write() as tx:
        writing.remove(tx, IKE_POLICY, made.pop())
    assert linkspan("project", "delete", "blue") == "without a project of their own now: ada\n"
    assert linkspan("project", "delete", "red") == ""
    assert linkspan.json("project", "list") == []
    assert linkspan.json("user", "list")[0] | {"id": 0} == {"id": 0, "name": "ada", "project_name": None, "roles": {}}
    with linkspan.store() as store, store.read() as tx:
        assert quotas.of_project(tx, id) == {}
    assert "has no project of their own" in linkspan.fails("token", "create", "--user", "ada")


def project_id(store: Store, name: str) -> str:
    """The id of a project."""
    with store.read() as tx:
        found = users.project(tx, name=name)
    assert found is not None
    id: str = found["id"]
    return id


def test_a_token_is_shown_once(linkspan: LocalCommands) -> None:
    said = linkspan("token", "create", "--user", "ada", "--name", "ci")
    token = said.removeprefix("token: ").strip()
    assert len(token) >= 43
    assert linkspan.holds(token)
    (row,) = linkspan.json("token", "list")
    assert row | {"id": 0} == {"id": 0, "name": "ci", "user_name": "ada", "project_name": "blue", "expires": "never"}
    assert token not in linkspan("token", "list")
    for file in linkspan.state.rglob("*"):
        assert not file.is_file() or token.encode() not in file.read_bytes()
    linkspan("token", "delete", row["id"])
    assert not linkspan.holds(token)
    assert "no static token with the id" in linkspan.fails("token", "delete", row["id"])


def test_a_token_in_a_file(linkspan: LocalCommands, tmp_path: Path) -> None:
    file = tmp_path / "token"
    said = linkspan("token", "create", "--user", "ada", "--token-file", str(file))
    assert said == f"the token is in {file}\n"
    assert file.stat().st_mode & 0o777 == 0o400
    assert linkspan.holds(file.read_text().strip())
    assert "exists already" in linkspan.fails("token", "create", "--user", "ada", "--token-file", str(file))
    assert len(linkspan.json("token", "list")) == 1


def test_a_token_with_an_end(linkspan: LocalCommands) -> None:
    short = (
        linkspan("token", "create", "--user", "ada", "--name", "a", "--expires", "1s").removeprefix("token: ").strip()
    )
    linkspan("token", "create", "--user", "ada", "--name", "b", "--expires", "30d")
    time.sleep(1.1)
    assert not linkspan.holds(short)
    first, second = (row["expires"] for row in linkspan.json("token", "list"))
    assert first == "expired"
    assert second > time.strftime("%Y-%m-%dT", time.gmtime(time.time() + 29 * 86_400))
    for wrong in ("soon", "-1d", "0d", "5", "1y"):
        assert "no time such as" in linkspan.fails("token", "create", "--user", "ada", "--expires", wrong, code=2)


def test_a_token_of_another_project(linkspan: LocalCommands) -> None:
    assert "has no role there" in linkspan.fails("token", "create", "--user", "ada", "--project", "red")
    linkspan("user", "grant", "ada", "--project", "red", "--role", "reader")
    token = linkspan("token", "create", "--user", "ada", "--project", "red").removeprefix("token: ").strip()
    with linkspan.store() as store:
        found = TokenAuth(store).find(token.encode())
    assert found is not None
    assert (found.project_name, found.roles) == ("red", frozenset({"reader"}))
