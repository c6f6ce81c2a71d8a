"""The error matrix: every case of it by name, with all the ways into it that are known, and what each answers.

All requests are sent to one world, one after the other: each is refused, so none of them changes anything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import httpx
import msgspec

from linkspan.core.problem import STATUS
from linkspan.core.resources import ENDPOINT_GROUP, IKE_POLICY, IPSEC_POLICY, RESOURCES
from tests.api import test_edge, test_rates
from tests.api.conftest import OpenApi
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
    path = _path(CONNECTIONS, lambda world: world.used)
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


def _path(collection: str, thing: Callable[[World], Values], tail: str = "") -> Callable[[World], str]:
    return lambda world: f"{collection}/{thing(world)['id']}{tail}"


def _router(world: World) -> str:
    return f"/routers/{world.site.router['id']}"


def _id(thing: Callable[[World], Values]) -> Callable[[World], str]:
    return lambda world: str(thing(world)["id"])


_USED = _path(CONNECTIONS, lambda world: world.used)
_SERVICE = _path(SERVICES, lambda world: world.site.service)
_POLICY = _path(IKE, lambda world: world.site.ike)
_LEG: Final = {"subnet_id": _id(lambda world: world.site.subnet)}
_OPEN_LEG: Final = {"subnet_id": _id(lambda world: world.open.subnet)}
_ROUTER_ID = _id(lambda world: world.site.router)


# --- the matrix ---------------------------------------------------------------------------------------------------

Row = tuple[int, str, list[Ask]]

MATRIX: Final[dict[str, Row]] = {
    "missing required attribute": (
        400,
        "HTTPBadRequest",
        [
            *(connection(**{name: ...}) for name in ("vpnservice_id", "ikepolicy_id", "ipsecpolicy_id")),
            *(connection(**{name: ...}) for name in ("peer_address", "peer_id", "psk")),
            service(),
            group(endpoints=["10.0.0.0/24"]),
            at("POST", "/subnets", {"subnet": {}}),
        ],
    ),
    "bad uuid": (
        400,
        "HTTPBadRequest",
        [connection(vpnservice_id="x"), connection(local_ep_group_id="x"), service(router_id="x")],
    ),
    "bad enum": (
        400,
        "HTTPBadRequest",
        [
            ike(auth_algorithm="md5"),
            ike(ike_version="v3"),
            ike(lifetime={"units": "hours"}),
            ike(lifetime={"units": "kilobytes"}),
            ipsec(transform_protocol="udp"),
            ipsec(encryption_algorithm="des"),
            group(type="host", endpoints=["x"]),
            connection(initiator="me"),
        ],
    ),
    "text that is too long, empty, or no text": (
        400,
        "HTTPBadRequest",
        [
            *(ike(name=name) for name in ("n" * 256, 17, None, "a\nb", "a\x00b")),
            ike(description="d" * 256),
            connection(psk="k" * 256),
            connection(psk=""),
            *(connection(peer_id=id) for id in ("", "%any", "k" * 256)),
            connection(local_id="a\nb"),
        ],
    ),
    "duplicate or invalid CIDRs": (
        400,
        "HTTPBadRequest",
        [
            *(connection(peer_cidrs=[cidr]) for cidr in ("10.0.0.0", "10.0.0.0/33", 7)),
            connection(peer_cidrs=["10.0.0.0/24", "10.0.0.0/24"]),
            connection(peer_cidrs=[f"10.9.{number}.0/24" for number in range(65)]),
            group(type="cidr", endpoints=[f"10.0.{number}.0/24" for number in range(65)]),
            group(type="cidr", endpoints=[1]),
        ],
    ),
    "a peer CIDR that overlaps the local side": (
        400,
        "HTTPBadRequest",
        [connection(peer_cidrs=["10.1.0.128/25"]), edited(peer_cidrs=["10.1.0.0/24"]), grouped("here", "overlapping")],
    ),
    "bad DPD action, key or number": (
        400,
        "HTTPBadRequest",
        [
            connection(dpd=dpd)
            for dpd in ({"action": "explode"}, {"x": 1}, {"interval": -1}, {"interval": 0}, {"timeout": 2**31})
        ],
    ),
    "lifetime too short, too long, with an unknown key": (
        400,
        "HTTPBadRequest",
        [ike(lifetime=lifetime) for lifetime in ({"value": 59}, {"value": 2**31}, {"x": 1}, {"value": "x"}, 7)],
    ),
    "null psk": (400, "HTTPBadRequest", [connection(psk=None), edited(psk=None)]),
    "auth_mode certs": (
        400,
        "HTTPBadRequest",
        [connection(auth_mode="certs"), connection(auth_mode="certs", psk=...), edited(auth_mode="certs")],
    ),
    "MTU over the limit": (400, "HTTPBadRequest", [connection(mtu=9217), connection(mtu=10**12)]),
    "non-integer MTU, non-boolean": (
        400,
        "InvalidInput",
        [connection(mtu="big"), connection(admin_state_up="maybe"), service(router_id=UNKNOWN, admin_state_up="maybe")],
    ),
    "unknown attribute": (
        400,
        "HTTPBadRequest",
        [ike(colour="red"), connection(colour="red"), at("PUT", _POLICY, {"ikepolicy": {"colour": "red"}})],
    ),
    "attribute that POST does not allow": (
        400,
        "HTTPBadRequest",
        [
            ike(id=UNKNOWN),
            ike(revision_number=7),
            connection(route_mode="dynamic"),
            connection(status="ACTIVE"),
            service(router_id=_ROUTER_ID, status="ACTIVE"),
            service(router_id=_ROUTER_ID, external_v4_ip="1.2.3.4"),
        ],
    ),
    "attribute that PUT does not allow": (
        400,
        "HTTPBadRequest",
        [
            *(edited(**{name: UNKNOWN}) for name in ("vpnservice_id", "ikepolicy_id", "ipsecpolicy_id")),
            *(
                at("PUT", _SERVICE, {"vpnservice": {name: UNKNOWN}})
                for name in ("router_id", "subnet_id", "flavor_id", "status")
            ),
            at("PUT", lambda world: f"{GROUPS}/{world.peer}", {"endpoint_group": {"endpoints": ["10.1.0.0/24"]}}),
        ],
    ),
    "empty body, wrong key": (
        400,
        "HTTPBadRequest",
        [
            sent(content)
            for content in (
                b"",
                b"  ",
                b"{}",
                b"[]",
                b'"x"',
                b'{"ike_policy": {}}',
                b'{"ikepolicy": []}',
                b'{"ikepolicy": null}',
            )
        ],
    ),
    "the same key twice": (
        400,
        "HTTPBadRequest",
        [
            sent(b'{"ikepolicy": {"name": "a", "name": "b"}}'),
            sent(b'{"ikepolicy": {"name": "a"}, "ikepolicy": {}}'),
        ],
    ),
    "broken JSON": (
        400,
        "MalformedRequestBody",
        [
            sent(content)
            for content in (
                b'{"ikepolicy": {',
                b'{"ikepolicy": {"name": "\xff"}}',
                b'{"ikepolicy": {"name": NaN}}',
                b"[" * 5000,
                b"[" * 5000 + b"]" * 5000,
            )
        ],
    ),
    "body that is not JSON": (
        400,
        "MalformedRequestBody",
        [sent(b"name=x"), sent(b"name=x", "application/x-www-form-urlencoded"), sent(b"<x/>", "application/xml")],
    ),
    "router without external gateway": (
        400,
        "RouterIsNotExternal",
        [service(router_id=_id(lambda world: world.bare))],
    ),
    "subnet not on the router": (
        400,
        "SubnetIsNotConnectedToRouter",
        [
            service(router_id=_ROUTER_ID, subnet_id=UNKNOWN),
            service(router_id=_ROUTER_ID, subnet_id=_id(lambda world: world.loose)),
            grouped("loose", "there"),
        ],
    ),
    "unknown router": (
        404,
        "RouterNotFound",
        [
            service(router_id=UNKNOWN),
            service(router_id=_id(lambda world: world.foreign.router)),
            at("GET", f"/routers/{UNKNOWN}"),
        ],
    ),
    "timeout ≤ interval, after defaults or merge": (
        400,
        "IPsecSiteConnectionDpdIntervalValueError",
        [
            connection(dpd={"interval": 60, "timeout": 30}),
            connection(dpd={"interval": 120}),
            connection(dpd={"interval": "9", "timeout": "9"}),
            edited(dpd={"timeout": 30}),
        ],
    ),
    "MTU too small for the IP version": (
        400,
        "IPsecSiteConnectionMtuError",
        [
            connection(mtu=67),
            connection(mtu=0),
            connection(dpd={"interval": "9", "timeout": "10"}, mtu=0),
            edited(mtu=10),
            grouped("six", "six there", mtu=1279),
        ],
    ),
    "peer address empty or not an address or name": (
        400,
        "VPNPeerAddressNotResolved",
        [connection(peer_address=address) for address in ("", "no address", "%any", "0.0.0.0", "224.0.0.1")],
    ),
    "peer address of a version that the gateway lacks": (
        400,
        "ExternalNetworkHasNoSubnet",
        [connection(peer_address="2001:db8::7"), edited(peer_address="2001:db8::9")],
    ),
    "peer CIDRs mix versions": (
        400,
        "MixedIPVersionsForPeerCidrs",
        [connection(peer_cidrs=["10.0.0.0/24", "2001:db8::/64"])],
    ),
    "a group mixes versions": (
        400,
        "MixedIPVersionsForIPSecEndpoints",
        [grouped("both here", "there"), grouped("here", "both there")],
    ),
    "local and peer versions differ": (
        400,
        "MixedIPVersionsForIPSecConnection",
        [connection(peer_cidrs=["2001:db8::/64"]), grouped("here", "six there")],
    ),
    "service has a subnet, CIDRs absent or empty": (
        400,
        "MissingPeerCidrs",
        [connection(peer_cidrs=[]), connection(peer_cidrs=...), edited(peer_cidrs=[])],
    ),
    "service has a subnet, a group given": (
        400,
        "InvalidEndpointGroup",
        [
            ask(**{f"{side}_ep_group_id": lambda world: world.local for side in sides})
            for sides in (("local",), ("peer",), ("local", "peer"))
            for ask in (connection, edited)
        ],
    ),
    "service has no subnet, CIDRs given": (
        400,
        "PeerCidrsInvalid",
        [grouped("here", "there", peer_cidrs=["10.30.0.0/24"]), grouped(None, None, peer_cidrs=["10.30.0.0/24"])],
    ),
    "service has no subnet, a group absent": (
        400,
        "MissingRequiredEndpointGroup",
        [grouped(None, None), grouped("here", None), grouped(None, "there")],
    ),
    "groups swapped or of the wrong type": (
        400,
        "WrongEndpointGroupType",
        [grouped("there", "here"), grouped("here", "here"), grouped("vlan", "there")],
    ),
    "group empty, or its endpoints missing": (
        400,
        "MissingEndpointForEndpointGroup",
        [group(type="cidr", endpoints=[]), group(type="cidr")],
    ),
    "group holds a bad CIDR, a non-uuid or a duplicate": (
        400,
        "InvalidEndpointInEndpointGroup",
        [
            group(type="cidr", endpoints=["10.0.0.0/33"]),
            group(type="cidr", endpoints=["10.0.0.0/24", "10.0.0.9/24"]),
            group(type="router", endpoints=["x"]),
            group(type="vlan", endpoints=["4095"]),
        ],
    ),
    "group names an unknown subnet": (
        400,
        "NonExistingSubnetInEndpointGroup",
        [
            group(type="subnet", endpoints=[UNKNOWN]),
            group(type="subnet", endpoints=lambda world: [world.foreign.subnet["id"]]),
        ],
    ),
    "group deleted while in use": (
        400,
        "EndpointGroupInUse",
        [at("DELETE", lambda world: f"{GROUPS}/{world.local}"), at("DELETE", lambda world: f"{GROUPS}/{world.peer}")],
    ),
    "IKE policy deleted while in use": (409, "IKEPolicyInUse", [at("DELETE", _POLICY)]),
    "IPsec policy deleted while in use": (
        409,
        "IPsecPolicyInUse",
        [at("DELETE", _path(IPSEC, lambda world: world.site.ipsec))],
    ),
    "service deleted while it has connections": (409, "VPNServiceInUse", [at("DELETE", _SERVICE)]),
    "router interface removed under a service": (
        409,
        "SubnetInUseByVPNService",
        [at("PUT", lambda world: f"{_router(world)}/remove_router_interface", _LEG)],
    ),
    "router interface removed under a connection": (
        409,
        "SubnetInUseByIPsecSiteConnection",
        [at("PUT", _path("/routers", lambda world: world.open.router, "/remove_router_interface"), _OPEN_LEG)],
    ),
    "subnet deleted under a VPN": (
        409,
        "SubnetInUse",
        [
            at("DELETE", _path("/subnets", lambda world: world.site.subnet)),
            at("DELETE", _path("/subnets", lambda world: world.open.subnet)),
        ],
    ),
    "gateway cleared or router deleted under a VPN": (
        409,
        "RouterInUse",
        [
            at("PUT", _router, {"router": {"external_gateway_info": {}}}),
            at("DELETE", _router),
            at("DELETE", _path("/routers", lambda world: world.served)),
        ],
    ),
    "unknown service, another project's, or a name": (
        404,
        "VPNServiceNotFound",
        [
            *(at("GET", f"{SERVICES}/{id}") for id in (UNKNOWN, "office")),
            at("DELETE", _SERVICE).by("bob"),
            connection(vpnservice_id=UNKNOWN),
            connection(vpnservice_id=_id(lambda world: world.foreign.service)),
        ],
    ),
    "unknown IKE policy, another project's, or a name": (
        404,
        IKE_POLICY.not_found,
        [
            *(at("GET", f"{IKE}/{id}") for id in (UNKNOWN, "office", "a%00b", "%ff")),
            at("GET", _POLICY).by("bob"),
            connection(ikepolicy_id=UNKNOWN),
            connection(ikepolicy_id=_id(lambda world: world.foreign.ike)),
        ],
    ),
    "unknown IPsec policy, another project's, or a name": (
        404,
        IPSEC_POLICY.not_found,
        [
            *(at("GET", f"{IPSEC}/{id}") for id in (UNKNOWN, "office")),
            connection(ipsecpolicy_id=UNKNOWN),
            connection(ipsecpolicy_id=_id(lambda world: world.foreign.ipsec)),
        ],
    ),
    "unknown connection, another project's, or a name": (
        404,
        "IPsecSiteConnectionNotFound",
        [
            *(at("GET", f"{CONNECTIONS}/{id}") for id in (UNKNOWN, "office")),
            *(at(method, _USED).by("bob") for method in ("GET", "DELETE")),
            at("PUT", _USED, {"ipsec_site_connection": {"name": "x"}}).by("bob"),
        ],
    ),
    "unknown group, another project's, or a name": (
        404,
        ENDPOINT_GROUP.not_found,
        [
            *(at("GET", f"{GROUPS}/{id}") for id in (UNKNOWN, "office")),
            connection(local_ep_group_id=UNKNOWN),
            connection(peer_ep_group_id=lambda world: world.foreign_group),
            grouped("here", "unknown"),
        ],
    ),
    "member naming another project; tenant_id ≠ project_id": (
        400,
        "HTTPBadRequest",
        [
            ike(project_id=RED),
            ike(tenant_id=RED),
            ike(project_id="a" * 32, tenant_id=RED).by("admin"),
        ],
    ),
    "bad limit": (400, "BadRequest", [at("GET", f"{IKE}?limit={limit}") for limit in ("abc", "-1", "", "1.5")]),
    "bad filter, sort key or direction": (
        400,
        "HTTPBadRequest",
        [
            at("GET", f"{IKE}?{query}")
            for query in (
                "colour=red",
                "lifetime=3600",
                "sort_key=name",
                "sort_key=colour&sort_dir=asc",
                "sort_key=lifetime&sort_dir=asc",
                "sort_key=name&sort_dir=up",
            )
        ],
    ),
    "filter of another kind": (
        400,
        "InvalidInput",
        [at("GET", f"{IKE}?{query}") for query in ("revision_number=x", "name=a%00b")],
    ),
    "PUT or DELETE on a collection": (
        404,
        "IKEPolicyNotFound",
        [at("DELETE", IKE), at("PUT", IKE, {"ikepolicy": {}})],
    ),
    "no or bad credentials": (
        401,
        "Unauthorized",
        [at("GET", IKE).by(""), at("GET", IKE).by("stranger"), at("PATCH", "/nothing", {}).by("stranger")],
    ),
    "role does not allow it, own project": (
        403,
        "PolicyNotAuthorized",
        [
            ike().by("reader"),
            connection().by("reader"),
            at("DELETE", _USED).by("reader"),
            at("PUT", _USED, {"ipsec_site_connection": {"name": "x"}}).by("reader"),
            at("GET", IKE).by("nobody"),
            at("GET", "/linkspan/nodes"),
        ],
    ),
    "method not known for the path": (
        405,
        "HTTPMethodNotAllowed",
        [
            at("PATCH", _POLICY, {"ikepolicy": {"name": "x"}}),
            at("PATCH", f"{IKE}/{UNKNOWN}", {}),
            at("PATCH", IKE, {}),
            at("POST", f"{IKE}/{UNKNOWN}", {}),
            at("POST", "/ports", {}),
            at("POST", "/quotas", {}),
        ],
    ),
    "revision does not match": (
        412,
        "RevisionNumberConstraintFailed",
        [
            at("DELETE", _POLICY, if_match="revision_number=7"),
            at("PUT", _POLICY, {"ikepolicy": {"name": "x"}}, if_match="revision_number=0"),
        ],
    ),
    "body over the limit": (
        413,
        "RequestTooLarge",
        [sent(b'{"ikepolicy": {"description": "' + b"x" * 65536 + b'"}}')],
    ),
    "depth or list over the limits": (
        400,
        "HTTPBadRequest",
        [
            sent(b'{"ikepolicy": ' + b'{"a":' * 17 + b"1" + b"}" * 18),
            sent(b"[" * 200 + b"]" * 200),
            at("POST", IKE, {"ikepolicies": [{}] * 101}),
        ],
    ),
    "unknown flavor": (404, "FlavorNotFound", [service(router_id=_ROUTER_ID, flavor_id=UNKNOWN)]),
    "two connections that charon or a peer could not tell apart": (
        409,
        "IPsecSiteConnectionConflict",
        [
            connection(peer_address="203.0.113.77", peer_id="203.0.113.77", psk="another", peer_cidrs=["10.7.0.0/24"]),
            connection(peer_address="203.0.113.77", peer_id="203.0.113.77", peer_cidrs=["10.9.0.128/25"]),
        ],
    ),
    "over quota": (409, "OverQuota", [ike().by("bob"), ike(project_id=RED).by("admin")]),
}

BESIDE: Final[dict[str, Row]] = {
    "unknown path": (
        404,
        "HTTPNotFound",
        [at("GET", path) for path in ("/vpn/nothing", f"{IKE}/a/b", f"{IKE}/a/b/c/d", "//nothing", "/extensions/x")],
    ),
    "unknown network": (404, "NetworkNotFound", [at("GET", f"/networks/{UNKNOWN}")]),
    "unknown subnet": (404, "SubnetNotFound", [at("GET", f"/subnets/{UNKNOWN}")]),
    "unknown port": (404, "PortNotFound", [at("GET", f"/ports/{UNKNOWN}")]),
    "a router without this interface": (
        404,
        "RouterInterfaceNotFoundForSubnet",
        [at("PUT", lambda world: f"{_router(world)}/remove_router_interface", {"subnet_id": UNKNOWN})],
    ),
    "a project without quotas of its own": (
        404,
        "TenantQuotaNotFound",
        [at("DELETE", f"/quotas/{'a' * 32}").by("admin")],
    ),
    "network deleted with ports on it": (
        409,
        "NetworkInUse",
        [at("DELETE", _path("/networks", lambda world: world.site.outside)).by("admin")],
    ),
    "no address left": (
        409,
        "IpAddressGenerationFailure",
        [
            at(
                "POST",
                "/routers",
                {"router": {"external_gateway_info": {"network_id": _id(lambda world: world.empty)}}},
            )
        ],
    ),
}
"""What the matrix does not name because Neutron's inventory is not the subject of it."""

