"""How many statements a request costs, whatever the number of rows."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine

from linkspan.api.http.caller import Caller
from linkspan.api.http.messages import Request
from linkspan.core.schema.resources import (
    CERTIFICATE,
    CONNECTION,
    ENDPOINT_GROUP,
    IKE_POLICY,
    IPSEC_POLICY,
    NETWORK,
    RESOURCES,
    ROUTER,
    SERVICE,
    SUBNET,
    TRUST_ANCHOR,
    Resource,
)
from linkspan.core.secret import Secret
from linkspan.core.state.observed import Hello
from linkspan.store.nodes import delta, registry
from linkspan.store.rows import writing
from linkspan.store.store import Store
from tests.api.conftest import OpenApi
from tests.api.world import BLUE, CONNECTIONS, Api, LocalSite
from tests.harness.crowd import Crowd, Crowds
from tests.harness.statements import Statements

MANY = 1000
CREATE = 10
"""The most statements that a new connection costs; two of them are the entries in audit trail and timeline."""
EDIT = 12
"""The most statements that an edit costs, however many connections it affects. Two of them keep what the connections
were before, and two are the entries in audit trail and timeline."""
MOVE = 25
"""The most statements that a router's move to another external network costs."""


class Member:
    """Authenticates every request as a member of one project."""

    def __init__(self) -> None:
        self.project = "nobody's"

    def cached(self, request: Request) -> Caller | None:
        """Returns the member."""
        return self.identify(request)

    def identify(self, request: Request) -> Caller:
        """Returns the member."""
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
            writing.insert(tx, CERTIFICATE, {"project_id": crowd.project, "key_identifier": "0c" * 20})
            writing.insert(tx, TRUST_ANCHOR, {"project_id": crowd.project, "expires_at": "2036-11-20T01:41:31Z"})
    return crowd


def path(resource: Resource) -> str:
    """Returns the path of a resource's list, without /v2.0."""
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


POLICY_EDITS: dict[str, dict[str, Any]] = {
    IKE_POLICY.name: {"encryption_algorithm": "aes-256", "lifetime": {"value": 7200}},
    IPSEC_POLICY.name: {"encryption_algorithm": "aes-256", "pfs": "group14"},
}


def affected_project(store: Store, connections: int, per_router: int, nodes: int = 1) -> Crowd:
    """A project whose connections use one pair of policies, its gateways spread over `nodes`."""
    crowds = Crowds(store)
    with store.write() as tx:
        for number in range(2, nodes + 1):
            node = registry.add_node(tx, f"node-{number}", f"hash of {number}")
            registry.hello(tx, node["id"], Hello("kernel", "1.0", "6.0.1"))
    return crowds.add("crowd", connections, per_router)


def give_the_same_peer(store: Store, crowd: Crowd) -> None:
    """Makes all connections of each router similar, so that the conflict check reads their keys and selectors."""
    with store.write() as tx:
        for id in crowd.connections:
            values = {"peer_address": "203.0.113.1", "peer_id": "203.0.113.1", "psk": Secret("shared")}
            writing.update(tx, CONNECTION, id, values)


def edit(statements: Statements, api: Api, resource: Resource, id: str, **values: Any) -> list[str]:
    """The statements of a PUT."""
    with statements.counted() as sent:
        api.update(f"{path(resource)}/{id}", resource.singular, **values)
    return sent


