"""Lists by status: the right objects, out of as few rows as it takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from linkspan.core.schema.list_query import Query
from linkspan.core.schema.resources import CONNECTION, SERVICE, Resource
from linkspan.core.state.observed import ConnectionReport, GatewayReport
from linkspan.core.state.status import GRACE
from linkspan.store.nodes import reports
from linkspan.store.rows import candidates, reading
from linkspan.store.rows.mapping import Mapper
from tests.api.conftest import OpenApi
from tests.api.world import Api, LocalSite, Node
from tests.harness.databases import Clock

STATUSES = ("ACTIVE", "DOWN", "ERROR", "PENDING_CREATE", "PENDING_UPDATE", "PENDING_DELETE")
LISTS = {"connections": CONNECTION, "services": SERVICE}


def connect(site: LocalSite, number: int, **more: Any) -> str:
    """Creates a connection; returns its id."""
    peer = f"203.0.113.{number}"
    values = {"name": f"c{number % 3}", "peer_address": peer, "peer_id": peer, "peer_cidrs": [f"10.9.{number}.0/24"]}
    created: str = site.connection(**(values | more))["id"]
    return created


def say(node: Node, state: Any, *ids: str) -> None:
    """Reports connections of the node's only gateway."""
    revision = node.desired()["revision"]
    node.report(*(ConnectionReport(id, 1, revision, state, "" if state == "up" else "a reason") for id in ids))


@pytest.fixture
def mixed(open_api: OpenApi) -> Iterator[Api]:
    """Connections and services with every status: on a node that is lost, on one that is alive, and on none."""
    clock = Clock()
    with open_api(store={"clock": clock, "lease": 30.0}) as api:
        waiting = LocalSite(api, "198.51.102.0/24")
        connect(waiting, 1)
        clock.pass_(120)
        lost = api.node("lost")
        for number in (2, 3):
            connect(waiting, number)
        lost.apply_desired()
        clock.pass_(120)
        alive = api.node("alive")
        site = LocalSite(api, "198.51.103.0/24")
        ids = [connect(site, number) for number in range(4, 14)]
        connect(site, 14, admin_state_up=False)
        alive.apply_desired()
        clock.pass_(10)
        say(alive, "down", ids[0], ids[1])
        say(alive, "error", ids[2])
        api.update(f"/vpn/ipsec-site-connections/{ids[3]}", "ipsec_site_connection", mtu=1400)
        api.delete(f"/vpn/ipsec-site-connections/{ids[4]}")
        api.update(f"/vpn/ipsec-site-connections/{ids[5]}", "ipsec_site_connection", mtu=1400)
        say(alive, "up", ids[5])
        say(alive, "down", ids[6])
        say(alive, "up", ids[6])
        connect(site, 15)
        other = LocalSite(api, "198.51.104.0/24")
        api.update(f"/vpn/vpnservices/{other.service['id']}", "vpnservice", admin_state_up=False)
        router = other.router["id"]
        alive.report(GatewayReport(router, 1, alive.desired()["revision"], "ready"))
        late = LocalSite(api, "198.51.105.0/24")
        alive.report(GatewayReport(late.router["id"], 1, alive.desired()["revision"], "error", "broken"))
        yield api


def path(resource: Resource) -> str:
    """The path of a list."""
    return f"/{resource.path}"


def pages(api: Api, resource: Resource, query: str, size: int) -> Iterator[str]:
    """The ids on all pages of a query."""
    marker = ""
    while True:
        found = api.get(f"{path(resource)}?limit={size}{query}{marker}")[resource.plural]
        yield from (item["id"] for item in found)
        if len(found) < size:
            return
        marker = f"&marker={found[-1]['id']}"


@pytest.mark.parametrize("most", [candidates.MOST, 1], ids=["few candidates", "many candidates"])
@pytest.mark.parametrize("resource", LISTS.values(), ids=list(LISTS))
def test_a_list_by_status_has_what_has_it(
    mixed: Api, resource: Resource, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "MOST", most)
    every = mixed.get(path(resource))[resource.plural]
    seen = {item["status"] for item in every}
    assert seen >= ({*STATUSES} if resource is CONNECTION else {"ACTIVE", "DOWN", "ERROR"})
    for wanted in [(status,) for status in STATUSES] + [
        ("DOWN", "ERROR"),
        ("ERROR", "PENDING_DELETE"),
        ("ACTIVE", "DOWN"),
        ("rubbish",),
    ]:
        for order in ("", "&sort_key=created_at&sort_dir=desc", "&sort_key=name&sort_dir=desc"):
            query = "".join(f"&status={status}" for status in wanted) + order
            ordered = mixed.get(f"{path(resource)}?limit=100{order}")[resource.plural]
            expected = [item["id"] for item in ordered if item["status"] in wanted]
            for size in (1, 2, 100):
                assert list(pages(mixed, resource, query, size)) == expected, (wanted, order, size)
            if expected:
                last = mixed.get(f"{path(resource)}?limit=2{query}&page_reverse=True")[resource.plural]
                assert [item["id"] for item in last] == expected[-2:]


