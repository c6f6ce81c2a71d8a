"""A world with something of everything, and ways to ask it for what it has to refuse: for the error matrix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import msgspec

from linkspan.core.schema.resources import RESOURCES
from tests.api.world import CONNECTIONS, RED, Api, Site

UNKNOWN = "3f0c7a50-1b9f-4b60-9c34-3f6f0f5f0000"
SERVICES, GROUPS = "/vpn/vpnservices", "/vpn/endpoint-groups"
IKE, IPSEC = "/vpn/ikepolicies", "/vpn/ipsecpolicies"
Values = dict[str, Any]


# --- the world ----------------------------------------------------------------------------------------------------


class World:
    """Two sites of alice, one with a subnet and one with endpoint groups, each with a connection; and one of bob."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.site = Site(api)
        self.used = self.site.connection(name="used", peer_address="203.0.113.77", peer_id="203.0.113.77")
        self.open = Site(api, "198.51.101.0/24", "2001:db8::/64", inside="10.2.0.0/24", with_subnet=False)
        self.six = api.inside("fd00:1::/64")
        api.plug(self.open.router, self.six)
        self.loose = api.inside("10.3.0.0/24")
        self.local = api.group("subnet", self.open.subnet["id"])["id"]
        self.peer = api.group("cidr", "10.20.0.0/24")["id"]
        given = {"peer_cidrs": ..., "local_ep_group_id": self.local, "peer_ep_group_id": self.peer}
        self.grouped = self.open.connection(name="grouped", peer_address="203.0.113.78", peer_id="78", **given)
        self.groups: dict[str, str] = {
            "loose": api.group("subnet", self.loose["id"])["id"],
            "six": api.group("subnet", self.six["id"])["id"],
            "both here": api.group("subnet", self.open.subnet["id"], self.six["id"])["id"],
            "six there": api.group("cidr", "fd09::/64")["id"],
            "both there": api.group("cidr", "10.20.0.0/24", "fd00::/64")["id"],
            "overlapping": api.group("cidr", "10.2.0.0/16")["id"],
            "vlan": api.group("vlan", "7")["id"],
            "here": self.local,
            "there": self.peer,
            "unknown": UNKNOWN,
        }
        self.bare = api.create("/routers", "router", name="bare")
        self.served = api.router(self.site.outside)
        api.service(self.served)
        self.foreign = Site(api.as_("bob"), inside="10.8.0.0/24")
        self.foreign_group = api.as_("bob").group("cidr", "10.20.0.0/24")["id"]
        self.empty = api.as_("admin").create("/networks", "network", name="empty", **{"router:external": True})
        api.as_("admin").update(f"/quotas/{RED}", "quota", ikepolicy=1)

    def everything(self) -> dict[str, Any]:
        """What there is, to see that nothing was changed."""
        admin = self.api.as_("admin")
        return {resource.plural: admin.get(f"/{resource.path}")[resource.plural] for resource in RESOURCES}


class Ask(msgspec.Struct, kw_only=True):
    """One request; what is callable in it is given the world first."""

    method: str
    path: str | Callable[[World], str]
    body: Any = None
    user: str = "alice"
    headers: dict[str, str] = {}

    def send(self, world: World) -> httpx.Response:
        """The answer."""
        path = self.path(world) if callable(self.path) else self.path
        body = _filled(self.body, world)
        content = {"content": body} if isinstance(body, bytes) else {"body": body}
        return world.api.as_(self.user).send(self.method, path, headers=self.headers, **content)

    def by(self, user: str) -> Ask:
        """The same request of somebody else."""
        return msgspec.structs.replace(self, user=user)


def _filled(value: Any, world: World) -> Any:
    if callable(value):
        return value(world)
    if isinstance(value, dict):
        return {name: _filled(inner, world) for name, inner in value.items()}
    return value


# --- ways to ask --------------------------------------------------------------------------------------------------


def connection(**given: Any) -> Ask:
    """A new connection on the service with a subnet."""

    def body(world: World) -> Any:
        return {"ipsec_site_connection": world.site.values(**_filled(given, world))}

    return Ask(method="POST", path=CONNECTIONS, body=body)


def grouped(here: str | None, there: str | None, **given: Any) -> Ask:
    """A new connection between groups of the world, on the service without a subnet."""

    def body(world: World) -> Any:
        sides = {"local_ep_group_id": here and world.groups[here], "peer_ep_group_id": there and world.groups[there]}
        return {"ipsec_site_connection": world.open.values(**({"peer_cidrs": ...} | sides | given))}

    return Ask(method="POST", path=CONNECTIONS, body=body)


def edited(**given: Any) -> Ask:
    """Other values for the connection of the site with a subnet."""
    path = path_of(CONNECTIONS, lambda world: world.used)
    return Ask(method="PUT", path=path, body={"ipsec_site_connection": given})


def service(**given: Any) -> Ask:
    """A new service."""
    return Ask(method="POST", path=SERVICES, body={"vpnservice": given})


def ike(**given: Any) -> Ask:
    """A new IKE policy."""
    return Ask(method="POST", path=IKE, body={"ikepolicy": given})


def ipsec(**given: Any) -> Ask:
    """A new IPsec policy."""
    return Ask(method="POST", path=IPSEC, body={"ipsecpolicy": given})


def group(**given: Any) -> Ask:
    """A new endpoint group."""
    return Ask(method="POST", path=GROUPS, body={"endpoint_group": given})


def sent(content: bytes, type: str = "application/json") -> Ask:
    """These bytes, where an IKE policy is expected."""
    return Ask(method="POST", path=IKE, body=content, headers={"content-type": type})


def at(method: str, path: str | Callable[[World], str], body: Any = None, **headers: str) -> Ask:
    """Any request."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Ask(method=method, path=path, body=body, headers=named)


def path_of(collection: str, thing: Callable[[World], Values], tail: str = "") -> Callable[[World], str]:
    """The path of something in the world."""
    return lambda world: f"{collection}/{thing(world)['id']}{tail}"


def router_of(world: World) -> str:
    """The path of the router of the site with a subnet."""
    return f"/routers/{world.site.router['id']}"


def id_of(thing: Callable[[World], Values]) -> Callable[[World], str]:
    """The id of something in the world."""
    return lambda world: str(thing(world)["id"])
