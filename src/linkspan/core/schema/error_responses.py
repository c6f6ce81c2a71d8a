"""The error types of each operation on each resource. OpenAPI documents them, and tests check responses against them.

`MEANING` has a sentence for every type of `core.errors.STATUS`. `ANY` and `ANY_BODY` are the errors that do not depend
on the resource: credentials, body size, an unavailable database.
"""

from __future__ import annotations

from typing import Final

from linkspan.core.schema.operations import REQUEST_LINES, ResourceOperation
from linkspan.core.schema.resources import (
    CERTIFICATE,
    CONNECTION,
    ENDPOINT_GROUP,
    IKE_POLICY,
    IPSEC_POLICY,
    NETWORK,
    ROUTER,
    SERVICE,
    SUBNET,
    TRUST_ANCHOR,
    Resource,
)

ANY: Final = ("Unauthorized", "HTTPForbidden", "TooManyRequests", "ServiceUnavailable")
"""Errors of every request that needs authentication."""
ANY_BODY: Final = ("BadRequest", "HTTPBadRequest", "InvalidInput", "MalformedRequestBody", "RequestTooLarge")
"""Errors of every request with a body."""
IF_MATCH: Final = ("HTTPBadRequest", "RevisionNumberConstraintFailed")
"""Errors of a request that may have `If-Match`."""
_POLICY: Final = ("PolicyNotAuthorized",)

_TRAFFIC: Final = (
    "MixedIPVersionsForPeerCidrs",
    "MixedIPVersionsForIPSecEndpoints",
    "MixedIPVersionsForIPSecConnection",
    "MissingPeerCidrs",
    "InvalidEndpointGroup",
    "PeerCidrsInvalid",
    "MissingRequiredEndpointGroup",
    "WrongEndpointGroupType",
    "MissingEndpointForEndpointGroup",
    "SubnetIsNotConnectedToRouter",
)
_CONNECTION: Final = (
    *_TRAFFIC,
    "IPsecSiteConnectionDpdIntervalValueError",
    "IPsecSiteConnectionMtuError",
    "VPNPeerAddressNotResolved",
    "ExternalNetworkHasNoSubnet",
    "VPNEndpointGroupNotFound",
    "VPNCertificateNotFound",
    "TrustAnchorNotFound",
    "IPsecSiteConnectionConflict",
    # The limit of connections per gateway.
    "OverQuota",
)
_POOLS: Final = (
    "InvalidAllocationPool",
    "OutOfBoundsAllocationPool",
    "OverlappingAllocationPools",
    "GatewayConflictWithAllocationPools",
)
_SUBNET: Final = (*_POOLS, "DNSNameServersExhausted", "HostRoutesExhausted")
_EXTERNAL_GATEWAY: Final = ("NetworkNotFound", "IpAddressGenerationFailure")