ELSEWHERE: Final[dict[str, Callable[..., None]]] = {
    # Both need an API of their own.
    "TooManyRequests": test_rates.test_a_project_has_its_rate,
    "ServiceUnavailable": test_edge.test_a_database_that_cannot_is_a_503,
}


def shape(answer: httpx.Response) -> tuple[int, str]:
    """Status and type of an error, whose shape is checked."""
    body = answer.json()
    assert answer.headers["x-openstack-request-id"].startswith("req-")
    assert answer.headers["content-type"] == "application/json"
    if answer.status_code == 401:
        fault = body["error"]
        assert (list(body), sorted(fault), fault["code"]) == (["error"], ["code", "message", "title"], 401)
        return 401, fault["title"]
    fault = body["NeutronError"]
    assert (list(body), sorted(fault), fault["detail"]) == (["NeutronError"], ["detail", "message", "type"], "")
    assert fault["message"]
    return answer.status_code, fault["type"]


def test_every_case_answers_as_the_matrix_says(open_api: OpenApi) -> None:
    with open_api() as api:
        world = World(api)
        before = world.everything()
        wrong = {}
        for name, (status, type, asks) in (MATRIX | BESIDE).items():
            for number, ask in enumerate(asks):
                answer = ask.send(world)
                if answer.status_code < 400 or shape(answer) != (status, type):
                    wrong[f"{name}, {number}"] = (answer.status_code, answer.text)
        assert wrong == {}
        assert world.everything() == before, "what is refused changes nothing"


def test_every_type_is_answered_by_some_case() -> None:
    rows = [*MATRIX.values(), *BESIDE.values()]
    assert {type for _, type, _ in rows} | ELSEWHERE.keys() == STATUS.keys()
    assert all(STATUS[type] == status for status, type, _ in rows)
    assert all(asks for _, _, asks in rows)