@pytest.mark.parametrize("resource", [IKE_POLICY, IPSEC_POLICY], ids=lambda resource: resource.name)
@pytest.mark.parametrize(
    ("connections", "per_router", "nodes", "similar"),
    [
        (1, 1, 1, False),
        (10, 10, 1, False),
        (90, 90, 1, False),
        (90, 90, 1, True),
        (90, 9, 1, True),
        (90, 1, 1, False),
        (90, 1, 7, False),
    ],
    ids=str,
)
def test_a_policy_edit(
    database: Engine,
    open_api: OpenApi,
    resource: Resource,
    connections: int,
    per_router: int,
    nodes: int,
    similar: bool,
) -> None:
    statements = Statements(database)
    member = Member()
    with open_api(auth=member, store={"lease": 3600.0}) as api:
        crowd = affected_project(api.store, connections, per_router, nodes)
        if similar:
            give_the_same_peer(api.store, crowd)
        member.project = crowd.project
        policy = crowd.ike if resource is IKE_POLICY else crowd.ipsec
        with api.store.read() as tx:
            before = {node["id"]: node["revision"] for node in registry.all_nodes(tx)}
        sent = edit(statements, api, resource, policy, **POLICY_EDITS[resource.name])
        assert 0 < len(sent) <= EDIT, (len(sent), sent)
        with api.store.read() as tx:
            deltas = [delta.desired_since(tx, node, revision) for node, revision in before.items()]
    assert len(deltas) == nodes
    assert sorted(each.id for changes in deltas for each in changes.connections) == sorted(crowd.connections)


@pytest.mark.parametrize("connections", [1, 10, 90])
def test_an_edit_of_what_connections_reference(database: Engine, api: Api, connections: int) -> None:
    """Neither reads nor stamps go through the connections one after the other."""
    statements = Statements(database)
    api.node()
    site = LocalSite(api, with_subnet=False)
    local = api.group("subnet", site.subnet["id"])["id"]
    for number in range(connections):
        peer = api.group("cidr", f"172.16.{number}.0/24")["id"]
        site.connection(peer_cidrs=..., local_ep_group_id=local, peer_ep_group_id=peer)
    gateway = {"network_id": api.outside("198.51.101.0/24")["id"]}
    edits: list[tuple[Resource, str, dict[str, Any], int]] = [
        (IKE_POLICY, site.ike["id"], POLICY_EDITS[IKE_POLICY.name], EDIT),
        (IPSEC_POLICY, site.ipsec["id"], POLICY_EDITS[IPSEC_POLICY.name], EDIT),
        (SERVICE, site.service["id"], {"admin_state_up": False}, EDIT),
        (ENDPOINT_GROUP, local, {"name": "renamed"}, EDIT),
        (SUBNET, site.subnet["id"], {"name": "renamed"}, EDIT),
        (ROUTER, site.router["id"], {"external_gateway_info": gateway}, MOVE),
        (ROUTER, site.router["id"], {"admin_state_up": False}, EDIT),
        (NETWORK, site.subnet["network_id"], {"admin_state_up": False}, EDIT),
    ]
    for resource, id, values, most in edits:
        sent = edit(statements, api, resource, id, **values)
        assert 0 < len(sent) <= most, (resource.name, len(sent), sent)


@pytest.mark.parametrize("others", [1, 10, 30])
def test_the_removal_of_an_interface(database: Engine, api: Api, others: int) -> None:
    """Services and endpoint groups that may need the subnet are read together."""
    statements = Statements(database)
    api.node()
    site = LocalSite(api, with_subnet=False)
    second = api.inside("10.2.0.0/24")
    api.plug(site.router, second)
    api.as_("admin").update(f"/quotas/{BLUE}", "quota", vpnservice=-1)
    for number in range(others):
        api.service(site.router, name=f"service-{number}")
        api.group("subnet", second["id"])
    with statements.counted() as sent:
        answer = api.send("PUT", f"/routers/{site.router['id']}/remove_router_interface", {"subnet_id": second["id"]})
    assert answer.status_code == 200, answer.text
    assert 0 < len(sent) <= EDIT, (len(sent), sent)


def test_the_counter_counts(database: Engine, api: Api) -> None:
    """Only statements of the API are counted."""
    statements = Statements(database)
    with statements.counted() as sent, api.store.write() as tx:
        for name in "ab":
            writing.insert(tx, IKE_POLICY, {"project_id": "blue", "name": name})
        ours = tx.statements
    assert len(sent) == ours == 2
