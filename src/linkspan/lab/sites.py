"""The API objects of the laboratory, created through the public API as any user creates them.

Existing objects, found by name, are used as they are, so that a second run with the same state continues. The
pre-shared key is random and is stored in the API only.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Sequence
from typing import Any, Final, Protocol

import msgspec

from linkspan.core.checks import quota
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

INTERNET: Final = "internet"
INTERNET_CIDRS: Final = ("198.51.100.0/24", "2001:db8:ffff::/64")
LANS: Final = {"left": ("10.1.0.0/24", "fd00:1::/64"), "right": ("10.2.0.0/24", "fd00:2::/64")}
OTHER: Final = {"left": "right", "right": "left"}
HOST: Final = 10
"""The hosts' number in an IPv4 subnet; in IPv6 the same digits in hexadecimal, ::10."""


class Api(Protocol):
    """A client of the API, authenticated as one user."""

    def request(self, method: str, path: str, body: Any = None, query: Any = ()) -> Any:
        """Send a request and return the decoded response."""


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """One site of the laboratory: ids and addresses from the API."""

    name: str
    network_id: str
    subnet_ids: tuple[str, ...]
    router_id: str
    service_id: str
    connection_id: str
    connection: str
    cidrs: tuple[str, ...]
    gateway_addresses: tuple[str, ...]
    outside_address: str
    host_addresses: tuple[str, ...]


class Lab(msgspec.Struct, frozen=True, kw_only=True):
    """Both sites and the objects they share. `resumed`: an earlier run created them."""

    resumed: bool
    internet_id: str
    ike_policy_id: str
    ipsec_policy_id: str
    sites: dict[str, Site]

    @property
    def prefixes(self) -> list[str]:
        """The inside prefixes of both sites."""
        return [cidr for site in self.sites.values() for cidr in site.cidrs]


def find(api: Api, resource: Resource, **filters: str) -> dict[str, Any] | None:
    """Return the first object with these attributes, or None."""
    objects = api.request("GET", f"/v2.0/{resource.path}", query=list(filters.items()))[resource.plural]
    return objects[0] if objects else None


def create(api: Api, resource: Resource, **values: Any) -> dict[str, Any]:
    """Create an object and return it."""
    created: dict[str, Any] = api.request("POST", f"/v2.0/{resource.path}", {resource.singular: values})[
        resource.singular
    ]
    return created


def ensure(api: Api, resource: Resource, name: str, **values: Any) -> dict[str, Any]:
    """Return the object of that name; create it if it does not exist."""
    return find(api, resource, name=name) or create(api, resource, name=name, **values)


def host_address(cidr: str) -> str:
    """Return the host's address in a subnet, with prefix length: 10.1.0.10/24, fd00:1::10/64."""
    network = ipaddress.ip_network(cidr)
    return f"{network[HOST if network.version == 4 else 0x10]}/{network.prefixlen}"


def build(admin: Api, user: Api, psk: Secret | None = None) -> Lab:
    """Create the laboratory's objects. `admin` creates the external network, `user` all others."""
    _lift_quotas(admin, user)
    internet = ensure(admin, NETWORK, INTERNET, **{"router:external": True})
    _subnets(admin, INTERNET, internet["id"], INTERNET_CIDRS)
    ike = ensure(user, IKE_POLICY, "lab-ike")
    ipsec = ensure(user, IPSEC_POLICY, "lab-ipsec")
    halves = {side: _half(user, side, internet["id"]) for side in LANS}
    existing = _existing_key(user)
    key = existing or psk or Secret(secrets.token_urlsafe(32))
    sites = {side: _connect(user, halves[side], halves[OTHER[side]], ike["id"], ipsec["id"], key) for side in LANS}
    return Lab(
        resumed=existing is not None,
        internet_id=internet["id"],
        ike_policy_id=ike["id"],
        ipsec_policy_id=ipsec["id"],
        sites=sites,
    )


def _lift_quotas(admin: Api, user: Api) -> None:
    """The laboratory is for trying: its project may have as many objects as the machine carries."""
    project = user.request("GET", "/v2.0/quotas/tenant")["tenant"]["tenant_id"]
    admin.request("PUT", f"/v2.0/quotas/{project}", {"quota": dict.fromkeys(quota.COUNTED, quota.UNLIMITED)})


def _subnets(api: Api, prefix: str, network_id: str, cidrs: Sequence[str]) -> list[dict[str, Any]]:
    return [
        ensure(api, SUBNET, f"{prefix}-v{ipaddress.ip_network(cidr).version}", network_id=network_id, cidr=cidr)
        for cidr in cidrs
    ]


def _half(api: Api, side: str, internet_id: str) -> dict[str, Any]:
    """Create a site without its connection: network, subnets, router, service."""
    network = ensure(api, NETWORK, f"{side}-lan")
    subnets = _subnets(api, f"{side}-lan", network["id"], LANS[side])
    router = ensure(api, ROUTER, side, external_gateway_info={"network_id": internet_id})
    ports = api.request("GET", f"/v2.0/{PORT.path}", query=[("device_id", router["id"])])[PORT.plural]
    attached = {address["subnet_id"] for port in ports for address in port["fixed_ips"]}
    for subnet in subnets:
        if subnet["id"] not in attached:
            path = f"/v2.0/{ROUTER.path}/{router['id']}/add_router_interface"
            api.request("PUT", path, {"subnet_id": subnet["id"]})
    service = ensure(api, SERVICE, side, router_id=router["id"], subnet_id=subnets[0]["id"])
    return {"side": side, "network": network, "subnets": subnets, "router": router, "service": service}


def _name(side: str) -> str:
    return f"{side}-to-{OTHER[side]}"


def _existing_key(api: Api) -> Secret | None:
    """Return the pre-shared key of an existing connection of the tunnel, since both ends need the same."""
    for side in LANS:
        connection = find(api, CONNECTION, name=_name(side))
        if connection is not None:
            return Secret(connection["psk"])
    return None


def _connect(api: Api, site: dict[str, Any], other: dict[str, Any], ike: str, ipsec: str, psk: Secret) -> Site:
    side, peer = site["side"], other["service"]["external_v4_ip"]
    connection = ensure(
        api,
        CONNECTION,
        _name(side),
        vpnservice_id=site["service"]["id"],
        ikepolicy_id=ike,
        ipsecpolicy_id=ipsec,
        peer_address=peer,
        peer_id=peer,
        peer_cidrs=[LANS[OTHER[side]][0]],
        psk=psk.reveal(),
    )
    return Site(
        name=side,
        network_id=site["network"]["id"],
        subnet_ids=tuple(subnet["id"] for subnet in site["subnets"]),
        router_id=site["router"]["id"],
        service_id=site["service"]["id"],
        connection_id=connection["id"],
        connection=connection["name"],
        cidrs=LANS[side],
        gateway_addresses=tuple(subnet["gateway_ip"] for subnet in site["subnets"]),
        outside_address=site["service"]["external_v4_ip"],
        host_addresses=tuple(host_address(cidr) for cidr in LANS[side]),
    )


def statuses(api: Api, lab: Lab) -> dict[str, tuple[str, str]]:
    """Return status and reason of both connections, by name."""
    response = api.request(
        "GET", f"/v2.0/{CONNECTION.path}", query=[("id", s.connection_id) for s in lab.sites.values()]
    )
    return {item["name"]: (item["status"], item.get("status_reason") or "") for item in response[CONNECTION.plural]}
