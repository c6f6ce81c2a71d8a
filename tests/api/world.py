"""The API in this process, and a small world made through it: what the tests of the API share."""

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
from linkspan.store.nodes import registry
from linkspan.store.store import Store
from tests.api.openapi import conformance

BLUE = "b1" * 16
RED = "ed" * 16
ADMIN = "ad" * 16

PEOPLE = {
    "alice": Caller("1", "alice", BLUE, frozenset({"member"})),
    "reader": Caller("2", "reader", BLUE, frozenset({"reader"})),
    "bob": Caller("3", "bob", RED, frozenset({"member"})),
    "admin": Caller("4", "admin", ADMIN, frozenset({"admin"})),
    "nobody": Caller("5", "nobody", BLUE, frozenset({"auditor"})),
}


class ByName:
    """Believes what the header says: `Authorization: alice`."""

    def cached(self, call: Request) -> Caller | None:
        """It remembers nobody."""
        return None

    def identify(self, call: Request) -> Caller:
        """The person of that name."""
        name = (call.header(b"authorization") or b"").decode()
        if name not in PEOPLE:
            raise ApiError("Unauthorized", "The request you have made requires authentication.")
        return PEOPLE[name]


class Api:
    """Requests as one of `PEOPLE`; what is made gets defaults that work."""

    def __init__(self, client: httpx.Client, store: Store, notifier: Notifier, user: str = "alice") -> None:
        self.client = client
        self.store = store
        self.hub = notifier
        self.user = user

    def as_(self, user: str) -> Api:
        """The same API as somebody else."""
        return Api(self.client, self.store, self.hub, user)

    def send(self, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
        """One request; paths start behind /v2.0 unless they begin with two slashes. The answer has to be declared."""
        url = path[1:] if path.startswith("//") else f"/v2.0{path}"
        headers = {"authorization": self.user, **more.pop("headers", {})}
        if body is not None:
            more["json"] = body
        answer: httpx.Response = self.client.request(method, url, headers=headers, **more)
        conformance.check(self.client, method, answer)
        return answer

    def get(self, path: str) -> Any:
        """What a GET answers, which has to be 200."""
        answer = self.send("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def create(self, path: str, key: str, /, **values: Any) -> dict[str, Any]:
        """A new object; it has to be 201."""
        answer = self.send("POST", path, {key: values})
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()[key]
        return made

    def update(self, path: str, key: str, /, **values: Any) -> dict[str, Any]:
        """Changes an object; it has to be 200."""
        answer = self.send("PUT", path, {key: values})
        assert answer.status_code == 200, answer.text
        changed: dict[str, Any] = answer.json()[key]
        return changed

    def delete(self, path: str) -> None:
        """Deletes an object; it has to be 204, without a body."""
        answer = self.send("DELETE", path)
        assert (answer.status_code, answer.content) == (204, b""), answer.text

    def refused(self, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, str]:
        """Status and type of an error, whose shape is checked."""
        answer = self.send(method, path, body, **more)
        assert answer.status_code >= 400, answer.text
        assert answer.headers["x-openstack-request-id"].startswith("req-")
        fault = answer.json()["NeutronError"]
        assert sorted(fault) == ["detail", "message", "type"], fault
        assert fault["message"], fault
        return answer.status_code, fault["type"]

    # --- a world ------------------------------------------------------------------------------------------------

    def outside(self, *cidrs: str) -> dict[str, Any]:
        """An external network with these subnets."""
        admin = self.as_("admin")
        network = admin.create("/networks", "network", name="internet", **{"router:external": True})
        for cidr in cidrs or ("198.51.100.0/24",):
            admin.create("/subnets", "subnet", network_id=network["id"], cidr=cidr)
        return network

    def inside(self, cidr: str = "10.1.0.0/24", **more: Any) -> dict[str, Any]:
        """A subnet on a network of its own."""
        network = self.create("/networks", "network", name="lan")
        return self.create("/subnets", "subnet", network_id=network["id"], cidr=cidr, **more)

    def router(self, outside: dict[str, Any], *subnets: dict[str, Any], **more: Any) -> dict[str, Any]:
        """A router with its gateway on a network and legs on these subnets."""
        info = {"network_id": outside["id"]}
        router = self.create("/routers", "router", name="router", external_gateway_info=info, **more)
        for subnet in subnets:
            self.plug(router, subnet)
        return router

    def plug(self, router: dict[str, Any], subnet: dict[str, Any]) -> dict[str, Any]:
        """A leg of a router on a subnet."""
        answer = self.send("PUT", f"/routers/{router['id']}/add_router_interface", {"subnet_id": subnet["id"]})
        assert answer.status_code == 200, answer.text
        leg: dict[str, Any] = answer.json()
        return leg

    def service(self, router: dict[str, Any], subnet: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        """A VPN service on a router."""
        values = {"router_id": router["id"], "subnet_id": subnet and subnet["id"], "name": "service"}
        return self.create("/vpn/vpnservices", "vpnservice", **(values | more))

    def ike(self, **more: Any) -> dict[str, Any]:
        """An IKE policy."""
        return self.create("/vpn/ikepolicies", "ikepolicy", **more)

    def ipsec(self, **more: Any) -> dict[str, Any]:
        """An IPsec policy."""
        return self.create("/vpn/ipsecpolicies", "ipsecpolicy", **more)

    def group(self, type: str, *endpoints: str, **more: Any) -> dict[str, Any]:
        """An endpoint group."""
        return self.create("/vpn/endpoint-groups", "endpoint_group", type=type, endpoints=list(endpoints), **more)

    def node(self, name: str = "node-1") -> Node:
        """A node that said hello."""
        with self.store.write() as tx:
            registry.add_node(tx, name, hashlib.sha256(f"token of {name}".encode()).hexdigest())
        return Node(self, name)


class Site:
    """A router with a service and policies: everything that a connection needs."""

    def __init__(self, api: Api, *outside: str, inside: str = "10.1.0.0/24", with_subnet: bool = True) -> None:
        self.api = api
        self.outside = api.outside(*outside)
        self.subnet = api.inside(inside)
        self.router = api.router(self.outside, self.subnet)
        self.service = api.service(self.router, self.subnet if with_subnet else None)
        self.ike = api.ike()
        self.ipsec = api.ipsec()

    def values(self, **more: Any) -> dict[str, Any]:
        """Values of a good connection; what is None explicitly stays, `...` is left out."""
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
        """A connection."""
        return self.api.create(CONNECTIONS, "ipsec_site_connection", **self.values(**more))

    def refused(self, **more: Any) -> tuple[int, str]:
        """Status and type with which a connection is refused."""
        return self.api.refused("POST", CONNECTIONS, {"ipsec_site_connection": self.values(**more)})


CONNECTIONS = "/vpn/ipsec-site-connections"


class Node:
    """A node as its agent speaks for it."""

    def __init__(self, api: Api, name: str) -> None:
        self.api = api
        self.name = name
        self.headers = {"authorization": f"Bearer token of {name}"}
        self._generations: dict[str, int] = {}
        self.hello()

    def send(self, method: str, path: str, **more: Any) -> httpx.Response:
        """One request."""
        answer: httpx.Response = self.api.client.request(method, f"/agent/v1{path}", headers=self.headers, **more)
        return answer

    def hello(self) -> Any:
        """Joins."""
        hello = Hello("kernel", "1.0", "6.0.1")
        answer = self.send("POST", "/hello", content=encode(hello))
        assert answer.status_code == 200, answer.text
        return answer.json()

    def desired(self, since: int = 0) -> Any:
        """What it should run."""
        answer = self.send("GET", "/desired", params={"since": since})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def report(self, *said: GatewayReport | ConnectionReport) -> None:
        """Says what it observed."""
        gateways = tuple(each for each in said if isinstance(each, GatewayReport))
        connections = tuple(each for each in said if isinstance(each, ConnectionReport))
        answer = self.send("POST", "/reports", content=encode(Report(gateways, connections)))
        assert answer.status_code == 204, answer.text

    def obey(self) -> None:
        """Runs everything that it should, and says so."""
        desired = self.desired()
        revision = desired["revision"]
        said: list[GatewayReport | ConnectionReport] = []
        for gateway in desired["gateways"]:
            self._generations[gateway["id"]] = gateway["generation"]
            said.append(GatewayReport(gateway["id"], gateway["generation"], revision, "ready"))
        said += [
            ConnectionReport(
                each["id"], self._generations[each["gateway_id"]], revision, "up" if each["enabled"] else "disabled"
            )
            for each in desired["connections"]
        ]
        said += self._gone(desired)
        self.report(*said)

    def _gone(self, desired: Any) -> list[GatewayReport | ConnectionReport]:
        made: list[GatewayReport | ConnectionReport] = []
        for gone in desired["gone"]:
            kind = GatewayReport if gone["kind"] == "gateway" else ConnectionReport
            made.append(kind(gone["id"], self._generations.get(gone["gateway_id"], 1), desired["revision"], "gone"))
        return made


def encode(value: Any) -> bytes:
    """What an agent sends."""
    return msgspec.json.encode(value)
