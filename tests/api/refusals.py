"""An API populated with objects of every kind, and the requests that it has to refuse: for the error matrix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import msgspec

from linkspan.core.schema.resources import RESOURCES
from tests.api.world import CONNECTIONS, RED, Api, LocalSite

UNKNOWN = "3f0c7a50-1b9f-4b60-9c34-3f6f0f5f0000"
SERVICES, GROUPS = "/vpn/vpnservices", "/vpn/endpoint-groups"
IKE, IPSEC = "/vpn/ikepolicies", "/vpn/ipsecpolicies"
Values = dict[str, Any]


# --- the objects --------------------------------------------------------------------------------------------------


class PopulatedApi:
    """An API with three sites: alice's with a subnet and with endpoint groups, both connected, and bob's."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.site = LocalSite(api)
        self.used = self.site.connection(name="used", peer_address="203.0.113.77", peer_id="203.0.113.77")
        self.open = LocalSite(api, "198.51.101.0/24", "2001:db8::/64", inside="10.2.0.0/24", with_subnet=False)
        self.six = api.inside("fd00:1::/64")
        api.plug(self.open.router, self.six)
        api.plug(self.site.router, api.inside("10.1.7.0/24"))
        self.on_peer = api.inside("10.9.0.0/23")
        self.loose = api.inside("10.3.0.0/24")
        self.local = api.group("subnet", self.open.subnet["id"])["id"]
        self.peer = api.group("cidr", "10.20.0.0/24")["id"]
        references = {"peer_cidrs": ..., "local_ep_group_id": self.local, "peer_ep_group_id": self.peer}
        self.grouped = self.open.connection(name="grouped", peer_address="203.0.113.78", peer_id="78", **references)
        self.groups: dict[str, str] = {
            "loose": api.group("subnet", self.loose["id"])["id"],
            "six": api.group("subnet", self.six["id"])["id"],
            "local both": api.group("subnet", self.open.subnet["id"], self.six["id"])["id"],
            "peer six": api.group("cidr", "fd09::/64")["id"],
            "peer both": api.group("cidr", "10.20.0.0/24", "fd00::/64")["id"],
            "inside": api.group("cidr", "10.2.0.128/25")["id"],
            "vlan": api.group("vlan", "7")["id"],
            "local": self.local,
            "peer": self.peer,
            "unknown": UNKNOWN,
        }
        self.anchor = api.create("/vpn/trust-anchors", "trust_anchor", source="generated", name="anchor")
        made = {"source": "generated", "issuer_id": self.anchor["id"], "subject_alt_names": ["gw.example.org"]}
        self.certificate = api.create("/vpn/certificates", "certificate", **made)
        self.certified = self.site.connection(
            auth_mode="certs",
            psk=...,
            peer_address="203.0.113.79",
            peer_id="peer.example.org",
            local_id="gw.example.org",
            local_certificate_id=self.certificate["id"],
            trust_anchor_id=self.anchor["id"],
        )
        self.bare = api.create("/routers", "router", name="bare")
        self.served = api.router(self.site.outside)
        api.service(self.served)
        self.foreign = LocalSite(api.as_("bob"), inside="10.8.0.0/24")
        self.foreign_group = api.as_("bob").group("cidr", "10.20.0.0/24")["id"]
        self.empty = api.as_("admin").create("/networks", "network", name="empty", **{"router:external": True})
        api.as_("admin").update(f"/quotas/{RED}", "quota", ikepolicy=1)

    def everything(self) -> dict[str, Any]:
        """Returns all objects, to verify that a refused request changed none."""
        admin = self.api.as_("admin")
        return {resource.plural: admin.get(f"/{resource.path}")[resource.plural] for resource in RESOURCES}


class RequestCase(msgspec.Struct, kw_only=True):
    """A request. Callables in its path and body are called with the populated API first."""

    method: str
    path: str | Callable[[PopulatedApi], str]
    body: Any = None
    user: str = "alice"
    headers: dict[str, str] = {}

    def send(self, populated: PopulatedApi) -> httpx.Response:
        """Sends the request."""
        path = self.path(populated) if callable(self.path) else self.path
        body = _filled(self.body, populated)
        content = {"content": body} if isinstance(body, bytes) else {"body": body}
        return populated.api.as_(self.user).send(self.method, path, headers=self.headers, **content)

    def by(self, user: str) -> RequestCase:
        """Returns the same request by another user."""
        return msgspec.structs.replace(self, user=user)


def _filled(value: Any, populated: PopulatedApi) -> Any:
    if callable(value):
        return value(populated)
    if isinstance(value, dict):
        return {name: _filled(inner, populated) for name, inner in value.items()}
    return value


# --- requests -----------------------------------------------------------------------------------------------------


def connection(**values: Any) -> RequestCase:
    """Returns a request for a connection on the service with a subnet."""

    def body(populated: PopulatedApi) -> Any:
        return {"ipsec_site_connection": populated.site.values(**_filled(values, populated))}

    return RequestCase(method="POST", path=CONNECTIONS, body=body)


def grouped(local: str | None, peer: str | None, **values: Any) -> RequestCase:
    """Returns a request for a connection between named endpoint groups, on the service without a subnet."""

    def body(populated: PopulatedApi) -> Any:
        sides = {
            "local_ep_group_id": local and populated.groups[local],
            "peer_ep_group_id": peer and populated.groups[peer],
        }
        return {"ipsec_site_connection": populated.open.values(**({"peer_cidrs": ...} | sides | values))}

    return RequestCase(method="POST", path=CONNECTIONS, body=body)


def edited(**values: Any) -> RequestCase:
    """Returns an update of the connection of the site with a subnet."""
    path = path_of(CONNECTIONS, lambda populated: populated.used)
    return RequestCase(method="PUT", path=path, body={"ipsec_site_connection": values})


def service(**values: Any) -> RequestCase:
    """Returns a request for a service."""
    return RequestCase(method="POST", path=SERVICES, body={"vpnservice": values})


def ike(**values: Any) -> RequestCase:
    """Returns a request for an IKE policy."""
    return RequestCase(method="POST", path=IKE, body={"ikepolicy": values})


def ipsec(**values: Any) -> RequestCase:
    """Returns a request for an IPsec policy."""
    return RequestCase(method="POST", path=IPSEC, body={"ipsecpolicy": values})


def group(**values: Any) -> RequestCase:
    """Returns a request for an endpoint group."""
    return RequestCase(method="POST", path=GROUPS, body={"endpoint_group": values})


def sent(content: bytes, type: str = "application/json") -> RequestCase:
    """Returns a POST of these bytes instead of an IKE policy."""
    return RequestCase(method="POST", path=IKE, body=content, headers={"content-type": type})


def at(method: str, path: str | Callable[[PopulatedApi], str], body: Any = None, **headers: str) -> RequestCase:
    """Returns a request to any path."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return RequestCase(method=method, path=path, body=body, headers=named)


def path_of(collection: str, select: Callable[[PopulatedApi], Values], tail: str = "") -> Callable[[PopulatedApi], str]:
    """Returns the path of an object of the populated API."""
    return lambda populated: f"{collection}/{select(populated)['id']}{tail}"


def router_of(populated: PopulatedApi) -> str:
    """Returns the path of the router of the site with a subnet."""
    return f"/routers/{populated.site.router['id']}"


def id_of(select: Callable[[PopulatedApi], Values]) -> Callable[[PopulatedApi], str]:
    """Returns the id of an object of the populated API."""
    return lambda populated: str(select(populated)["id"])
