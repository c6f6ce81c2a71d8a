"""Lists: filters, order and pages are what a plain Python sort would give, for any request."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from linkspan.core.schema.list_query import Query
from linkspan.core.schema.resources import CONNECTION, IKE_POLICY, NETWORK, SERVICE
from linkspan.store.rows import reading, writing
from linkspan.store.store import Row, Store
from tests.harness.examples import examples
from tests.store.conftest import World

ATTRIBUTES = ("name", "description", "pfs", "ike_version", "id")
POLICIES = [
    {"name": name, "description": description, "pfs": pfs, "ike_version": version}
    for name in ("", "a", "B", "ä")
    for description in ("", "x")
    for pfs, version in (("group14", "v2"), ("group15", "v1"), ("group2", "v2"))
]


@pytest.fixture
def policies(store: Store) -> list[Row]:
    with store.write() as tx:
        writing.insert(tx, IKE_POLICY, {"project_id": "red", "name": "a"})
        return [writing.insert(tx, IKE_POLICY, {"project_id": "blue", **values}) for values in POLICIES]


def ordered(rows: list[Row], sort: list[tuple[str, bool]]) -> list[Row]:
    """The rows in this order, by stable sorts from the last key to the first."""
    for name, descending in reversed([*sort, ("id", False)] if "id" not in dict(sort) else sort):
        rows = sorted(rows, key=lambda row: row[name].encode(), reverse=descending)
    return rows


SORTS = st.lists(st.tuples(st.sampled_from(ATTRIBUTES), st.booleans()), max_size=3, unique_by=lambda pair: pair[0])
FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.lists(st.sampled_from(["", "a", "B", "none"]), min_size=1, max_size=3).map(tuple),
        "ike_version": st.sampled_from([("v1",), ("v2",), ("v1", "v2")]),
    },
)


@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sort=SORTS, filters=FILTERS, limit=st.integers(1, 7), reverse=st.booleans())
def test_pages_make_up_the_list(
    store: Store,
    policies: list[Row],
    sort: list[tuple[str, bool]],
    filters: dict[str, Any],
    limit: int,
    reverse: bool,
) -> None:
    wanted = [row for row in policies if all(row[name] in values for name, values in filters.items())]
    wanted = ordered(wanted, sort or [("name", False)])
    with store.read() as tx:
        got = reading.find(tx, IKE_POLICY, Query(filters=filters, sort=tuple(sort)), "blue")
        assert got == wanted
        pages: list[Row] = []
        marker = None
        while True:
            page = reading.find(
                tx,
                IKE_POLICY,
                Query(filters=filters, sort=tuple(sort), limit=limit, marker=marker, page_reverse=reverse),
                "blue",
            )
            pages = [*page, *pages] if reverse else [*pages, *page]
            if len(page) < limit:
                break
            marker = page[0]["id"] if reverse else page[-1]["id"]
    assert pages == wanted


def test_an_unknown_or_foreign_marker_gives_nothing(store: Store, policies: list[Row]) -> None:
    with store.read() as tx:
        assert reading.find(tx, IKE_POLICY, Query(limit=5, marker="nowhere"), "blue") == []
        assert reading.find(tx, IKE_POLICY, Query(limit=5, marker=policies[0]["id"]), "red") == []


def test_filters_by_null_number_and_truth(world: World) -> None:
    plain = world.service()
    with world.store.write() as tx:
        router = world.router(tx)
        free = writing.insert(
            tx, SERVICE, {"project_id": "blue", "router_id": router[0], "name": "z", "admin_state_up": False}
        )
    world.connection(plain["id"], mtu=1400)
    world.connection(plain["id"])
    with world.store.read() as tx:
        assert [row["id"] for row in reading.find(tx, SERVICE, Query(filters={"subnet_id": (None,)}))] == [free["id"]]
        both = Query(filters={"subnet_id": (None, plain["subnet_id"])}, sort=(("subnet_id", False),))
        assert [row["id"] for row in reading.find(tx, SERVICE, both)] == [free["id"], plain["id"]]
        page = reading.find(tx, SERVICE, Query(sort=(("subnet_id", False),), marker=free["id"], limit=3))
        assert [row["id"] for row in page] == [plain["id"]]
        assert [row["id"] for row in reading.find(tx, SERVICE, Query(filters={"admin_state_up": (False,)}))] == [
            free["id"]
        ]
        assert len(reading.find(tx, CONNECTION, Query(filters={"mtu": (1400,)}))) == 1
        assert len(reading.find(tx, NETWORK, Query(filters={"router:external": (True,)}))) == 1
        assert reading.find(tx, CONNECTION, Query(filters={"mtu": ()})) == []


def test_fields_without_the_key_leave_it_closed(world: World) -> None:
    world.connection(world.service()["id"])
    with world.store.read() as tx:
        assert "psk" not in reading.find(tx, CONNECTION, Query(fields=("id", "name")))[0]
        assert "psk" in reading.find(tx, CONNECTION, Query(fields=("psk",)))[0]


@pytest.mark.parametrize("project", ["blue", None])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_page_starts_at_its_marker(world: World, project: str | None, reverse: bool) -> None:
    """Whatever comes before it costs nothing, also where all names are the same."""
    service = world.service()
    ids = [world.connection(service["id"])["id"] for _ in range(3)]
    with world.store.read() as tx:
        statement = reading._find(CONNECTION.name, project is not None, (), (("name", False),), True, True, reverse)
        connection = tx.connection
        values = {"project": project, "marker": sorted(ids)[1], "now": tx.now, "limit": 100}
        text, parameters = statement._parameters(connection.dialect, values)
        cursor = connection.driver.cursor()
        if connection.dialect.name == "sqlite":
            cursor.execute(f"EXPLAIN QUERY PLAN {text}", parameters)
            plan = "\n".join(row[3] for row in cursor.fetchall())
            start = f"(name,id){'<' if reverse else '>'}(?,?)"
            index = (
                f"ix_connection_project_id (project_id=? AND {start})" if project else f"ix_connection_name ({start})"
            )
            assert f"connection USING INDEX {index}" in plan, plan
            assert "TEMP B-TREE" not in plan
            return
        # Three rows are quicker read than found; many are not.
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off")
        cursor.execute(f"EXPLAIN {text}", parameters)
        plan = "\n".join(row[0] for row in cursor.fetchall())
        assert "ix_connection_project_id" in plan if project else "ix_connection_name" in plan, plan
        side = "<" if reverse else ">"
        assert re.search(rf"Index Cond: .*ROW\((connection\.)?name, (connection\.)?id\) {side} ROW", plan), plan
