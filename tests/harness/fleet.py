"""Fills a PostgreSQL database with a whole fleet by COPY: a million connections take minutes, not hours.

Every row is as the API would have written it. Each thousandth connection is down, each five thousandth in error, and
the lease of each thousandth node has ended; all others are up.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
import psycopg
from sqlalchemy import Engine
from sqlalchemy.engine import make_url

from linkspan.core.schema.resources import CONNECTION, NETWORK, PORT, ROUTER, SERVICE, SUBNET, Resource
from linkspan.core.secret import Secret, hash_token
from linkspan.store.database.tables import ADDRESS, CHANGE, GATEWAY, NODE, OBSERVED, TABLES
from linkspan.store.rows import writing
from linkspan.store.rows.mapping import MAPPERS
from linkspan.store.store import Store, Values
from linkspan.store.transaction import Transaction, new_ordered_id
from tests.harness.crowd import Crowd, Crowds

PER_GATEWAY: Final = 50
PER_NODE: Final = 100
ADMIN: Final = "admin"
_LEASE: Final = 10 * 86_400.0
_PEERS: Final = ipaddress.ip_network("11.0.0.0/8")
_OUTSIDE: Final = ipaddress.ip_network("28.0.0.0/8")


class Fleet(msgspec.Struct, frozen=True):
    """A filled database: how many connections, the policies of all, and some of its objects, by id."""

    size: int
    crowd: Crowd
    service: str
    middle: str
    peer_address: str


def token(node: int) -> str:
    """Return the token of a node."""
    return f"token of node {node}"


def fill(store: Store, engine: Engine, size: int) -> Fleet:
    """Fill a migrated database."""
    crowds = Crowds(store)
    crowd = crowds.add(ADMIN, 1, 1, ("admin",))
    with store.write() as tx:
        tables = _Tables(tx, crowd, crowds._network, crowds._subnet, size)
        url = make_url(str(engine.url.render_as_string(hide_password=False))).set(drivername="postgresql")
        with psycopg.connect(url.render_as_string(hide_password=False)) as connection:
            # No triggers: the references are right, and to check each of them would take most of the time.
            connection.execute("SET session_replication_role = replica")
            for name, rows in tables.all():
                _copy(connection, name, rows)
    middle = size // 2
    return Fleet(size, crowd, tables.services[middle // PER_GATEWAY], tables.connections[middle], str(_PEERS[middle]))


def _copy(connection: psycopg.Connection[Any], table: str, rows: Iterator[Values]) -> None:
    first = next(rows)
    columns = ", ".join(first)
    with connection.cursor().copy(f"COPY {table} ({columns}) FROM STDIN".encode()) as copy:
        copy.write_row(tuple(first.values()))
        for row in rows:
            copy.write_row(tuple(row.values()))


class _Tables:
    """The rows of every table of the fleet. Rows of a table refer to those before it."""

    def __init__(self, tx: Transaction, crowd: Crowd, network: str, subnet: str, size: int) -> None:
        self._tx = tx
        self._crowd = crowd
        self._network = network
        self._subnet = subnet
        self._now = time.time()
        self.nodes = [writing.new_id() for _ in range(-(-size // PER_NODE))]
        count = -(-size // PER_GATEWAY)
        self._networks, self._subnets, self._routers, self.services = (
            [writing.new_id() for _ in range(count)] for _ in range(4)
        )
        self._ports = [(writing.new_id(), writing.new_id()) for _ in range(count)]
        self.connections = [new_ordered_id() for _ in range(size)]

    def all(self) -> Iterator[tuple[str, Iterator[Values]]]:
        """Yield the tables' names and rows."""
        yield NODE.name, self._node_rows()
        yield TABLES[NETWORK.name].name, self._rows(NETWORK, self._network_values())
        yield TABLES[SUBNET.name].name, self._rows(SUBNET, self._subnet_values())
        yield TABLES[ROUTER.name].name, self._rows(ROUTER, self._router_values())
        yield TABLES[PORT.name].name, self._rows(PORT, self._port_values())
        yield ADDRESS.name, self._address_rows()
        yield TABLES[SERVICE.name].name, self._rows(SERVICE, self._service_values())
        yield GATEWAY.name, self._gateway_rows()
        yield TABLES[CONNECTION.name].name, self._rows(CONNECTION, self._connection_values())
        yield CHANGE.name, self._change_rows()
        yield OBSERVED.name, self._observed_rows()

    def _rows(self, resource: Resource, values: Iterable[Values]) -> Iterator[Values]:
        mapper = MAPPERS[resource.name]
        for number, given in enumerate(values):
            row = mapper.complete(given)
            # One after the other, ten in a second.
            then = self._now - 1_000_000 + number / 10
            times = {"revision_number": 1, "created_at": then, "updated_at": then}
            yield mapper.parameters(row, self._tx, row["project_id"], row["id"]) | times

    def _node_of(self, gateway: int) -> str:
        return self.nodes[gateway * PER_GATEWAY // PER_NODE]

    def _node_rows(self) -> Iterator[Values]:
        for number, id in enumerate(self.nodes):
            yield {
                "id": id,
                "name": f"node-of-fleet-{number}",
                "token_hash": hash_token(token(number).encode()),
                "revision": PER_NODE,
                "lease_until": self._now + (-_LEASE if number % 1000 == 999 else _LEASE),
                "backend": "kernel",
                "agent_version": "1.0",
                "charon_version": "6.0.1",
                "created_at": self._now,
            }

    def _network_values(self) -> Iterator[Values]:
        for id in self._networks:
            yield {"id": id, "name": "lan", "project_id": self._crowd.project}

    def _subnet_values(self) -> Iterator[Values]:
        for id, network in zip(self._subnets, self._networks, strict=True):
            values = {"cidr": "10.1.0.0/24", "ip_version": 4, "gateway_ip": "10.1.0.1", "allocation_pools": []}
            yield {"id": id, "project_id": self._crowd.project, "network_id": network} | values

    def _router_values(self) -> Iterator[Values]:
        for number, id in enumerate(self._routers):
            yield {"id": id, "name": f"router-{number}", "project_id": self._crowd.project}

    def _interfaces(self) -> Iterator[tuple[int, str, str, str, str, str]]:
        for number, (inside, outside) in enumerate(self._ports):
            subnet = self._subnets[number]
            yield number, inside, "network:router_interface", self._networks[number], subnet, "10.1.0.1"
            yield number, outside, "network:router_gateway", self._network, self._subnet, str(_OUTSIDE[number])

    def _port_values(self) -> Iterator[Values]:
        for number, id, owner, network, subnet, address in self._interfaces():
            yield {
                "id": id,
                "project_id": self._crowd.project,
                "network_id": network,
                "device_id": self._routers[number],
                "device_owner": owner,
                "mac_address": "fa:16:3e:00:00:01",
                "fixed_ips": [{"subnet_id": subnet, "ip_address": address}],
            }

    def _address_rows(self) -> Iterator[Values]:
        for _, id, _, network, subnet, address in self._interfaces():
            yield {"subnet_id": subnet, "ip_address": address, "port_id": id, "network_id": network}

    def _service_values(self) -> Iterator[Values]:
        for number, id in enumerate(self.services):
            values = {"router_id": self._routers[number], "subnet_id": self._subnets[number]}
            yield {"id": id, "name": f"service-{number}", "project_id": self._crowd.project} | values

    def _gateway_rows(self) -> Iterator[Values]:
        for number, router in enumerate(self._routers):
            yield {"router_id": router, "node_id": self._node_of(number), "generation": 1}

    def _connection_values(self) -> Iterator[Values]:
        for number, id in enumerate(self.connections):
            peer = str(_PEERS[number])
            yield {
                "id": id,
                "project_id": self._crowd.project,
                "name": f"site-{number:07}",
                "vpnservice_id": self.services[number // PER_GATEWAY],
                "ikepolicy_id": self._crowd.ike,
                "ipsecpolicy_id": self._crowd.ipsec,
                "peer_address": peer,
                "peer_id": peer,
                "peer_cidrs": [f"172.16.{number % 250}.0/24"],
                "psk": Secret(f"key of site {number}"),
            }

    def _objects(self) -> Iterator[tuple[str, str, int, int, str]]:
        """Kind, id, gateway, revision and state of every object."""
        for number, id in enumerate(self._routers):
            yield "gateway", id, number, 1, "ready"
        for number, id in enumerate(self.connections):
            state = "error" if number % 5000 == 4999 else "down" if number % 1000 == 999 else "up"
            yield "connection", id, number // PER_GATEWAY, number % PER_NODE + 1, state

    def _change_rows(self) -> Iterator[Values]:
        for kind, id, gateway, revision, state in self._objects():
            yield {
                "object_id": id,
                "kind": kind,
                "node_id": self._node_of(gateway),
                "gateway_id": self._routers[gateway],
                "revision": revision,
                "deleted": False,
                "at": self._now - 3600,
                "settled": True if state in ("up", "ready") else None,
            }

    def _observed_rows(self) -> Iterator[Values]:
        for kind, id, gateway, _, state in self._objects():
            yield {
                "object_id": id,
                "kind": kind,
                "node_id": self._node_of(gateway),
                "generation": 1,
                "revision": PER_NODE,
                "state": state,
                "reason": "" if state in ("up", "ready") else "the peer does not answer",
                "applied_at": self._now - 3600,
                "ready_at": self._now - 3600,
            }
