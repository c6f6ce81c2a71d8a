"""An in-process API client with defaults for new objects, a local site and a node: shared by the tests of the API."""

from __future__ import annotations

import hashlib
from typing import Any

import httpx
import msgspec

from linkspan.api.http.caller import Caller
from linkspan.api.http.messages import Request
from linkspan.api.http.notifications import Notifier
from linkspan.core.errors import ApiError
from linkspan.core.state.observed import ConnectionReport, GatewayReport, Hello, Report
from linkspan.store.nodes import credentials, registry
from linkspan.store.store import Store
from tests.api.openapi import conformance

BLUE = "b1" * 16
RED = "ed" * 16
ADMIN = "ad" * 16

USERS = {
    "alice": Caller("1", "alice", BLUE, frozenset({"member"})),
    "reader": Caller("2", "reader", BLUE, frozenset({"reader"})),
    "bob": Caller("3", "bob", RED, frozenset({"member"})),
    "admin": Caller("4", "admin", ADMIN, frozenset({"admin"})),
    "auditor": Caller("5", "auditor", BLUE, frozenset({"auditor"})),
}


class ByName:
    """Authenticates by name without a password: `Authorization: alice`."""

    def cached(self, request: Request) -> Caller | None:
        """Returns None: nothing is cached."""
        return None

    def identify(self, request: Request) -> Caller:
        """Returns the user named in the header."""
        name = (request.header(b"authorization") or b"").decode()
        if name not in USERS:
            raise ApiError("Unauthorized", "The request you have made requires authentication.")
        return USERS[name]


