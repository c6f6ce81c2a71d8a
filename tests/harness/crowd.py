"""Inserts thousands of connections into a database, for measurements of speed and size.

Every row is as the API would have written it: gateways on a live node, keys in envelopes, revision stamps, and reports
that make every connection ACTIVE. Only the inserts differ: one statement for many rows. Each crowd is a project, with a
user of the same name.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

import msgspec

from linkspan.core.addresses import interface_mac
from linkspan.core.checks import address_pool
from linkspan.core.schema.resources import (
    CONNECTION,
    IKE_POLICY,
    IPSEC_POLICY,
    NETWORK,
    PORT,
    ROUTER,
    SERVICE,
    SUBNET,
    Resource,
)
from linkspan.core.secret import Secret
from linkspan.core.state.observed import ConnectionReport, GatewayReport, Hello, Report
from linkspan.store import revisions
from linkspan.store.identity import users
from linkspan.store.identity.users import hash_password
from linkspan.store.nodes import assignment, registry, reports
from linkspan.store.rows import writing
from linkspan.store.rows.mapping import MAPPERS
from linkspan.store.store import Store, Values
from linkspan.store.transaction import Transaction, new_ordered_id

PASSWORD = "correct horse battery staple"
NEW = "new-"
"""The prefix of the names of connections that are created later."""
BATCH = 5000
_OUTSIDE = ipaddress.ip_network("198.18.0.0/15")
_PEERS = ipaddress.ip_network("100.64.0.0/10")


class Crowd(msgspec.Struct, frozen=True):
    """A project and its objects, by id."""

    project: str
    ike: str
    ipsec: str
    services: list[str]
    connections: list[str]

    def body(self, number: int) -> bytes:
        """Return the body of a POST of another connection, on the gateways in turn; `number` is unique."""
        peer = str(_PEERS[1_000_000 + number])
        values = {
            "name": f"{NEW}{number}",
            "vpnservice_id": self.services[number % len(self.services)],
            "ikepolicy_id": self.ike,
            "ipsecpolicy_id": self.ipsec,
            "peer_address": peer,
            "peer_id": peer,
            "peer_cidrs": [f"172.20.{number % 250}.0/24"],
            "psk": f"key of peer {number}",
        }
        return msgspec.json.encode({"ipsec_site_connection": values})


class Crowds:
    """Fills one database. The store needs a long lease, since no agent renews the node's."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._gateways = 0
        with store.write() as tx:
            self._node: str = registry.add_node(tx, "node-1", "hash")["id"]
            registry.hello(tx, self._node, Hello("kernel", "1.0", "6.0.1"))
            outside = writing.insert(tx, NETWORK, {"name": "internet", "project_id": "admin", "router:external": True})
            self._network: str = outside["id"]
            self._subnet: str = _subnet(tx, "admin", self._network, str(_OUTSIDE))

    def add(self, name: str, connections: int, siblings: int, roles: Sequence[str] = ("member",)) -> Crowd:
        """Create a project with this many connections, `siblings` of them on each gateway."""
        with self._store.write() as tx:
            project: str = users.add_project(tx, name)["id"]
            users.add_user(tx, name, hash_password(PASSWORD), project, roles)
            ike: str = writing.insert(tx, IKE_POLICY, {"project_id": project})["id"]
            ipsec: str = writing.insert(tx, IPSEC_POLICY, {"project_id": project})["id"]
            gateways = [self._gateway(tx, project) for _ in range(-(-connections // siblings))]
        crowd = Crowd(project, ike, ipsec, [service for _, service in gateways], [])
        for start in range(0, connections, BATCH):
            numbers = range(start, min(start + BATCH, connections))
            with self._store.write() as tx:
                rows = [_connection(crowd, number, number // siblings) for number in numbers]
                _insert(tx, CONNECTION, rows)
                crowd.connections.extend(row["id"] for row in rows)
                revisions.touch(tx, connections=[row["id"] for row in rows])
        self._report_all_up([router for router, _ in gateways], crowd.connections)
        return crowd

    def _gateway(self, tx: Transaction, project: str) -> tuple[str, str]:
        """Create a router with both interfaces and a service on its subnet; return the ids of router and service."""
        self._gateways += 1
        network = writing.insert(tx, NETWORK, {"name": "lan", "project_id": project})
        subnet = _subnet(tx, project, network["id"], "10.1.0.0/24")
        router = writing.insert(tx, ROUTER, {"name": f"router-{self._gateways}", "project_id": project})
        for owner, net, sub, address in (
            ("network:router_interface", network["id"], subnet, "10.1.0.1"),
            ("network:router_gateway", self._network, self._subnet, str(_OUTSIDE[self._gateways + 1])),
        ):
            values = {"project_id": project, "network_id": net, "device_id": router["id"], "device_owner": owner}
            values |= {
                "mac_address": interface_mac(router["id"], net),
                "fixed_ips": [{"subnet_id": sub, "ip_address": address}],
            }
            writing.insert(tx, PORT, values)
        service = writing.insert(tx, SERVICE, {"project_id": project, "router_id": router["id"], "subnet_id": subnet})
        assignment.ensure_gateway(tx, router["id"])
        return router["id"], service["id"]

    def _report_all_up(self, routers: Sequence[str], connections: Sequence[str]) -> None:
        """Report all gateways as ready and all connections as up, as the node's agent would."""
        with self._store.write() as tx:
            revision = registry.all_nodes(tx)[0]["revision"]
            reports.report(tx, self._node, Report(tuple(GatewayReport(id, 1, revision, "ready") for id in routers)))
        for start in range(0, len(connections), BATCH):
            batch = connections[start : start + BATCH]
            with self._store.write() as tx:
                reports.report(
                    tx, self._node, Report((), tuple(ConnectionReport(id, 1, revision, "up") for id in batch))
                )


def _subnet(tx: Transaction, project: str, network: str, cidr: str) -> str:
    range_ = ipaddress.ip_network(cidr)
    gateway = str(range_[1])
    values = {"project_id": project, "network_id": network, "cidr": cidr, "ip_version": 4, "gateway_ip": gateway}
    values["allocation_pools"] = address_pool.allocation_pools(range_, gateway)
    id: str = writing.insert(tx, SUBNET, values)["id"]
    return id


def _connection(crowd: Crowd, number: int, gateway: int) -> Values:
    peer = str(_PEERS[number])
    return {
        "id": new_ordered_id(),
        "project_id": crowd.project,
        "name": f"site-{number:06}",
        "vpnservice_id": crowd.services[gateway],
        "ikepolicy_id": crowd.ike,
        "ipsecpolicy_id": crowd.ipsec,
        "peer_address": peer,
        "peer_id": peer,
        "peer_cidrs": [f"172.16.{number % 250}.0/24"],
        "psk": Secret(f"key of site {number}"),
    }


def _insert(tx: Transaction, resource: Resource, rows: Sequence[Values]) -> None:
    mapper, work = MAPPERS[resource.name], tx
    times = {"revision_number": 1, "created_at": work.wall, "updated_at": work.wall}
    parameters = [mapper.parameters(mapper.complete(row), work, row["project_id"], row["id"]) | times for row in rows]
    work.many(writing._insert(resource.name, tuple(parameters[0])), parameters)
