"""Tokens and application credentials: found by one statement, gone when what they hang on goes."""

from __future__ import annotations

import pytest

from linkspan.store.identity.tokens import hash_token
from linkspan.store.store import Conflict, Row, Store
from tests.harness.databases import Clock, open_store


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def timed(store: Store, clock: Clock) -> Store:
    """The store with a clock of the test's own."""
    return open_store(store._engine, clock=clock)


@pytest.fixture
def ada(timed: Store) -> Row:
    """A member of blue."""
    with timed.write() as tx:
        project = tx.add_project("blue")
        return tx.add_user("ada", "hash", project["id"], ["member", "reader"])


def credential(ada: Row, **more: object) -> Row:
    """Values of an application credential."""
    values = {
        "user_id": ada["id"],
        "project_id": ada["project_id"],
        "name": "ci",
        "secret_hash": "s",
        "roles": ["reader"],
    }
    return values | more


def test_a_token_by_one_statement(timed: Store, clock: Clock, ada: Row) -> None:
    with timed.write() as tx:
        made = tx.add_token("h", ada["id"], ada["project_id"], "ci", clock.now + 10)
    with timed.read() as tx:
        assert tx.token("h") == {
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
        assert tx.token("other") is None


def test_tokens_expire_and_are_swept(timed: Store, clock: Clock, ada: Row) -> None:
    with timed.write() as tx:
        tx.add_token("static", ada["id"], ada["project_id"])
        tx.add_token("short", ada["id"], ada["project_id"], expires_at=clock.now + 10, methods=("password",))
        assert tx.sweep_tokens() == 0
    clock.pass_(10)
    with timed.write() as tx:
        assert tx.token("short") is None
        assert tx.token("static") is not None
        assert (tx.sweep_tokens(), tx.sweep_tokens()) == (1, 0)
        tx.remove_token("static")
        assert tx.token("static") is None


def test_static_tokens_are_listed_and_removed_by_id(timed: Store, ada: Row) -> None:
    with timed.write() as tx:
        made = tx.add_token("static", ada["id"], ada["project_id"], "ci")
        issued = tx.add_token("issued", ada["id"], None, methods=("password",))
        assert [(row["id"], row["user_name"], row["name"]) for row in tx.static_tokens()] == [(made["id"], "ada", "ci")]
        assert not tx.remove_static_token(issued["id"])
        assert tx.remove_static_token(made["id"])
        assert tx.static_tokens() == []
        token = tx.token("issued")
        assert token is not None
        assert (token["project_id"], token["roles"], token["methods"]) == (None, [], ("password",))


def test_another_password_ends_what_the_first_one_got(timed: Store, ada: Row) -> None:
    with timed.write() as tx:
        tx.add_token("static", ada["id"], ada["project_id"])
        tx.add_token("issued", ada["id"], ada["project_id"], methods=("token", "password"))
        tx.set_password(ada["id"], "other")
        assert tx.token("issued") is None
        assert tx.token("static") is not None


def test_credentials(timed: Store, ada: Row) -> None:
    with timed.write() as tx:
        made = tx.add_credential(credential(ada, expires_at=5.0, unrestricted=True))
        other = tx.add_credential(credential(ada, name="a", roles=["reader", "member"]))
        assert [row["name"] for row in tx.credentials(ada["id"])] == ["a", "ci"]
        assert tx.credential(made["id"]) == made | {"user_name": "ada", "project_name": "blue"}
        assert tx.credential("x") is None
        tx.add_token("h", ada["id"], ada["project_id"], methods=("application_credential",), credential_id=other["id"])
        token = tx.token("h")
        assert token is not None
        assert token["credential"] == {
            "id": other["id"],
            "name": "a",
            "roles": ["member", "reader"],
            "unrestricted": False,
        }
        tx.remove_credential(other["id"])
        assert tx.token("h") is None
    with pytest.raises(Conflict), timed.write() as tx:
        tx.add_credential(credential(ada))


@pytest.mark.parametrize("gone", ["user", "project"])
def test_nothing_outlives_its_user_or_project(timed: Store, ada: Row, gone: str) -> None:
    with timed.write() as tx:
        made = tx.add_credential(credential(ada))
        tx.add_token("h", ada["id"], ada["project_id"])
        if gone == "user":
            tx.remove_user(ada["id"])
        else:
            tx.remove_project(ada["project_id"])
        assert tx.token("h") is None
        assert tx.credential(made["id"]) is None


def test_a_token_is_kept_as_a_digest() -> None:
    assert hash_token(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