class Api:
    """Sends requests as one of `USERS`; new objects get valid defaults."""

    def __init__(self, client: httpx.Client, store: Store, notifier: Notifier, user: str = "alice") -> None:
        self.client = client
        self.store = store
        self.notifier = notifier
        self.user = user

    def as_(self, user: str) -> Api:
        """Returns the same API with another user."""
        return Api(self.client, self.store, self.notifier, user)

    def send(self, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
        """Sends a request; asserts a declared response. A path is below /v2.0 unless it starts with `//`."""
        url = path[1:] if path.startswith("//") else f"/v2.0{path}"
        headers = {"authorization": self.user, **more.pop("headers", {})}
        if body is not None:
            more["json"] = body
        response: httpx.Response = self.client.request(method, url, headers=headers, **more)
        conformance.check(self.client, method, response)
        return response

    def get(self, path: str) -> Any:
        """Returns the body of a GET; asserts 200."""
        response = self.send("GET", path)
        assert response.status_code == 200, response.text
        return response.json()

    def create(self, path: str, key: str, /, **values: Any) -> dict[str, Any]:
        """Creates an object; asserts 201."""
        response = self.send("POST", path, {key: values})
        assert response.status_code == 201, response.text
        created: dict[str, Any] = response.json()[key]
        return created

    def update(self, path: str, key: str, /, **values: Any) -> dict[str, Any]:
        """Updates an object; asserts 200."""
        response = self.send("PUT", path, {key: values})
        assert response.status_code == 200, response.text
        changed: dict[str, Any] = response.json()[key]
        return changed

    def delete(self, path: str) -> None:
        """Deletes an object; asserts 204 without a body."""
        response = self.send("DELETE", path)
        assert (response.status_code, response.content) == (204, b""), response.text

    def refused(self, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, str]:
        """Returns status and type of an error; asserts the error's format."""
        response = self.send(method, path, body, **more)
        assert response.status_code >= 400, response.text
        assert response.headers["x-openstack-request-id"].startswith("req-")
        fault = response.json()["NeutronError"]
        assert sorted(fault) == ["detail", "message", "type"], fault
        assert fault["message"], fault
        return response.status_code, fault["type"]

    # --- objects ------------------------------------------------------------------------------------------------

    def outside(self, *cidrs: str) -> dict[str, Any]:
        """Creates an external network with these subnets."""
        admin = self.as_("admin")
        network = admin.create("/networks", "network", name="internet", **{"router:external": True})
        for cidr in cidrs or ("198.51.100.0/24",):
            admin.create("/subnets", "subnet", network_id=network["id"], cidr=cidr)
        return network

    def inside(self, cidr: str = "10.1.0.0/24", **more: Any) -> dict[str, Any]:
        """Creates a subnet on a new network."""
        network = self.create("/networks", "network", name="lan")
        return self.create("/subnets", "subnet", network_id=network["id"], cidr=cidr, **more)

    def router(self, outside: dict[str, Any], *subnets: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Creates a router with its gateway on a network and interfaces on these subnets."""
        info = {"network_id": outside["id"]}
        router = self.create("/routers", "router", name="router", external_gateway_info=info, **more)
        for subnet in subnets:
            self.plug(router, subnet)
        return router

    def plug(self, router: dict[str, Any], subnet: dict[str, Any]) -> dict[str, Any]:
        """Adds a router interface on a subnet."""
        response = self.send("PUT", f"/routers/{router['id']}/add_router_interface", {"subnet_id": subnet["id"]})
        assert response.status_code == 200, response.text
        interface: dict[str, Any] = response.json()
        return interface

    def service(self, router: dict[str, Any], subnet: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        """Creates a VPN service on a router."""
        values = {"router_id": router["id"], "subnet_id": subnet and subnet["id"], "name": "service"}
        return self.create("/vpn/vpnservices", "vpnservice", **(values | more))

    def ike(self, **more: Any) -> dict[str, Any]:
        """Creates an IKE policy."""
        return self.create("/vpn/ikepolicies", "ikepolicy", **more)

    def ipsec(self, **more: Any) -> dict[str, Any]:
        """Creates an IPsec policy."""
        return self.create("/vpn/ipsecpolicies", "ipsecpolicy", **more)

    def group(self, type: str, *endpoints: str, **more: Any) -> dict[str, Any]:
        """Creates an endpoint group."""
        return self.create("/vpn/endpoint-groups", "endpoint_group", type=type, endpoints=list(endpoints), **more)

    def node(self, name: str = "node-1") -> Node:
        """Registers a node, whose agent then sends its hello."""
        with self.store.write() as tx:
            registry.add_node(tx, name, token_hash(name))
        return Node(self, name)

    def restore(self, node: Node) -> None:
        """Gives a node its token again, and registers one that was deleted."""
        with self.store.write() as tx:
            row = registry.node_by_name(tx, node.name)
            if row is None:
                registry.add_node(tx, node.name, token_hash(node.name))
            else:
                credentials.set_token(tx, row["id"], token_hash(node.name), None)
        node.hello()


def token_hash(name: str) -> str:
    """Returns the hash of a node's token."""
    return hashlib.sha256(f"token of {name}".encode()).hexdigest()


class LocalSite:
    """A router with a VPN service, and policies: everything that a connection references."""

    def __init__(self, api: Api, *outside: str, inside: str = "10.1.0.0/24", with_subnet: bool = True) -> None:
        self.api = api
        self.outside = api.outside(*outside)
        self.subnet = api.inside(inside)
        self.router = api.router(self.outside, self.subnet)
        self.service = api.service(self.router, self.subnet if with_subnet else None)
        self.ike = api.ike()
        self.ipsec = api.ipsec()

    def values(self, **more: Any) -> dict[str, Any]:
        """Returns values of a valid connection; a value of `...` is left out, None is kept."""
        values: dict[str, Any] = {
            "name": "connection",
            "vpnservice_id": self.service["id"],
            "ikepolicy_id": self.ike["id"],
            "ipsecpolicy_id": self.ipsec["id"],
            "peer_address": "203.0.113.9",
            "peer_id": "203.0.113.9",
            "psk": "correct horse",
            "peer_cidrs": ["10.9.0.0/24"],
        } | more
        return {name: value for name, value in values.items() if value is not ...}

    def connection(self, **more: Any) -> dict[str, Any]:
        """Creates a connection."""
        return self.api.create(CONNECTIONS, "ipsec_site_connection", **self.values(**more))

    def refused(self, **more: Any) -> tuple[int, str]:
        """Returns status and type of the error that refuses a connection."""
        return self.api.refused("POST", CONNECTIONS, {"ipsec_site_connection": self.values(**more)})


CONNECTIONS = "/vpn/ipsec-site-connections"


class Node:
    """A node, as its agent represents it."""

    def __init__(self, api: Api, name: str) -> None:
        self.api = api
        self.name = name
        self.headers = {"authorization": f"Bearer token of {name}"}
        self._generations: dict[str, int] = {}
        self.hello()

    def send(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Sends a request to the agents' API."""
        response: httpx.Response = self.api.client.request(method, f"/agent/v1{path}", headers=self.headers, **more)
        return response

    def hello(self) -> Any:
        """Sends the hello of the agent; asserts 200."""
        hello = Hello("kernel", "1.0", "6.0.1")
        response = self.send("POST", "/hello", content=encode(hello))
        assert response.status_code == 200, response.text
        return response.json()

    def desired(self, since: int = 0) -> Any:
        """Returns the node's desired state."""
        response = self.send("GET", "/desired", params={"since": since})
        assert response.status_code == 200, response.text
        return response.json()

    def report(self, *reports: GatewayReport | ConnectionReport) -> None:
        """Reports the observed state."""
        gateways = tuple(report for report in reports if isinstance(report, GatewayReport))
        connections = tuple(report for report in reports if isinstance(report, ConnectionReport))
        response = self.send("POST", "/reports", content=encode(Report(gateways, connections)))
        assert response.status_code == 204, response.text

    def apply_desired(self) -> None:
        """Reports the whole desired state as applied."""
        desired = self.desired()
        revision = desired["revision"]
        reports: list[GatewayReport | ConnectionReport] = []
        for gateway in desired["gateways"]:
            self._generations[gateway["id"]] = gateway["generation"]
            reports.append(GatewayReport(gateway["id"], gateway["generation"], revision, "ready"))
        reports += [
            ConnectionReport(
                row["id"], self._generations[row["gateway_id"]], revision, "up" if row["enabled"] else "disabled"
            )
            for row in desired["connections"]
        ]
        reports += self._gone(desired)
        self.report(*reports)

    def _gone(self, desired: Any) -> list[GatewayReport | ConnectionReport]:
        reports: list[GatewayReport | ConnectionReport] = []
        for gone in desired["gone"]:
            kind = GatewayReport if gone["kind"] == "gateway" else ConnectionReport
            reports.append(kind(gone["id"], self._generations.get(gone["gateway_id"], 1), desired["revision"], "gone"))
        return reports


def encode(value: Any) -> bytes:
    """Encodes a message of an agent."""
    return msgspec.json.encode(value)
