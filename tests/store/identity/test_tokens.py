"""Tokens and application credentials: found by one statement, gone when what they hang on goes."""

from __future__ import annotations

import pytest

from linkspan.core.secret import hash_token
from linkspan.store.identity import credentials, tokens, users
from linkspan.store.identity.users import UserRow
from linkspan.store.store import Conflict, Store, Values
from tests.harness.databases import Clock, open_store


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def timed(store: Store, clock: Clock) -> Store:
    """The store with a clock of the test's own."""
    return open_store(store._engine, clock=clock)


@pytest.fixture
def ada(timed: Store) -> UserRow:
    """A member of blue."""
    with timed.write() as tx:
        project = users.add_project(tx, "blue")
        return users.add_user(tx, "ada", "hash", project["id"], ["member", "reader"])


def credential(ada: UserRow, **more: object) -> Values:
    """Values of an application credential."""
    values = {
        "user_id": ada["id"],
        "project_id": ada["project_id"],
        "name": "ci",
        "secret_hash": "s",
        "roles": ["reader"],
    }
    return values | more


def test_a_token_by_one_statement(timed: Store, clock: Clock, ada: UserRow) -> None:
    with timed.write() as tx:
        made = tokens.add_token(tx, "h", ada["id"], ada["project_id"], "ci", clock.now + 10)
    with timed.read() as tx:
        assert tokens.find_token(tx, "h") == {
            "id": made["id"],
            "user_id": ada["id"],
            "user_name": "ada",
            "project_id": ada["project_id"],
            "project_name": "blue",
            "roles": ["member", "reader"],
            "name": "ci",
            "methods": (),
            "issued_at": clock.now,
            "expires_at": clock.now + 10,
            "credential": None,
        }
        assert tx.statements == 1
        assert tokens.find_token(tx, "other") is None


def test_tokens_expire_and_are_swept(timed: Store, clock: Clock, ada: UserRow) -> None:
    with timed.write() as tx:
        tokens.add_token(tx, "static", ada["id"], ada["project_id"])
        tokens.add_token(tx, "short", ada["id"], ada["project_id"], expires_at=clock.now + 10, methods=("password",))
        assert tokens.remove_expired(tx) == 0
    clock.pass_(10)
    with timed.write() as tx:
        assert tokens.find_token(tx, "short") is None
        assert tokens.find_token(tx, "static") is not None
        assert (tokens.remove_expired(tx), tokens.remove_expired(tx)) == (1, 0)
        tokens.remove_token(tx, "static")
        assert tokens.find_token(tx, "static") is None


def test_static_tokens_are_listed_and_removed_by_id(timed: Store, ada: UserRow) -> None:
    with timed.write() as tx:
        made = tokens.add_token(tx, "static", ada["id"], ada["project_id"], "ci")
        issued = tokens.add_token(tx, "issued", ada["id"], None, methods=("password",))
        assert [(row["id"], row["user_name"], row["name"]) for row in tokens.static_tokens(tx)] == [
            (made["id"], "ada", "ci")
        ]
        assert not tokens.remove_static_token(tx, issued["id"])
        assert tokens.remove_static_token(tx, made["id"])
        assert tokens.static_tokens(tx) == []
        token = tokens.find_token(tx, "issued")
        assert token is not None
        assert (token["project_id"], token["roles"], token["methods"]) == (None, [], ("password",))


def test_another_password_ends_what_the_first_one_got(timed: Store, ada: UserRow) -> None:
    with timed.write() as tx:
        tokens.add_token(tx, "static", ada["id"], ada["project_id"])
        tokens.add_token(tx, "issued", ada["id"], ada["project_id"], methods=("token", "password"))
        users.set_password(tx, ada["id"], "other")
        assert tokens.find_token(tx, "issued") is None
        assert tokens.find_token(tx, "static") is not None


def test_credentials(timed: Store, ada: UserRow) -> None:
    with timed.write() as tx:
        made = credentials.add_credential(tx, credential(ada, expires_at=5.0, unrestricted=True))
        other = credentials.add_credential(tx, credential(ada, name="a", roles=["reader", "member"]))
        assert [row["name"] for row in credentials.credentials_of(tx, ada["id"])] == ["a", "ci"]
        assert credentials.credential(tx, made["id"]) == made | {"user_name": "ada", "project_name": "blue"}
        assert credentials.credential(tx, "x") is None
        tokens.add_token(
            tx, "h", ada["id"], ada["project_id"], methods=("application_credential",), credential_id=other["id"]
        )
        token = tokens.find_token(tx, "h")
        assert token is not None
        assert token["credential"] == {
            "id": other["id"],
            "name": "a",
            "roles": ["member", "reader"],
            "unrestricted": False,
        }
        credentials.remove_credential(tx, other["id"])
        assert tokens.find_token(tx, "h") is None
    with pytest.raises(Conflict), timed.write() as tx:
        credentials.add_credential(tx, credential(ada))


@pytest.mark.parametrize("gone", ["user", "project"])
def test_nothing_outlives_its_user_or_project(timed: Store, ada: UserRow, gone: str) -> None:
    with timed.write() as tx:
        made = credentials.add_credential(tx, credential(ada))
        tokens.add_token(tx, "h", ada["id"], ada["project_id"])
        if gone == "user":
            users.remove_user(tx, ada["id"])
        else:
            users.remove_project(tx, made["project_id"])
        assert tokens.find_token(tx, "h") is None
        assert credentials.credential(tx, made["id"]) is None


@pytest.mark.security(
    "12",
    tried="a token in what is stored",
    control="test_a_token_by_one_statement",
)
def test_a_token_is_kept_as_a_digest() -> None:
    assert hash_token(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
