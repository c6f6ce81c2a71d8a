"""The audit trail: with the mutation or not at all, chained in the order of commits, and every change of it shows."""

from __future__ import annotations

import threading
import time
import uuid
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from sqlalchemy import Engine, text

from linkspan.core import audit as trail
from linkspan.core.audit import AuditEntry, Head
from linkspan.store import audit
from linkspan.store.audit import Actor
from linkspan.store.audit_ticker import AuditTicker
from linkspan.store.database.statements import Statement
from linkspan.store.envelopes import Keyring
from linkspan.store.store import Store
from linkspan.store.transaction import Transaction, new_ordered_id
from tests.harness.databases import open_store
from tests.harness.statements import Statements

ALICE = Actor("u1", "alice", "blue", "req-1", "192.0.2.1")


def write(store: Store, *objects: str) -> None:
    """One mutation, with an entry for each of these objects."""
    with store.write() as tx:
        for id in objects:
            audit.record(tx, ALICE, "update", "router", id, "blue", ("name", "admin_state_up"))


def verdict(store: Store) -> audit.ChainVerdict:
    """What a verification finds."""
    with store.read() as tx:
        return audit.verify(tx)


def entries(store: Store, **filters: str) -> list[AuditEntry]:
    """All entries, the newest one first."""
    with store.read() as tx:
        return audit.page(tx, filters, 1000)


@pytest.mark.security(
    "14",
    tried="transactions that are rolled back, and that are not",
    control="test_every_change_shows",
)
def test_an_entry_is_there_if_and_only_if_the_mutation_is(database: Engine) -> None:
    store = open_store(database)
    write(store, "a")

    def failing(tx: Transaction) -> None:
        audit.record(tx, ALICE, "create", "router", "b")
        raise KeyError("no")

    with pytest.raises(KeyError), store.write() as tx:
        failing(tx)
    (entry,) = entries(store)
    assert (entry.object_id, entry.user_name, entry.fields) == ("a", "alice", ("admin_state_up", "name"))
    assert (entry.number, entry.hash) == (None, None)


def test_entries_cost_one_statement(database: Engine) -> None:
    store, statements = open_store(database), Statements(database)
    with statements.counted() as sent:
        write(store, *map(str, range(100)))
    assert len(sent) == 1, sent
    assert len(entries(store)) == 100


def test_a_trail_is_chained_and_whole(database: Engine) -> None:
    store = open_store(database)
    assert verdict(store) == audit.ChainVerdict(Head(), 0, "")
    assert store.seal_audit() == 0
    write(store, "a", "b")
    write(store, "c")
    assert verdict(store).unsealed == 3
    assert store.seal_audit() == 3
    write(store, "d")
    assert store.seal_audit() == 1
    assert store.seal_audit() == 0
    assert sorted(entry.number or 0 for entry in entries(store)) == [1, 2, 3, 4]
    found = verdict(store)
    assert (found.head.number, found.unsealed, found.fault) == (4, 0, "")
    hashes = {entry.number: entry.hash for entry in entries(store)}
    assert found.head.hash == hashes[4]
    assert len(set(hashes.values())) == 4


def sealed(database: Engine) -> Store:
    """A store with five sealed entries."""
    store = open_store(database)
    for id in "abcde":
        write(store, id)
        store.seal_audit()
    assert verdict(store).fault == ""
    return store


def forge(database: Engine, *statements: str, **values: Any) -> None:
    """Changes the database as somebody does who has its password, and not the key file."""
    with database.begin() as connection:
        for statement in statements:
            connection.execute(text(statement), values)


TEXTS = "resource object_id project_id user_id user_name user_project_id request_id source"
CHANGES = (
    *(f"UPDATE audit SET {column} = 'x' WHERE number = 3" for column in TEXTS.split()),
    "UPDATE audit SET action = 'delete' WHERE number = 3",
    "UPDATE audit SET fields = '[]' WHERE number = 3",
    "UPDATE audit SET at = at - 1 WHERE number = 3",
    "UPDATE audit SET count = 2 WHERE number = 3",
    "UPDATE audit SET hash = 'x' WHERE number = 3",
    "UPDATE audit SET id = 'x' WHERE number = 3",
    "DELETE FROM audit WHERE number = 3",
    "DELETE FROM audit WHERE number = 1",
    "DELETE FROM audit WHERE number = 5",
    "DELETE FROM audit WHERE number > 2",
    "DELETE FROM audit",
    "DELETE FROM audit_head",
    "UPDATE audit SET number = 6 WHERE number = 5",
    "UPDATE audit_head SET number = 4, hash = (SELECT hash FROM audit WHERE number = 4)",
    "UPDATE audit_head SET base = 1, base_hash = (SELECT hash FROM audit WHERE number = 1)",
    "UPDATE audit_head SET seal = 'x'",
    "UPDATE audit_head SET key_id = 'another'",
    f"INSERT INTO audit SELECT 'y', 6, at, action, {TEXTS.replace(' ', ', ')}, fields, count, hash FROM audit LIMIT 1",
)