_SPECIFIC: Final[dict[tuple[str, ResourceOperation], tuple[str, ...]]] = {
    (SERVICE.name, "create"): (
        "RouterIsNotExternal",
        "SubnetIsNotConnectedToRouter",
        "RouterNotFound",
        "FlavorNotFound",
    ),
    (SERVICE.name, "delete"): ("VPNServiceInUse",),
    (IKE_POLICY.name, "update"): ("IPsecSiteConnectionConflict",),
    (IKE_POLICY.name, "delete"): ("IKEPolicyInUse",),
    (IPSEC_POLICY.name, "delete"): ("IPsecPolicyInUse",),
    (CONNECTION.name, "create"): (
        *_CONNECTION,
        "VPNServiceNotFound",
        "IKEPolicyNotFound",
        "IPsecPolicyNotFound",
    ),
    (CONNECTION.name, "update"): _CONNECTION,
    (CONNECTION.name, "rollback"): (
        *_CONNECTION,
        "RevisionNotFound",
        "RollbackConflict",
        "InvalidEndpointInEndpointGroup",
        "NonExistingSubnetInEndpointGroup",
    ),
    (ENDPOINT_GROUP.name, "create"): (
        "MissingEndpointForEndpointGroup",
        "InvalidEndpointInEndpointGroup",
        "NonExistingSubnetInEndpointGroup",
    ),
    (ENDPOINT_GROUP.name, "delete"): ("EndpointGroupInUse",),
    (CERTIFICATE.name, "create"): ("TrustAnchorNotFound",),
    (CERTIFICATE.name, "update"): ("IPsecSiteConnectionConflict",),
    (CERTIFICATE.name, "delete"): ("VPNCertificateInUse",),
    (TRUST_ANCHOR.name, "update"): ("IPsecSiteConnectionConflict",),
    (TRUST_ANCHOR.name, "delete"): ("TrustAnchorInUse",),
    (NETWORK.name, "delete"): ("NetworkInUse", "SubnetInUse"),
    (SUBNET.name, "create"): ("NetworkNotFound", *_SUBNET),
    (SUBNET.name, "update"): (*_SUBNET, "GatewayIpInUse", "IpAddressGenerationFailure"),
    (SUBNET.name, "delete"): ("SubnetInUse",),
    (ROUTER.name, "create"): _EXTERNAL_GATEWAY,
    (ROUTER.name, "update"): (
        *_EXTERNAL_GATEWAY,
        "RouterInUse",
        "ExternalNetworkHasNoSubnet",
        "IPsecSiteConnectionConflict",
    ),
    (ROUTER.name, "delete"): ("RouterInUse",),
    (ROUTER.name, "add_router_interface"): (
        "SubnetNotFound",
        "PortNotFound",
        "IpAddressGenerationFailure",
        "SubnetInUseByIPsecSiteConnection",
    ),
    (ROUTER.name, "remove_router_interface"): (
        "RouterInterfaceNotFoundForSubnet",
        "PortNotFound",
        "SubnetInUseByVPNService",
        "SubnetInUseByIPsecSiteConnection",
    ),
}


_TAGS: Final[dict[ResourceOperation, tuple[str, ...]]] = {
    "show_tag": ("TagNotFound",),
    "delete_tag": ("TagNotFound",),
    "add_tag": ("BadRequest", "InvalidInput"),
}


def error_types(resource: Resource, operation: ResourceOperation) -> tuple[str, ...]:
    """The error types of an operation, in addition to `ANY`."""
    types = [*_POLICY]
    if operation == "list":
        types += ["BadRequest", "HTTPBadRequest", "InvalidInput"]
    if operation == "create":
        types.append("OverQuota")
    if operation not in ("list", "create"):
        types.append(resource.not_found)
    method = REQUEST_LINES[operation].method
    if method in ("POST", "PUT") and operation != "add_tag":
        types += ANY_BODY
    if method != "GET" and operation != "create":
        types += IF_MATCH
    return (*types, *_SPECIFIC.get((resource.name, operation), ()), *_TAGS.get(operation, ()))


