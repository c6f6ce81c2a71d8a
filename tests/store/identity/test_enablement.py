"""Disabled users and projects, and the last admin."""

from __future__ import annotations

import threading

import pytest

from linkspan.store.identity import enablement, tokens, users
from linkspan.store.store import Store


@pytest.fixture
def admins(store: Store) -> list[tuple[str, str]]:
    """(user, project) of two admins."""
    with store.write() as tx:
        projects = [users.add_project(tx, name)["id"] for name in ("blue", "red")]
        return [(users.add_user(tx, f"admin of {id}", "hash", id, ["admin"])["id"], id) for id in projects]


def test_issued_tokens_end_and_static_ones_pause(store: Store, admins: list[tuple[str, str]]) -> None:
    (user, project), (other, elsewhere) = admins
    with store.write() as tx:
        users.set_roles(tx, user, elsewhere, ["reader"])
        for name, by, scope, methods in (
            ("issued", user, project, ("password",)),
            ("unscoped", user, None, ("password",)),
            ("elsewhere", user, elsewhere, ("password",)),
            ("static", user, project, ()),
            ("other", other, elsewhere, ("password",)),
        ):
            tokens.add_token(tx, name, by, scope, methods=methods)

    def valid() -> list[str]:
        with store.read() as tx:
            names = ("issued", "unscoped", "elsewhere", "static", "other")
            return [name for name in names if tokens.find_token(tx, name) is not None]

    assert len(valid()) == 5
    for enabled, left in (
        (False, ["unscoped", "elsewhere", "other"]),
        (True, ["unscoped", "elsewhere", "static", "other"]),
    ):
        with store.write() as tx:
            enablement.enable_project(tx, project, enabled)
            row = users.project(tx, project)
            assert row is not None
            assert row["enabled"] is enabled
        assert valid() == left
    for enabled, left in ((False, ["other"]), (True, ["static", "other"])):
        with store.write() as tx:
            enablement.enable_user(tx, user, enabled)
            account = users.user(tx, user)
            assert account is not None
            assert account["enabled"] is enabled
        assert valid() == left


def test_an_admin_can_log_in(store: Store, admins: list[tuple[str, str]]) -> None:
    with store.write() as tx:
        (user, project), (other, elsewhere) = admins
        users.remove_user(tx, other)
        seen = [enablement.has_admin(tx)]
        for enabled in (False, True):
            enablement.enable_user(tx, user, enabled)
            seen.append(enablement.has_admin(tx))
        for hashed in ("", "hash"):
            users.set_password(tx, user, hashed)
            seen.append(enablement.has_admin(tx))
        for roles in (["manager"], ["admin", "member"]):
            users.set_roles(tx, user, project, ["manager"])
            users.set_roles(tx, user, elsewhere, roles)
            seen.append(enablement.has_admin(tx))
        for enabled in (False, True):
            enablement.enable_project(tx, elsewhere, enabled)
            seen.append(enablement.has_admin(tx))
    assert seen == [True, False, True, False, True, False, True, False, True]


def test_two_admins_cannot_remove_each_other(store: Store, admins: list[tuple[str, str]]) -> None:
    """Each transaction by itself would see the other one's admin. The second one waits for the first."""
    (user, _), (other, _) = admins
    first_has_removed, second_is_done = threading.Event(), threading.Event()
    outcomes: list[bool] = []

    def second() -> None:
        first_has_removed.wait(20.0)
        with store.write() as tx:
            enablement.lock_admins(tx)
            users.remove_user(tx, user)
            outcomes.append(enablement.has_admin(tx))
        second_is_done.set()

    thread = threading.Thread(target=second)
    thread.start()
    with store.write() as tx:
        enablement.lock_admins(tx)
        users.remove_user(tx, other)
        first_has_removed.set()
        # Without the lock, the second one is done in this time.
        assert not second_is_done.wait(0.3)
        assert enablement.has_admin(tx)
    thread.join(20.0)
    assert outcomes == [False]
