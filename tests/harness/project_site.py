"""An additional site beside the laboratory's: router, network, service and host, of any project."""

from __future__ import annotations

import secrets
from typing import Any

from linkspan.cli.client import Client
from linkspan.drivers.linux import interface_names, netns
from linkspan.lab import fabric
from linkspan.lab.fabric import ping
from tests.harness.ours import VPN, Ours
from tests.harness.world import World, until


class ProjectSite(Ours):
    """A site like `Ours`, created by `user`, with one IPv4 subnet inside. `clear` removes all of it."""

    def __init__(self, world: World, user: Client, name: str, cidr: str = "10.50.0.0/24") -> None:
        self.world, self.user, self.name = world, user, name
        self.psk = secrets.token_urlsafe(24)
        self._undo = []
        self.cidr = cidr
        network = self._make("networks", "network", name=name)
        self.subnets = {4: self._make("subnets", "subnet", network_id=network, cidr=cidr)}
        outside = {"network_id": world.lab["internet"]["network_id"]}
        self.router_id = self._make("routers", "router", name=name, external_gateway_info=outside)
        interface = {"subnet_id": self.subnets[4]}
        user.request("PUT", f"/v2.0/routers/{self.router_id}/add_router_interface", interface)
        self.on_clear(lambda: user.request("PUT", f"/v2.0/routers/{self.router_id}/remove_router_interface", interface))
        self.subnet_service = self.create("vpnservices", router_id=self.router_id, subnet_id=self.subnets[4])
        until(lambda: self.service["status"] == "ACTIVE", 15.0, lambda: str(self.service))
        (self.gateway,) = [namespace for namespace in netns.names() if namespace.startswith(self._prefix())]
        self.v4, self.v6 = self.service["external_v4_ip"], self.service["external_v6_ip"]
        prefix, instance = cidr.removesuffix(".0/24"), world.lab["instance"]
        self.host = fabric.make_host(instance, name, network, (f"{prefix}.10/24",), (f"{prefix}.1",)).namespace
        self.on_clear(lambda: fabric.remove(instance, name))
        until(lambda: ping(self.host, f"{prefix}.1", 1, timeout=1).received == 1, 5.0)

    @property
    def service(self) -> dict[str, Any]:
        """The VPN service as its user sees it."""
        body = self.user.request("GET", f"{VPN}/vpnservices/{self.subnet_service}")
        service: dict[str, Any] = body["vpnservice"]
        return service

    def _prefix(self) -> str:
        return f"{interface_names.namespace_prefix(self.world.lab['instance'])}{self.router_id[:8]}-"

    def _make(self, path: str, singular: str, **values: Any) -> str:
        id: str = self.user.request("POST", f"/v2.0/{path}", {singular: values})[singular]["id"]
        self.on_clear(lambda: self.user.request("DELETE", f"/v2.0/{path}/{id}"))
        return id
