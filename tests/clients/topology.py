"""What a VPN stands on, made by a client: an external network, a network of one's own, a router between them.

And a node that runs whatever it should at once, for clients that wait for a status.
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
    """Ids."""

    router: str
    subnet: str


def create_topology(admin: openstack.connection.Connection, user: openstack.connection.Connection) -> Topology:
    """A router with an external gateway and a subnet."""
    internet = admin.network.create_network(name="internet", is_router_external=True)
    admin.network.create_subnet(network_id=internet.id, cidr=OUTSIDE, ip_version=4)
    lan = user.network.create_network(name="lan")
    subnet = user.network.create_subnet(network_id=lan.id, cidr=INSIDE, ip_version=4, name="lan-v4")
    router = user.network.create_router(name="router", external_gateway_info={"network_id": internet.id})
    user.network.add_interface_to_router(router, subnet=subnet.id)
    return Topology(router.id, subnet.id)


@contextmanager
def obedient_node(running: Served) -> Iterator[None]:
    """A node whose gateways are ready and whose tunnels are up as soon as it is told of them."""
    node = running.api.node()
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.02):
            node.obey()

    worker = threading.Thread(target=work, name="node")
    worker.start()
    try:
        yield
    finally:
        over.set()
        worker.join()
