"""The timeline in the database: with what happens or not at all, in an order without gaps to see, and bounded."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable

import pytest
from sqlalchemy import Engine

from linkspan.core.state.timeline import TimelineEvent
from linkspan.store import timeline
from linkspan.store.audit import Actor
from linkspan.store.store import Store
from linkspan.store.timeline import Selection
from linkspan.store.timeline_ticker import ANYTHING, TimelineTicker, key_of
from linkspan.store.transaction import Transaction
from tests.harness.databases import open_store
from tests.harness.statements import Statements

ALICE = Actor("u1", "alice", "blue", "req-1", "192.0.2.1")
MOST = 50


def revise(store: Store, *ids: str, project: str = "blue") -> None:
    """One mutation that changes these connections."""
    with store.write() as tx:
        for id in ids:
            timeline.revised(tx, ALICE, "update", "connection", id, ("psk", "name"), own=(project, f"name of {id}"))


def order(store: Store, most: int = MOST) -> int:
    with store.write() as tx:
        return timeline.order(tx, most).events


def read(store: Store, **wanted: object) -> list[TimelineEvent]:
    with store.read() as tx:
        return timeline.page(tx, Selection(**wanted), 1000).events  # type: ignore[arg-type]


def test_an_event_is_there_if_and_only_if_the_mutation_is(database: Engine) -> None:
    store = open_store(database)
    revise(store, "a")

    def failing(tx: Transaction) -> None:
        timeline.revised(tx, ALICE, "update", "connection", "b", (), own=("blue", "b"))
        raise KeyError("no")

    with pytest.raises(KeyError), store.write() as tx:
        failing(tx)
    assert read(store) == [], "it has a place before it is ordered"
    assert order(store) == 1
    (event,) = read(store)
    assert (event.connection_id, event.connection_name, event.kind) == ("a", "name of a", "revision")
    assert event.revision is not None
    assert (event.revision.user_name, event.revision.fields) == ("alice", ("name", "psk"))


def test_events_cost_one_statement_and_their_order_few(database: Engine) -> None:
    store, statements = open_store(database), Statements(database)
    for count in (1, 400):
        ids = [f"{count}-{number}" for number in range(count)]
        with statements.counted() as sent:
            revise(store, *ids)
        assert len(sent) == 1, sent
        with statements.counted() as sent:
            assert order(store) == count
        assert len(sent) <= 7, sent


def test_a_connection_keeps_its_newest_events(database: Engine) -> None:
    store = open_store(database)
    for number in range(4 * MOST):
        revise(store, "a", *(["b"] if number < 3 else ()))
        if number % 7 == 0:
            order(store)
    order(store)
    events = read(store, connection_id="a")
    assert MOST - MOST // 10 <= len(events) <= MOST
    numbers = [int(event.id) for event in events]
    assert numbers == sorted(numbers, reverse=True)
    assert len(read(store, connection_id="b")) == 3, "events of another connection were removed"


def test_without_a_bound_they_stay(database: Engine) -> None:
    """The control."""
    store = open_store(database)
    for _ in range(2 * MOST):
        revise(store, "a")
    order(store, 10_000)
    assert len(read(store, connection_id="a")) == 2 * MOST


def test_old_events_go(database: Engine) -> None:
    store = open_store(database)
    revise(store, "a", "b")
    order(store)
    with store.write() as tx:
        assert timeline.purge(tx, tx.wall - 60.0) == 0
    assert len(read(store)) == 2
    with store.write() as tx:
        assert timeline.purge(tx, tx.wall + 60.0) == 2
    assert read(store) == []
    revise(store, "c")
    order(store)
    assert len(read(store)) == 1


def test_numbers_go_on_although_all_events_have_gone_and_the_clock_goes_back(database: Engine) -> None:
    store = open_store(database)
    revise(store, "a")
    order(store)
    (first,) = read(store)
    with store.write() as tx:
        timeline.purge(tx, tx.wall + 60.0)
    now = first.recorded_at
    store = open_store(database, clock=lambda: now - 3600.0)
    revise(store, "b")
    order(store)
    (second,) = read(store)
    assert int(second.id) > int(first.id)


def test_what_is_committed_late_has_a_later_place(database: Engine) -> None:
    """Whoever reads on after a number misses nothing, also of a transaction that began before and commits after."""
    store = open_store(database)
    if store.one_writer:
        pytest.skip("has one writer")
    began, go_on = threading.Event(), threading.Event()

    def slowly() -> None:
        with store.write() as tx:
            timeline.revised(tx, ALICE, "update", "connection", "slow", (), own=("blue", "slow"))
            timeline.flush(tx)
            began.set()
            go_on.wait(10.0)

    thread = threading.Thread(target=slowly)
    thread.start()
    assert began.wait(10.0)
    revise(store, "fast")
    order(store)
    (fast,) = read(store)
    go_on.set()
    thread.join()
    order(store)
    (slow,) = read(store, after=int(fast.id), ascending=True)
    assert (fast.connection_id, slow.connection_id) == ("fast", "slow")


def test_processes_that_order_at_the_same_time_give_each_event_one_place(database: Engine) -> None:
    stores = [open_store(database), open_store(database)]
    revise(stores[0], *(str(uuid.uuid4()) for _ in range(300)))
    tickers = [TimelineTicker(store, lambda _keys: None, MOST) for store in stores]
    threads = [threading.Thread(target=lambda ticker=ticker: [ticker.tick() for _ in range(5)]) for ticker in tickers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for ticker in tickers:
        ticker.tick()
    events = read(stores[0])
    assert len(events) == len({event.id for event in events}) == 300


def test_each_process_tells_what_is_new_whoever_has_ordered_it(database: Engine) -> None:
    store, told = open_store(database), [list[str](), list[str]()]

    def teller(box: list[str]) -> TimelineTicker:
        def changed(keys: Iterable[str]) -> None:
            box.extend(keys)

        return TimelineTicker(store, changed, MOST)

    tickers = [teller(box) for box in told]
    for ticker in tickers:
        ticker.tick()
    revise(store, "a")
    for ticker in tickers:
        ticker.tick()
        ticker.tick()
    assert [sorted(box) for box in told] == [sorted([ANYTHING, key_of("a"), key_of("blue")])] * 2


def test_a_report_begins_with_its_events_and_not_with_the_connections_of_its_node(database: Engine) -> None:
    store = open_store(database)
    if not store.one_writer:
        pytest.skip("PostgreSQL plans by statistics")
    with store.read() as tx:
        text, parameters = timeline._reported._parameters(
            tx.connection.dialect, {"events": "[]", "now": 0, "node": "n"}
        )
        cursor = tx.connection.driver.cursor()
        cursor.execute(f"EXPLAIN QUERY PLAN {text}", parameters)
        plan = [row[3] for row in cursor.fetchall()]
    assert "VIRTUAL TABLE" in plan[0], plan
    assert not any(step.startswith("SCAN") for step in plan[1:]), plan
