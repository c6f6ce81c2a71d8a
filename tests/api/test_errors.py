"""The error matrix: every case by name, with all known requests that lead to it, and the error that they get.

All requests are sent to one populated API, one after the other: all are refused, so none changes an object.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import httpx

from linkspan.core.errors import STATUS
from linkspan.core.schema.resources import CERTIFICATE, ENDPOINT_GROUP, IKE_POLICY, IPSEC_POLICY, TRUST_ANCHOR
from tests.api.authentication import test_rate_limits
from tests.api.conftest import OpenApi
from tests.api.embedded_keystone import test_embedded_keystone
from tests.api.http import test_dispatcher, test_same_site
from tests.api.refusals import (
    GROUPS,
    IKE,
    IPSEC,
    SERVICES,
    UNKNOWN,
    PopulatedApi,
    RequestCase,
    at,
    connection,
    edited,
    group,
    grouped,
    id_of,
    ike,
    ipsec,
    path_of,
    router_of,
    sent,
    service,
)
from tests.api.resources import test_rollback
from tests.api.world import CONNECTIONS, RED

_USED = path_of(CONNECTIONS, lambda populated: populated.used)
_SERVICE = path_of(SERVICES, lambda populated: populated.site.service)
_POLICY = path_of(IKE, lambda populated: populated.site.ike)
_INTERFACE: Final = {"subnet_id": id_of(lambda populated: populated.site.subnet)}
_OPEN_INTERFACE: Final = {"subnet_id": id_of(lambda populated: populated.open.subnet)}
_ROUTER_ID = id_of(lambda populated: populated.site.router)


def _loose(**values: Any) -> RequestCase:
    """A change of a subnet that no router is attached to."""
    return at("PUT", path_of("/subnets", lambda populated: populated.loose), {"subnet": values})


def _pools(*ends: str) -> list[RequestCase]:
    """A request for pools of a subnet, by their starts and ends."""
    return [
        _loose(
            allocation_pools=[{"start": start, "end": end} for start, end in zip(ends[::2], ends[1::2], strict=True)]
        )
    ]


Row = tuple[int, str, list[RequestCase]]

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
    "a peer CIDR that equals or is inside the local side": (
        400,
        "HTTPBadRequest",
        [connection(peer_cidrs=["10.1.0.128/25"]), edited(peer_cidrs=["10.1.0.0/24"]), grouped("local", "inside")],
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
            at(
                "PUT",
                lambda populated: f"{GROUPS}/{populated.peer}",
                {"endpoint_group": {"endpoints": ["10.1.0.0/24"]}},
            ),
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
                b'{"ikepolicy": {"name": "[[[[[[[[[[[[[[[[["}',
                b'{"ikepolicy": {"name": "\\"[[[[[[[[[[[[[[[[["',
            )
        ],
    ),
    "JSON of too many levels": (
        400,
        "HTTPBadRequest",
        [
            sent(content)
            for content in (
                # Python 3.11 decodes a thousand levels, 3.13 ten thousand, 3.14 as many as the thread's stack holds.
                b"[" * 60_000,
                *(b"[" * levels + b"]" * levels for levels in (17, 900, 5_000, 15_000, 30_000)),
                b'{"a":' * 17 + b"1" + b"}" * 17,
                b'{"ikepolicy": {"name": "]]"}, "other": ' + b'[{"a":' * 8 + b"1" + b"}]" * 8 + b"}",
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
        [service(router_id=id_of(lambda populated: populated.bare))],
    ),
    "subnet not on the router": (
        400,
        "SubnetIsNotConnectedToRouter",
        [
            service(router_id=_ROUTER_ID, subnet_id=UNKNOWN),
            service(router_id=_ROUTER_ID, subnet_id=id_of(lambda populated: populated.loose)),
            grouped("loose", "peer"),
        ],
    ),
    "unknown router": (
        404,
        "RouterNotFound",
        [
            service(router_id=UNKNOWN),
            service(router_id=id_of(lambda populated: populated.foreign.router)),
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
            grouped("six", "peer six", mtu=1279),
        ],
    ),
    "peer address empty or not an address or name": (
        400,
        "VPNPeerAddressNotResolved",
        [
            *(connection(peer_address=address) for address in ("", "no address", "%any", "0.0.0.0", "224.0.0.1")),
            *(connection(peer_address=address) for address in ("fe80::1", "127.0.0.1", "240.0.0.1", "localhost")),
            edited(peer_address="::ffff:203.0.113.5"),
        ],
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
        [grouped("local both", "peer"), grouped("local", "peer both")],
    ),
    "local and peer versions differ": (
        400,
        "MixedIPVersionsForIPSecConnection",
        [connection(peer_cidrs=["2001:db8::/64"]), grouped("local", "peer six")],
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
            case(**{f"{side}_ep_group_id": lambda populated: populated.local for side in sides})
            for sides in (("local",), ("peer",), ("local", "peer"))
            for case in (connection, edited)
        ],
    ),
    "service has no subnet, CIDRs given": (
        400,
        "PeerCidrsInvalid",
        [grouped("local", "peer", peer_cidrs=["10.30.0.0/24"]), grouped(None, None, peer_cidrs=["10.30.0.0/24"])],
    ),
    "service has no subnet, a group absent": (
        400,
        "MissingRequiredEndpointGroup",
        [grouped(None, None), grouped("local", None), grouped(None, "peer")],
    ),
    "groups swapped or of the wrong type": (
        400,
        "WrongEndpointGroupType",
        [grouped("peer", "local"), grouped("local", "local"), grouped("vlan", "peer")],
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
            group(type="subnet", endpoints=lambda populated: [populated.foreign.subnet["id"]]),
        ],
    ),
    "allocation pool that ends before it starts": (400, "InvalidAllocationPool", _pools("10.3.0.9", "10.3.0.8")),
    "allocation pool beyond the subnet": (400, "OutOfBoundsAllocationPool", _pools("10.3.0.9", "10.3.1.8")),
    "allocation pool with the gateway": (409, "GatewayConflictWithAllocationPools", _pools("10.3.0.1", "10.3.0.8")),
    "allocation pools that overlap": (
        409,
        "OverlappingAllocationPools",
        _pools("10.3.0.5", "10.3.0.9", "10.3.0.8", "10.3.0.8"),
    ),
    "group deleted while in use": (
        400,
        "EndpointGroupInUse",
        [
            at("DELETE", lambda populated: f"{GROUPS}/{populated.local}"),
            at("DELETE", lambda populated: f"{GROUPS}/{populated.peer}"),
        ],
    ),
    "IKE policy deleted while in use": (409, "IKEPolicyInUse", [at("DELETE", _POLICY)]),
    "IPsec policy deleted while in use": (
        409,
        "IPsecPolicyInUse",
        [at("DELETE", path_of(IPSEC, lambda populated: populated.site.ipsec))],
    ),
    "service deleted while it has connections": (409, "VPNServiceInUse", [at("DELETE", _SERVICE)]),
    "router interface removed under a service": (
        409,
        "SubnetInUseByVPNService",
        [at("PUT", lambda populated: f"{router_of(populated)}/remove_router_interface", _INTERFACE)],
    ),
    "router interface removed under a connection": (
        409,
        "SubnetInUseByIPsecSiteConnection",
        [
            at(
                "PUT",
                path_of("/routers", lambda populated: populated.open.router, "/remove_router_interface"),
                _OPEN_INTERFACE,
            )
        ],
    ),
    "subnet deleted under a VPN": (
        409,
        "SubnetInUse",
        [
            at("DELETE", path_of("/subnets", lambda populated: populated.site.subnet)),
            at("DELETE", path_of("/subnets", lambda populated: populated.open.subnet)),
        ],
    ),
    "gateway cleared or router deleted under a VPN": (
        409,
        "RouterInUse",
        [
            at("PUT", router_of, {"router": {"external_gateway_info": {}}}),
            at("DELETE", router_of),
            at("DELETE", path_of("/routers", lambda populated: populated.served)),
        ],
    ),
    "unknown service, another project's, or a name": (
        404,
        "VPNServiceNotFound",
        [
            *(at("GET", f"{SERVICES}/{id}") for id in (UNKNOWN, "office")),
            at("DELETE", _SERVICE).by("bob"),
            connection(vpnservice_id=UNKNOWN),
            connection(vpnservice_id=id_of(lambda populated: populated.foreign.service)),
        ],
    ),
    "unknown IKE policy, another project's, or a name": (
        404,
        IKE_POLICY.not_found,
        [
            *(at("GET", f"{IKE}/{id}") for id in (UNKNOWN, "office", "a%00b", "%ff")),
            at("GET", _POLICY).by("bob"),
            connection(ikepolicy_id=UNKNOWN),
            connection(ikepolicy_id=id_of(lambda populated: populated.foreign.ike)),
        ],
    ),
    "unknown IPsec policy, another project's, or a name": (
        404,
        IPSEC_POLICY.not_found,
        [
            *(at("GET", f"{IPSEC}/{id}") for id in (UNKNOWN, "office")),
            connection(ipsecpolicy_id=UNKNOWN),
            connection(ipsecpolicy_id=id_of(lambda populated: populated.foreign.ipsec)),
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
    "unknown certificate": (
        404,
        CERTIFICATE.not_found,
        [at("GET", f"/vpn/certificates/{UNKNOWN}"), connection(local_certificate_id=UNKNOWN)],
    ),
    "unknown trust anchor": (
        404,
        TRUST_ANCHOR.not_found,
        [at("GET", f"/vpn/trust-anchors/{UNKNOWN}"), connection(trust_anchor_id=UNKNOWN)],
    ),
    "certificate in use": (
        409,
        "VPNCertificateInUse",
        [at("DELETE", path_of("/vpn/certificates", lambda populated: populated.certificate))],
    ),
    "trust anchor in use": (
        409,
        "TrustAnchorInUse",
        [at("DELETE", path_of("/vpn/trust-anchors", lambda populated: populated.anchor))],
    ),
    "unknown group, another project's, or a name": (
        404,
        ENDPOINT_GROUP.not_found,
        [
            *(at("GET", f"{GROUPS}/{id}") for id in (UNKNOWN, "office")),
            connection(local_ep_group_id=UNKNOWN),
            connection(peer_ep_group_id=lambda populated: populated.foreign_group),
            grouped("local", "unknown"),
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
            at("GET", IKE).by("auditor"),
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
        ],
    ),
    "a peer CIDR that equals or is inside another attached network": (
        409,
        "IPsecSiteConnectionConflict",
        [connection(peer_id="a", peer_cidrs=["10.1.7.0/24"]), connection(peer_id="b", peer_cidrs=["10.1.7.9/32"])],
    ),
    "an interface on a peer's network": (
        409,
        "SubnetInUseByIPsecSiteConnection",
        [
            at(
                "PUT",
                path_of("/routers", lambda populated: populated.site.router, "/add_router_interface"),
                {"subnet_id": id_of(lambda populated: populated.on_peer)},
            )
        ],
    ),
    "over quota": (409, "OverQuota", [ike().by("bob"), ike(project_id=RED).by("admin")]),
}

INVENTORY: Final[dict[str, Row]] = {
    "unknown path": (
        404,
        "HTTPNotFound",
        [at("GET", path) for path in ("/vpn/nothing", f"{IKE}/a/b", f"{IKE}/a/b/c/d", "//nothing", "/extensions/x")],
    ),
    "unknown network": (404, "NetworkNotFound", [at("GET", f"/networks/{UNKNOWN}")]),
    "unknown subnet": (404, "SubnetNotFound", [at("GET", f"/subnets/{UNKNOWN}")]),
    "a tag that an object does not have": (
        404,
        "TagNotFound",
        [at("DELETE", lambda populated: f"{router_of(populated)}/tags/none")],
    ),
    "unknown agent": (404, "AgentNotFound", [at("GET", f"/agents/{UNKNOWN}").by("admin")]),
    "unknown crypto profile": (404, "CryptoProfileNotFound", [at("GET", "/vpn/crypto-profiles/none")]),
    "unknown floating IP": (404, "FloatingIPNotFound", [at("GET", f"/floatingips/{UNKNOWN}")]),
    "unknown security group": (404, "SecurityGroupNotFound", [at("GET", f"/security-groups/{UNKNOWN}")]),
    "unknown security group rule": (404, "SecurityGroupRuleNotFound", [at("GET", f"/security-group-rules/{UNKNOWN}")]),
    "too many name servers": (
        400,
        "DNSNameServersExhausted",
        [_loose(dns_nameservers=[f"10.3.0.{number}" for number in range(1, 7)])],
    ),
    "too many host routes": (
        400,
        "HostRoutesExhausted",
        [_loose(host_routes=[{"destination": f"10.8.{number}.0/24", "nexthop": "10.3.0.2"} for number in range(21)])],
    ),
    "gateway_ip that a router has": (
        409,
        "GatewayIpInUse",
        [
            at(
                "PUT",
                path_of("/subnets", lambda populated: populated.site.subnet),
                {"subnet": {"gateway_ip": "10.1.0.77"}},
            )
        ],
    ),
    "unknown port": (404, "PortNotFound", [at("GET", f"/ports/{UNKNOWN}")]),
    "a router without this interface": (
        404,
        "RouterInterfaceNotFoundForSubnet",
        [at("PUT", lambda populated: f"{router_of(populated)}/remove_router_interface", {"subnet_id": UNKNOWN})],
    ),
    "a project without quotas of its own": (
        404,
        "TenantQuotaNotFound",
        [at("DELETE", f"/quotas/{'a' * 32}").by("admin")],
    ),
    "network deleted with ports on it": (
        409,
        "NetworkInUse",
        [at("DELETE", path_of("/networks", lambda populated: populated.site.outside)).by("admin")],
    ),
    "no address left": (
        409,
        "IpAddressGenerationFailure",
        [
            at(
                "POST",
                "/routers",
                {"router": {"external_gateway_info": {"network_id": id_of(lambda populated: populated.empty)}}},
            )
        ],
    ),
}
"""Error types of the inventory (networks, subnets, routers), which the matrix does not cover."""

TESTED_ELSEWHERE: Final[dict[str, Callable[..., None]]] = {
    # These cases need an API with other settings.
    "HTTPForbidden": test_same_site.test_requests_of_other_sites_are_refused,
    "TooManyRequests": test_rate_limits.test_requests_of_a_project_are_limited,
    "ServiceUnavailable": test_dispatcher.test_a_database_error_is_a_503,
    "HTTPConflict": test_embedded_keystone.test_credentials_belong_to_one_user,
    "RevisionNotFound": test_rollback.test_what_cannot_be_brought_back_says_why,
    "RollbackConflict": test_rollback.test_what_cannot_be_brought_back_says_why,
}


def error_of(response: httpx.Response) -> tuple[int, str]:
    """Returns status and type of an error; asserts the error's format."""
    body = response.json()
    assert response.headers["x-openstack-request-id"].startswith("req-")
    assert response.headers["content-type"] == "application/json"
    if response.status_code == 401:
        fault = body["error"]
        assert (list(body), sorted(fault), fault["code"]) == (["error"], ["code", "message", "title"], 401)
        return 401, fault["title"]
    fault = body["NeutronError"]
    assert (list(body), sorted(fault), fault["detail"]) == (["NeutronError"], ["detail", "message", "type"], "")
    assert fault["message"]
    return response.status_code, fault["type"]


def test_every_case_gets_the_error_of_the_matrix(open_api: OpenApi) -> None:
    with open_api() as api:
        populated = PopulatedApi(api)
        before = populated.everything()
        wrong = {}
        for name, (status, type, cases) in (MATRIX | INVENTORY).items():
            for number, case in enumerate(cases):
                response = case.send(populated)
                if response.status_code < 400 or error_of(response) != (status, type):
                    wrong[f"{name}, {number}"] = (response.status_code, response.text)
        assert wrong == {}
        assert populated.everything() == before, "a refused request changed an object"


def test_every_error_type_occurs_in_some_case() -> None:
    rows = [*MATRIX.values(), *INVENTORY.values()]
    assert {type for _, type, _ in rows} | TESTED_ELSEWHERE.keys() == STATUS.keys()
    assert all(STATUS[type] == status for status, type, _ in rows)
    assert all(cases for _, _, cases in rows)
