"""Fixtures of the store's tests: databases of both kinds, and a small inventory to connect."""

from __future__ import annotations

from typing import Any

import pytest

from linkspan.core.schema.resources import CONNECTION, IKE_POLICY, IPSEC_POLICY, NETWORK, PORT, ROUTER, SERVICE, SUBNET
from linkspan.core.state.observed import ConnectionReport, GatewayReport, Hello, Report
from linkspan.store import revisions
from linkspan.store.nodes import assignment, registry, reports, tombstones
from linkspan.store.rows import ports, reading, writing
from linkspan.store.store import Row, Store, Values
from linkspan.store.transaction import Transaction
from tests.harness.databases import database, postgres, sqlite_template, store

__all__ = ["World", "database", "postgres", "sqlite_template", "store", "world"]


class World:
    """An external network, policies, and as many nodes, routers, services and connections as a test asks for."""

    def __init__(self, store: Store, project: str = "blue") -> None:
        self.store = store
        self.project = project
        self._count = 0
        with store.write() as tx:
            self.outside = writing.insert(
                tx, NETWORK, {"name": "outside", "project_id": "admin", "router:external": True}
            )
            self.outside_subnet = writing.insert(
                tx,
                SUBNET,
                {
                    "project_id": "admin",
                    "network_id": self.outside["id"],
                    "cidr": "198.51.0.0/16",
                    "ip_version": 4,
                    "gateway_ip": "198.51.0.1",
                },
            )
            self.ike = writing.insert(tx, IKE_POLICY, {"project_id": project})
            self.ipsec = writing.insert(tx, IPSEC_POLICY, {"project_id": project})

    def _next(self) -> int:
        self._count += 1
        return self._count

    def node(self, name: str = "north") -> str:
        """A node that said hello; its id."""
        with self.store.write() as tx:
            id: str = registry.add_node(tx, name, f"hash-{name}")["id"]
            registry.hello(tx, id, Hello("kernel", "1.0", "6.0"))
        return id

    def router(self, tx: Transaction) -> tuple[str, str]:
        """A router with an outside and an inside interface: its id and its inside subnet's."""
        number = self._next()
        network = writing.insert(tx, NETWORK, {"name": f"inside-{number}", "project_id": self.project})
        subnet = writing.insert(
            tx,
            SUBNET,
            {
                "project_id": self.project,
                "network_id": network["id"],
                "cidr": f"10.{number}.0.0/24",
                "ip_version": 4,
                "gateway_ip": f"10.{number}.0.1",
            },
        )
        router = writing.insert(tx, ROUTER, {"name": f"router-{number}", "project_id": self.project})
        for owner, net, sub, address in (
            ("network:router_interface", network["id"], subnet["id"], f"10.{number}.0.1"),
            ("network:router_gateway", self.outside["id"], self.outside_subnet["id"], f"198.51.1.{number}"),
        ):
            writing.insert(tx, PORT, self.port(router["id"], owner, net, sub, address))
        return router["id"], subnet["id"]

    def port(self, router: str, owner: str, network: str, subnet: str, address: str) -> Values:
        """Values of a port."""
        return {
            "project_id": self.project,
            "network_id": network,
            "device_id": router,
            "device_owner": owner,
            "mac_address": "fa:16:3e:00:00:01",
            "fixed_ips": [{"subnet_id": subnet, "ip_address": address}],
        }

    def service(self, router: tuple[str, str] | None = None, **more: Any) -> Row:
        """A service on a new router, with its gateway."""
        with self.store.write() as tx:
            router_id, subnet_id = router or self.router(tx)
            values = {"project_id": self.project, "router_id": router_id, "subnet_id": subnet_id}
            row = writing.insert(tx, SERVICE, values | more)
            assignment.ensure_gateway(tx, router_id)
            return row

    def values(self, service: str, **more: Any) -> Values:
        """Values of a connection."""
        number = self._next()
        return {
            "project_id": self.project,
            "name": f"connection-{number}",
            "vpnservice_id": service,
            "ikepolicy_id": self.ike["id"],
            "ipsecpolicy_id": self.ipsec["id"],
            "peer_address": f"203.0.113.{number % 250 + 1}",
            "peer_id": f"203.0.113.{number % 250 + 1}",
            "peer_cidrs": [f"172.16.{number % 250}.7/24"],
            "psk": f"psk of {number}",
        } | more

    def connection(self, service: str, **more: Any) -> Row:
        """A connection of a service, stamped."""
        with self.store.write() as tx:
            row = writing.insert(tx, CONNECTION, self.values(service, **more))
            revisions.touch(tx, connections=[row["id"]])
            return row

    def update(self, connection: str, **values: Any) -> None:
        """Edits a connection, stamped."""
        with self.store.write() as tx:
            writing.update(tx, CONNECTION, connection, values)
            revisions.touch(tx, connections=[connection])

    def delete(self, connection: str) -> bool:
        """Deletes a connection."""
        with self.store.write() as tx:
            return tombstones.soft_delete(tx, CONNECTION, connection)

    def report(self, node: str, *objects: GatewayReport | ConnectionReport) -> None:
        """A report of a node."""
        gateways = tuple(each for each in objects if isinstance(each, GatewayReport))
        connections = tuple(each for each in objects if isinstance(each, ConnectionReport))
        with self.store.write() as tx:
            reports.report(tx, node, Report(gateways, connections))

    def get(self, row: Row) -> Row | None:
        """A service or connection as it is stored now, with the inputs of its status."""
        with self.store.read() as tx:
            return reading.get(tx, CONNECTION if "vpnservice_id" in row else SERVICE, row["id"])

    def gateway_port(self, router: str) -> Row:
        """The outside port of a router."""
        with self.store.read() as tx:
            return ports.ports_of(tx, router)[0]


@pytest.fixture
def world(store: Store) -> World:
    """A world on each kind of database."""
    return World(store)
