"""Projects, users and roles."""

from __future__ import annotations

import pytest

from linkspan.store.identity.users import hash_password, verify_password
from linkspan.store.store import Conflict, Store


def test_users_and_their_roles(store: Store) -> None:
    with store.write() as tx:
        blue, red = tx.add_project("blue"), tx.add_project("red", id="r", description="the other")
        user = tx.add_user("ada", "hash", blue["id"], ["member", "reader"])
        tx.set_roles(user["id"], red["id"], ["admin"])
        tx.add_user("bob", "hash", red["id"])
    with store.read() as tx:
        row = tx.user_by_name("ada")
        assert row == tx.user(user["id"])
        assert tx.user_by_name("eve") is None
        assert [each["name"] for each in tx.users()] == ["ada", "bob"]
        assert [each["name"] for each in tx.projects()] == ["blue", "red"]
        assert tx.project(name="red") == tx.project(id="r") == red
        assert tx.project(id="x") is None
    assert row == {
        "id": user["id"],
        "name": "ada",
        "password_hash": "hash",
        "project_id": blue["id"],
        "project_name": "blue",
        "roles": ["member", "reader"],
        "grants": {blue["id"]: ["member", "reader"], "r": ["admin"]},
    }
    with store.write() as tx:
        tx.set_password(user["id"], "other")
        tx.set_roles(user["id"], blue["id"], [])
        tx.remove_project("r")
        row = tx.user(user["id"])
        assert row is not None
        assert (row["password_hash"], row["grants"]) == ("other", {})
        tx.remove_user(user["id"])
        assert tx.user(user["id"]) is None


def test_names_are_taken_once(store: Store) -> None:
    with store.write() as tx:
        project = tx.add_project("blue")
        tx.add_user("ada", "hash", project["id"])
    with pytest.raises(Conflict), store.write() as tx:
        tx.add_project("blue")
    with pytest.raises(Conflict), store.write() as tx:
        tx.add_user("ada", "hash", project["id"])
    with pytest.raises(Conflict), store.write() as tx:
        tx.add_user("bob", "hash", "nowhere")


def test_passwords() -> None:
    kept = hash_password("correct horse")
    assert "correct" not in kept
    assert verify_password(kept, "correct horse")
    assert not verify_password(kept, "wrong")
    assert not verify_password("not a hash", "correct horse")
