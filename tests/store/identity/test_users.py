"""Projects, users and roles."""

from __future__ import annotations

import pytest

from linkspan.store.identity import users
from linkspan.store.identity.users import hash_password, verify_password
from linkspan.store.store import Conflict, Store


def test_users_and_their_roles(store: Store) -> None:
    with store.write() as tx:
        blue, red = users.add_project(tx, "blue"), users.add_project(tx, "red", id="r", description="the other")
        user = users.add_user(tx, "ada", "hash", blue["id"], ["member", "reader"])
        users.set_roles(tx, user["id"], red["id"], ["admin"])
        users.add_user(tx, "bob", "hash", red["id"])
    with store.read() as tx:
        row = users.user_by_name(tx, "ada")
        assert row == users.user(tx, user["id"])
        assert users.user_by_name(tx, "eve") is None
        assert [each["name"] for each in users.all_users(tx)] == ["ada", "bob"]
        assert [each["name"] for each in users.all_projects(tx)] == ["blue", "red"]
        assert users.project(tx, name="red") == users.project(tx, id="r") == red
        assert users.project(tx, id="x") is None
    assert row == {
        "id": user["id"],
        "name": "ada",
        "description": "",
        "email": None,
        "enabled": True,
        "password_hash": "hash",
        "project_id": blue["id"],
        "project_name": "blue",
        "project_enabled": True,
        "roles": ["member", "reader"],
        "grants": {blue["id"]: ["member", "reader"], "r": ["admin"]},
    }
    with store.write() as tx:
        users.set_password(tx, user["id"], "other")
        users.set_roles(tx, user["id"], blue["id"], [])
        users.remove_project(tx, "r")
        row = users.user(tx, user["id"])
        assert row is not None
        assert (row["password_hash"], row["grants"]) == ("other", {})
        users.remove_user(tx, user["id"])
        assert users.user(tx, user["id"]) is None


def test_names_are_taken_once(store: Store) -> None:
    with store.write() as tx:
        project = users.add_project(tx, "blue")
        users.add_user(tx, "ada", "hash", project["id"])
    with pytest.raises(Conflict), store.write() as tx:
        users.add_project(tx, "blue")
    with pytest.raises(Conflict), store.write() as tx:
        users.add_user(tx, "ada", "hash", project["id"])
    with pytest.raises(Conflict), store.write() as tx:
        users.add_user(tx, "bob", "hash", "nowhere")


def test_passwords() -> None:
    kept = hash_password("correct horse")
    assert "correct" not in kept
    assert verify_password(kept, "correct horse")
    assert not verify_password(kept, "wrong")
    assert not verify_password("not a hash", "correct horse")