def test_without_marks_of_what_is_settled_objects_are_missed(mixed: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: if every report counted as settled, what is down would be in no list."""
    id = mixed.get(f"{path(CONNECTION)}?status=ACTIVE")[CONNECTION.plural][0]["id"]
    monkeypatch.setattr(reports, "_record_settled", lambda *_: None)
    node = Node(mixed, "alive")
    say(node, "down", id)
    assert mixed.get(f"{path(CONNECTION)}/{id}")[CONNECTION.singular]["status"] == "DOWN"
    assert id not in list(pages(mixed, CONNECTION, "&status=DOWN", 100))


@pytest.fixture
def rows_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the rows of lists that are read."""
    count = [0]
    original = Mapper.row

    def counted(self: Mapper, *arguments: Any) -> Any:
        count[0] += 1
        return original(self, *arguments)

    monkeypatch.setattr(Mapper, "row", counted)
    return count


@pytest.mark.parametrize(
    ("query", "most"),
    [
        ("status=DOWN", 3),
        ("status=ERROR", 3),
        ("status=PENDING_DELETE", 3),
        ("status=DOWN&sort_key=created_at&sort_dir=desc", 3),
        ("status=ACTIVE", 30),
        ("status=ACTIVE&effective_mtu=", 30),
        ("", 25),
    ],
)
def test_a_page_reads_few_rows(open_api: OpenApi, rows_read: list[int], query: str, most: int) -> None:
    with open_api() as api:
        node = api.node()
        site = LocalSite(api)
        ids = [connect(site, number) for number in range(90)]
        node.apply_desired()
        say(node, "down", *ids[40:43])
        rows_read[0] = 0
        found = api.get(f"{path(CONNECTION)}?limit=5&{query}")[CONNECTION.plural]
        assert len(found) == (3 if "DOWN" in query else 0 if "ERROR" in query or "DELETE" in query else 5)
        assert rows_read[0] <= most


def test_what_changed_before_the_grace_period_is_no_candidate_for_pending(
    open_api: OpenApi, rows_read: list[int]
) -> None:
    clock = Clock()
    with open_api(store={"clock": clock, "lease": 10 * GRACE}) as api:
        node = api.node()
        site = LocalSite(api)
        ids = [connect(site, number) for number in range(9)]
        node.apply_desired()
        say(node, "down", *ids[:3])
        for passed, read in ((0.0, 3), (GRACE + 1, 0)):
            clock.pass_(passed)
            rows_read[0] = 0
            assert api.get(f"{path(CONNECTION)}?limit=5&status=PENDING_UPDATE")[CONNECTION.plural] == []
            assert rows_read[0] == read
        assert len(api.get(f"{path(CONNECTION)}?limit=5&status=DOWN")[CONNECTION.plural]) == 3


def test_without_candidates_every_row_is_read(
    open_api: OpenApi, rows_read: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control."""
    monkeypatch.setattr(candidates, "excludes_active", lambda *_: False)
    with open_api() as api:
        node = api.node()
        site = LocalSite(api)
        for number in range(90):
            connect(site, number)
        node.apply_desired()
        rows_read[0] = 0
        assert api.get(f"{path(CONNECTION)}?limit=5&status=DOWN")[CONNECTION.plural] == []
        assert rows_read[0] == 90


def test_long_lists_are_read_in_parts(mixed: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    every = [item["id"] for item in mixed.get(path(CONNECTION))[CONNECTION.plural]]
    monkeypatch.setattr(reading, "PART", 2)
    with mixed.store.read() as tx:
        query = Query(limit=1)
        assert [row["id"] for row in reading.scan(tx, CONNECTION, query)] == every
        assert tx.statements > 3
        backwards = Query(limit=1, page_reverse=True)
        assert [row["id"] for row in reading.scan(tx, CONNECTION, backwards)] == every[::-1]
