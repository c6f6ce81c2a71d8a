"""Quotas of projects, and the turn of who makes objects."""

from __future__ import annotations

from linkspan.core.schema.resources import CONNECTION, SERVICE
from linkspan.store.store import Store


def test_quotas(store: Store) -> None:
    with store.write() as tx:
        assert tx.quotas("blue") == {}
        assert not tx.reset_quotas("blue")
        tx.set_quotas("blue", {"connection": 5, "service": -1})
        tx.set_quotas("blue", {"connection": 7})
        tx.set_quotas("red", {"service": 0})
        assert tx.quotas("blue") == {"connection": 7, "service": -1}
        assert tx.all_quotas() == {"blue": {"connection": 7, "service": -1}, "red": {"service": 0}}
        assert tx.reset_quotas("blue")
        assert tx.quotas("blue") == {}


def test_a_claim_tells_the_quota_in_one_statement(store: Store) -> None:
    with store.write() as tx:
        tx.set_quotas("blue", {"connection": 7})
        before = tx.statements
        assert tx.claim(CONNECTION, "blue") == 7
        assert tx.statements == before + 1
        assert tx.claim(SERVICE, "blue") is None
        assert tx.claim(CONNECTION, "red") is None
