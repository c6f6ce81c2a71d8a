"""How many statements a request costs, whatever the number of rows."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine

from linkspan.api.http.caller import Caller
from linkspan.api.http.messages import Request
from linkspan.core.schema.resources import CONNECTION, ENDPOINT_GROUP, IKE_POLICY, IPSEC_POLICY, RESOURCES, Resource
from linkspan.store.rows import writing
from linkspan.store.store import Store
from tests.api.conftest import OpenApi
from tests.api.world import CONNECTIONS, Api, LocalSite
from tests.harness.crowd import Crowd, Crowds
from tests.harness.statements import Statements

MANY = 1000
CREATE = 8
"""The most statements that a new connection costs."""


class Member:
    """Everybody is a member of one project."""

    def __init__(self) -> None:
        self.project = "nobody's"

    def cached(self, call: Request) -> Caller | None:
        """Whoever asks."""
        return self.identify(call)

    def identify(self, call: Request) -> Caller:
        """Whoever asks."""
        return Caller("1", "alice", self.project, frozenset({"member"}))


def fill(store: Store, connections: int, siblings: int, others: int) -> Crowd:
    """A project with so many connections, and policies and groups."""
    crowd = Crowds(store).add("crowd", connections, siblings)
    with store.write() as tx:
        for number in range(others):
            for resource in (IKE_POLICY, IPSEC_POLICY):
                writing.insert(tx, resource, {"project_id": crowd.project, "name": str(number)})
        for _ in range(others + 1):
            values = {"project_id": crowd.project, "type": "cidr", "endpoints": ["10.0.0.0/24"]}
            writing.insert(tx, ENDPOINT_GROUP, values)
    return crowd


def path(resource: Resource) -> str:
    """Of a resource's list, behind /v2.0."""
    return f"/{resource.path}"


@pytest.mark.parametrize(("connections", "least"), [(1, 1), (MANY, 10)])
def test_reads_are_one_statement(database: Engine, open_api: OpenApi, connections: int, least: int) -> None:
    statements = Statements(database)
    member = Member()
    with open_api(auth=member, store={"lease": 3600.0}) as api:
        for resource in RESOURCES:
            with statements.counted() as sent:
                assert api.get(path(resource))[resource.plural] == []
            assert len(sent) == 1, (resource.name, sent)
        member.project = fill(api.store, connections, 100, least - 1).project
        for resource in RESOURCES:
            with statements.counted() as sent:
                found = api.get(path(resource))[resource.plural]
            assert len(found) == connections if resource is CONNECTION else len(found) >= least
            assert len(sent) == 1, (resource.name, sent)
            with statements.counted() as sent:
                api.get(f"{path(resource)}/{found[-1]['id']}")
            assert len(sent) == 1, (resource.name, sent)


@pytest.mark.parametrize(
    "query", ["name=site-000003", "limit=2", "limit=2&page_reverse=True", "status=ACTIVE", "fields=id", "marker={}"]
)
def test_a_page_is_one_statement(database: Engine, open_api: OpenApi, query: str) -> None:
    statements = Statements(database)
    member = Member()
    with open_api(auth=member, store={"lease": 3600.0}) as api:
        crowd = fill(api.store, 5, 5, 0)
        member.project = crowd.project
        with statements.counted() as sent:
            found = api.get(f"{CONNECTIONS}?{query.format(crowd.connections[2])}")["ipsec_site_connections"]
        assert len(found) == (1 if "name" in query else 2 if "limit" in query or "marker" in query else 5)
        assert len(sent) == 1, sent


def create(statements: Statements, site: LocalSite, **values: Any) -> list[str]:
    """The statements of a new connection."""
    with statements.counted() as sent:
        site.connection(**values)
    return sent


@pytest.mark.parametrize("carried", [True, False], ids=["with a node", "without a node"])
def test_a_new_connection(database: Engine, api: Api, carried: bool) -> None:
    statements = Statements(database)
    if carried:
        api.node()
    site = LocalSite(api)
    # The last one is to the same peer as the one before it, whose key has to be compared.
    for number, last in enumerate([*range(20), 19]):
        peer = f"203.0.113.{last}"
        sent = create(statements, site, peer_address=peer, peer_id=peer, peer_cidrs=[f"10.20.{number}.0/24"])
        assert 0 < len(sent) <= CREATE, "\n\n".join(sent)


def test_a_new_connection_with_groups(database: Engine, api: Api) -> None:
    statements = Statements(database)
    api.node()
    site = LocalSite(api, with_subnet=False)
    groups = {
        "local_ep_group_id": api.group("subnet", site.subnet["id"])["id"],
        "peer_ep_group_id": api.group("cidr", "10.9.0.0/24", "10.10.0.0/24")["id"],
    }
    sent = create(statements, site, peer_cidrs=..., **groups)
    assert 0 < len(sent) <= CREATE, "\n\n".join(sent)


def test_the_counter_counts(database: Engine, api: Api) -> None:
    """What is not counted is no statement of ours; everything else is."""
    statements = Statements(database)
    with statements.counted() as sent, api.store.write() as tx:
        for name in "ab":
            writing.insert(tx, IKE_POLICY, {"project_id": "blue", "name": name})
        ours = tx.statements
    assert len(sent) == ours == 2
