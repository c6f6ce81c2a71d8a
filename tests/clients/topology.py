"""The prerequisites of a VPN service, created by a client: an external network, a tenant's network, a router.

Also a node that reports everything as running at once, for clients that wait for a status.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import openstack.connection

from tests.api.serving import Served

OUTSIDE = "198.51.100.0/24"
INSIDE = "10.1.0.0/24"


class Topology(msgspec.Struct, frozen=True):
    """Ids of the router and of the tenant's subnet."""

    router: str
    subnet: str


def create_topology(admin: openstack.connection.Connection, user: openstack.connection.Connection) -> Topology:
    """Creates an external network and a router with a gateway there and a tenant's subnet."""
    internet = admin.network.create_network(name="internet", is_router_external=True)
    admin.network.create_subnet(network_id=internet.id, cidr=OUTSIDE, ip_version=4)
    lan = user.network.create_network(name="lan")
    subnet = user.network.create_subnet(network_id=lan.id, cidr=INSIDE, ip_version=4, name="lan-v4")
    router = user.network.create_router(name="router", external_gateway_info={"network_id": internet.id})
    user.network.add_interface_to_router(router, subnet=subnet.id)
    return Topology(router.id, subnet.id)


@contextmanager
def obedient_node(running: Served) -> Iterator[None]:
    """Runs a node that reports its gateways as ready and its tunnels as up as soon as they are configured."""
    node = running.api.node()
    stopping = threading.Event()

    def work() -> None:
        while not stopping.wait(0.02):
            node.apply_desired()

    worker = threading.Thread(target=work, name="node")
    worker.start()
    try:
        yield
    finally:
        stopping.set()
        worker.join()
