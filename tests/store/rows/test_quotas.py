"""Quotas of projects, and the turn of who makes objects."""

from __future__ import annotations

from linkspan.core.schema.resources import CONNECTION, SERVICE
from linkspan.store.rows import quotas
from linkspan.store.store import Store


def test_quotas(store: Store) -> None:
    with store.write() as tx:
        assert quotas.of_project(tx, "blue") == {}
        assert not quotas.reset_quotas(tx, "blue")
        quotas.set_quotas(tx, "blue", {"connection": 5, "service": -1})
        quotas.set_quotas(tx, "blue", {"connection": 7})
        quotas.set_quotas(tx, "red", {"service": 0})
        assert quotas.of_project(tx, "blue") == {"connection": 7, "service": -1}
        assert quotas.all_quotas(tx) == {"blue": {"connection": 7, "service": -1}, "red": {"service": 0}}
        assert quotas.reset_quotas(tx, "blue")
        assert quotas.of_project(tx, "blue") == {}


def test_the_lock_tells_the_quota_in_one_statement(store: Store) -> None:
    with store.write() as tx:
        quotas.set_quotas(tx, "blue", {"connection": 7})
        before = tx.statements
        assert quotas.lock_own_quota(tx, CONNECTION, "blue") == 7
        assert tx.statements == before + 1
        assert quotas.lock_own_quota(tx, SERVICE, "blue") is None
        assert quotas.lock_own_quota(tx, CONNECTION, "red") is None