class Undone(Exception):
    """Rolls a transaction back."""


def test_every_change_shows(database: Engine) -> None:
    store = sealed(database)
    for change in CHANGES:
        with suppress(Undone), store.write() as tx:
            tx.run(Statement(text(change)))
            assert audit.verify(tx).fault, change
            raise Undone
    assert verdict(store).fault == ""


def test_a_chain_that_is_made_anew_shows(database: Engine) -> None:
    """All hashes fit; the seal of the newest one needs the key file. The control: whoever has that can do it."""
    store = sealed(database)
    number, digest = 0, trail.START
    with database.begin() as connection:
        for entry in sorted(entries(store), key=lambda entry: entry.number or 0):
            forged = trail.chained(msgspec.structs.replace(entry, user_name="bob"), number + 1, digest)
            number, digest = number + 1, forged.hash or ""
            values = {"hash": digest, "id": entry.id}
            connection.execute(text("UPDATE audit SET user_name = 'bob', hash = :hash WHERE id = :id"), values)
    forge(database, "UPDATE audit_head SET hash = :hash", hash=digest)
    assert "seal" in verdict(store).fault
    key_id, seal = store._keyring.seal_audit(Head(0, trail.START, number, digest).text())
    forge(database, "UPDATE audit_head SET seal = :seal, key_id = :key_id", seal=seal, key_id=key_id)
    assert verdict(store).fault == ""


def test_a_seal_outlives_the_key_that_it_was_made_with(database: Engine) -> None:
    """The next seal is made with the new key, and then the old one can go."""
    old, new = bytes(32), bytes(range(32))
    first = Keyring({"old": old})
    text_ = Head(number=1).text()
    key_id, seal = first.seal_audit(text_)
    both = Keyring({"new": new, "old": old})
    assert both.sealed_audit(key_id, seal, text_)
    key_id, seal = both.seal_audit(text_)
    assert (key_id, Keyring({"new": new}).sealed_audit(key_id, seal, text_)) == ("new", True)
    assert not Keyring({"new": old}).sealed_audit(key_id, seal, text_)


def test_retention_removes_from_the_oldest_on_and_the_rest_is_whole(database: Engine) -> None:
    store = open_store(database)
    for id in "abcde":
        write(store, id)
        if id in "abd":
            forge(database, "UPDATE audit SET at = 1000 WHERE object_id = :id", id=id)
        store.seal_audit()
    write(store, "unsealed")
    assert store.purge_audit(86_400.0) == 2, "d is behind c, which stays"
    left = {entry.object_id for entry in entries(store)}
    assert left == {"c", "d", "e", "unsealed"}
    found = verdict(store)
    assert (found.head.base, found.fault) == (2, "")
    assert store.purge_audit(86_400.0) == 0
    forge(database, "DELETE FROM audit WHERE object_id = 'c'")
    assert verdict(store).fault
    # All of it can go.
    assert open_store(database).purge_audit(-1.0) >= 1


def test_the_ticker_chains(database: Engine) -> None:
    store = open_store(database)
    with AuditTicker(store, retention=3600.0, interval=0.01):
        for id in "abc":
            write(store, id)
    # What was written last is chained at its end.
    found = verdict(store)
    assert (found.head.number, found.unsealed, found.fault) == (3, 0, "")


def test_writers_do_not_wait_for_each_other_nor_for_the_chain(database: Engine) -> None:
    store = open_store(database)
    if store.one_writer:
        pytest.skip("SQLite has one writer")
    with store.write() as slow:
        audit.record(slow, ALICE, "create", "router", "slow")
        audit.flush(slow)
        # While this one is open, others commit and are chained.
        write(store, "quick")
        assert store.seal_audit() == 1
    assert store.seal_audit() == 1
    places = {entry.object_id: entry.number for entry in entries(store)}
    assert places == {"quick": 1, "slow": 2}, "the order of commits, not of beginnings"
    assert verdict(store).fault == ""


def test_many_writers_and_chains_make_one(database: Engine) -> None:
    store = open_store(database)
    faults: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for count in range(20):
                write(store, f"{number}-{count}")
                if count % 5 == number % 5:
                    try:
                        store.seal_audit()
                    except Exception as error:  # a Conflict of the first heads; anything else fails below
                        if type(error).__name__ != "Conflict":
                            raise
        except BaseException as error:  # for the assertion
            faults.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    store.seal_audit()
    found = verdict(store)
    assert (found.head.number, found.unsealed, found.fault) == (120, 0, "")


def test_ids_are_in_the_order_in_which_they_were_made() -> None:
    ids = []
    for _ in range(50):
        ids.append(new_ordered_id())
        before = time.time_ns()
        while time.time_ns() - before < 2_000:
            pass
    assert ids == sorted(ids)
    assert {uuid.UUID(id).version for id in ids} == {7}