MEANING: Final[dict[str, str]] = {
    "BadRequest": "The request is malformed, or cannot be carried out as it is",
    "HTTPBadRequest": "An attribute is unknown, missing, not allowed here, or has an invalid value",
    "InvalidInput": "A value cannot be converted, or contradicts another value",
    "MalformedRequestBody": "The body is not JSON",
    "RouterIsNotExternal": "The router has no external gateway",
    "SubnetIsNotConnectedToRouter": "The router has no interface on the subnet",
    "IPsecSiteConnectionDpdIntervalValueError": "The DPD timeout is not greater than the interval",
    "IPsecSiteConnectionMtuError": "The MTU is too small for the IP version",
    "VPNPeerAddressNotResolved": "The peer address is neither a unicast address nor a DNS name",
    "ExternalNetworkHasNoSubnet": "The gateway has no external address of the peer's IP version",
    "MixedIPVersionsForPeerCidrs": "The peer CIDRs are not of one IP version",
    "MixedIPVersionsForIPSecEndpoints": "The endpoints of a group are not of one IP version",
    "MixedIPVersionsForIPSecConnection": "The local and the peer side are not of one IP version",
    "MissingPeerCidrs": "The service has a subnet, so the connection needs peer CIDRs",
    "InvalidEndpointGroup": "The service has a subnet, so the connection takes no endpoint groups",
    "PeerCidrsInvalid": "The service has no subnet, so the connection takes endpoint groups instead of peer CIDRs",
    "MissingRequiredEndpointGroup": "The service has no subnet, so the connection needs both endpoint groups",
    "WrongEndpointGroupType": "The local group is not of type subnet, or the peer group not of type cidr",
    "MissingEndpointForEndpointGroup": "The endpoint group has no endpoints",
    "InvalidEndpointInEndpointGroup": "An endpoint does not match the type of the group, or is a duplicate",
    "NonExistingSubnetInEndpointGroup": "A subnet of the endpoint group does not exist",
    "EndpointGroupInUse": "A connection references the endpoint group",
    "InvalidAllocationPool": "The start of an allocation pool is after its end, or of another IP version",
    "OutOfBoundsAllocationPool": "An allocation pool has addresses that are no host addresses of the subnet",
    "OverlappingAllocationPools": "Two allocation pools have an address in common",
    "GatewayConflictWithAllocationPools": "An allocation pool has the address of the subnet's gateway",
    "DNSNameServersExhausted": "The subnet has too many name servers",
    "HostRoutesExhausted": "The subnet has too many host routes",
    "GatewayIpInUse": "A router has the subnet's gateway_ip as the address of its interface",
    "Unauthorized": "The credentials are missing or wrong",
    "PolicyNotAuthorized": "The policy rules do not allow it",
    "HTTPForbidden": "The request comes from a page of another site, or names a host that is not the API's",
    "HTTPNotFound": "The path or the object does not exist",
    "VPNServiceNotFound": "The VPN service does not exist, or belongs to another project",
    "IKEPolicyNotFound": "The IKE policy does not exist, or belongs to another project",
    "IPsecPolicyNotFound": "The IPsec policy does not exist, or belongs to another project",
    "IPsecSiteConnectionNotFound": "The connection does not exist, or belongs to another project",
    "VPNEndpointGroupNotFound": "The endpoint group does not exist, or belongs to another project",
    "VPNCertificateNotFound": "The certificate does not exist, or belongs to another project",
    "TrustAnchorNotFound": "The trust anchor does not exist, or belongs to another project",
    "NetworkNotFound": "The network does not exist, or belongs to another project",
    "SubnetNotFound": "The subnet does not exist, or belongs to another project",
    "RouterNotFound": "The router does not exist, or belongs to another project",
    "PortNotFound": "The port does not exist, or belongs to another project",
    "TagNotFound": "The object does not have the tag",
    "AgentNotFound": "The gateway node does not exist",
    "CryptoProfileNotFound": "The crypto profile does not exist",
    "FloatingIPNotFound": "The floating IP does not exist: there are none",
    "SecurityGroupNotFound": "The security group does not exist: there are none",
    "SecurityGroupRuleNotFound": "The security group rule does not exist: there are none",
    "TenantQuotaNotFound": "The project has no quotas of its own: the defaults apply",
    "FlavorNotFound": "The flavor does not exist: there are none",
    "RouterInterfaceNotFoundForSubnet": "The router has no interface on the subnet",
    "HTTPMethodNotAllowed": "The path does not have this method",
    "IKEPolicyInUse": "A connection references the IKE policy",
    "IPsecPolicyInUse": "A connection references the IPsec policy",
    "VPNServiceInUse": "A connection references the VPN service",
    "IPsecSiteConnectionConflict": "The gateway or the peer could not distinguish the connection from another one, the "
    "connection would cut off a network on the same router, or a connection could not authenticate after the change",
    "VPNCertificateInUse": "A connection references the certificate",
    "TrustAnchorInUse": "A connection references the trust anchor, or its CA has issued a certificate that is there",
    "NetworkInUse": "The network has ports",
    "SubnetInUse": "A port, a VPN service or an endpoint group uses the subnet",
    "SubnetInUseByVPNService": "A VPN service protects the subnet",
    "SubnetInUseByIPsecSiteConnection": "A connection protects the subnet, or has a peer network in it",
    "RouterInUse": "The router has interfaces, or carries a VPN service",
    "IpAddressGenerationFailure": "No address is free, or the requested one is in use",
    "HTTPConflict": "An object of that name exists already",
    "RevisionNotFound": "No earlier revision of the connection is kept, or not this one",
    "RollbackConflict": "A rollback would change nothing, has no revision that was up, or needs what is gone",
    "OverQuota": "A quota or limit is reached",
    "RevisionNumberConstraintFailed": "The revision of the object is not the one in If-Match",
    "RequestTooLarge": "The body is too large",
    "TooManyRequests": "Too many requests: try again after the seconds of Retry-After",
    "ServiceUnavailable": "The database is unavailable, or too many requests are in progress: try again",
}
"""Type -> meaning, without the details that a message adds (object, value)."""
