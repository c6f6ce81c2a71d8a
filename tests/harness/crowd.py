"""Connections by the thousand, put straight into a database: what speed and size are measured on.

Every row is as the API would have written it: gateways with a node that lives, keys in envelopes, stamps, and reports
that make every connection read ACTIVE. Only the way is short: one statement for many rows. A project of its own each
time, with a user of the same name.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

import msgspec

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
from linkspan.store.transaction import Transaction

PASSWORD = "correct horse battery staple"
NEW = "new-"
"""What the names of connections begin with that are made later."""
BATCH = 5000
_OUTSIDE = ipaddress.ip_network("198.18.0.0/15")
_PEERS = ipaddress.ip_network("100.64.0.0/10")


class Crowd(msgspec.Struct, frozen=True):
    """A project and what it holds: ids."""

    project: str
    ike: str
    ipsec: str
    services: list[str]
    connections: list[str]

    def body(self, number: int) -> bytes:
        """A request for one more connection, on one gateway after the other; no other has this `number`."""
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
    """Fills one database. Give it a store with a long lease: nobody renews that of the node."""

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
        """A project with this many connections, `siblings` of them on each gateway."""
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
        self._obey([router for router, _ in gateways], crowd.connections)
        return crowd

    def _gateway(self, tx: Transaction, project: str) -> tuple[str, str]:
        """A router with both legs and a service on its one subnet: their ids."""
        self._gateways += 1
        network = writing.insert(tx, NETWORK, {"name": "lan", "project_id": project})
        subnet = _subnet(tx, project, network["id"], "10.1.0.0/24")
        router = writing.insert(tx, ROUTER, {"name": f"router-{self._gateways}", "project_id": project})
        for owner, net, sub, address in (
            ("network:router_interface", network["id"], subnet, "10.1.0.1"),
            ("network:router_gateway", self._network, self._subnet, str(_OUTSIDE[self._gateways + 1])),
        ):
            values = {"project_id": project, "network_id": net, "device_id": router["id"], "device_owner": owner}
            values |= {"mac_address": "fa:16:3e:00:00:01", "fixed_ips": [{"subnet_id": sub, "ip_address": address}]}
            writing.insert(tx, PORT, values)
        service = writing.insert(tx, SERVICE, {"project_id": project, "router_id": router["id"], "subnet_id": subnet})
        assignment.ensure_gateway(tx, router["id"])
        return router["id"], service["id"]

    def _obey(self, routers: Sequence[str], connections: Sequence[str]) -> None:
        """The node says that all of it is up."""
        with self._store.write() as tx:
            revision = registry.all_nodes(tx)[0]["revision"]
            reports.report(tx, self._node, Report(tuple(GatewayReport(id, 1, revision, "ready") for id in routers)))
        for start in range(0, len(connections), BATCH):
            some = connections[start : start + BATCH]
            with self._store.write() as tx:
                reports.report(
                    tx, self._node, Report((), tuple(ConnectionReport(id, 1, revision, "up") for id in some))
                )


def _subnet(tx: Transaction, project: str, network: str, cidr: str) -> str:
    range_ = ipaddress.ip_network(cidr)
    gateway = str(range_[1])
    values = {"project_id": project, "network_id": network, "cidr": cidr, "ip_version": 4, "gateway_ip": gateway}
    values["allocation_pools"] = address_pool.pools(range_, gateway)
    id: str = writing.insert(tx, SUBNET, values)["id"]
    return id


def _connection(crowd: Crowd, number: int, gateway: int) -> Values:
    peer = str(_PEERS[number])
    return {
        "id": writing.new_ordered_id(),
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
    made = [mapper.parameters(mapper.complete(row), work, row["project_id"], row["id"]) | times for row in rows]
    work.many(writing._insert(resource.name, tuple(made[0])), made)
