"""Which of several hosts a new connection tries first, and when a connection gives up."""

from __future__ import annotations

import time

import psycopg
import pytest
from sqlalchemy import Engine, text

from linkspan.store.database import deadlines
from linkspan.store.database import engine as engines

HOSTS = {"host": "a,b,c", "port": "1,2,3", "dbname": "x"}


@pytest.mark.parametrize(
    ("parameters", "last", "expected"),
    [
        (HOSTS, None, HOSTS),
        (HOSTS, ("b", "2"), HOSTS | {"host": "b,a,c", "port": "2,1,3"}),
        (HOSTS, ("c", "3"), HOSTS | {"host": "c,a,b", "port": "3,1,2"}),
        (HOSTS, ("b", "1"), HOSTS),
        ({"host": "a,b"}, ("b", "5432"), {"host": "b,a", "port": "5432,5432"}),
        ({"host": "a,b", "port": "7"}, ("b", "7"), {"host": "b,a", "port": "7,7"}),
        ({"host": "a"}, ("a", "5432"), {"host": "a"}),
        ({}, ("a", "5432"), {}),
    ],
)
def test_the_host_that_answered_last_is_tried_first(
    parameters: dict[str, str], last: tuple[str, str] | None, expected: dict[str, str]
) -> None:
    hosts = deadlines._Hosts()
    hosts.last = last
    assert hosts.ordered(parameters) == expected


def test_a_connection_waits_for_its_deadline_only(database: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    if database.dialect.name == "sqlite":
        pytest.skip("SQLite has no server")
    monkeypatch.setattr(deadlines, "ANSWER", 0.3)
    with database.connect() as connection:
        started = time.monotonic()
        with pytest.raises(psycopg.OperationalError, match=r"no answer within 0.3 s"):
            connection.connection.cursor().execute("SELECT pg_sleep(60)")
        assert time.monotonic() - started < 30
        connection.invalidate()
    with database.begin() as connection:
        # The control: a migration waits as long as it takes.
        engines.wait_for_ever(connection)
        connection.execute(text("SELECT pg_sleep(1)"))
