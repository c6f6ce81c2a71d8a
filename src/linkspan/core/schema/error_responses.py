"""Which problems each action on each resource can meet, declared once: OpenAPI says it, and tests hold answers to it.

`MEANING` has one sentence for every type of `core.errors.STATUS`. What any request can meet because of how it arrives
(credentials, size, a database that is away) is in `ANY` and `ANY_BODY`; the rest is by resource and action.
"""

from __future__ import annotations

from typing import Final

from linkspan.core.schema.operations import ResourceOperation
from linkspan.core.schema.resources import (
    CONNECTION,
    ENDPOINT_GROUP,
    IKE_POLICY,
    IPSEC_POLICY,
    NETWORK,
    ROUTER,
    SERVICE,
    SUBNET,
    Resource,
)

ANY: Final = ("Unauthorized", "TooManyRequests", "ServiceUnavailable")
"""What every request can meet that says who asks."""
ANY_BODY: Final = ("BadRequest", "HTTPBadRequest", "InvalidInput", "MalformedRequestBody", "RequestTooLarge")
"""What every request with a body can meet."""
IF_MATCH: Final = ("HTTPBadRequest", "RevisionNumberConstraintFailed")
"""What a request can meet that may say which revision it is for."""
_ALLOWED: Final = ("PolicyNotAuthorized",)

_SIDES: Final = (
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
    *_SIDES,
    "IPsecSiteConnectionDpdIntervalValueError",
    "IPsecSiteConnectionMtuError",
    "VPNPeerAddressNotResolved",
    "ExternalNetworkHasNoSubnet",
    "VPNEndpointGroupNotFound",
    "IPsecSiteConnectionConflict",
    # A gateway carries only so many.
    "OverQuota",
)
_GATEWAY: Final = ("NetworkNotFound", "IpAddressGenerationFailure")

_MORE: Final[dict[tuple[str, ResourceOperation], tuple[str, ...]]] = {
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
    (ENDPOINT_GROUP.name, "create"): (
        "MissingEndpointForEndpointGroup",
        "InvalidEndpointInEndpointGroup",
        "NonExistingSubnetInEndpointGroup",
    ),
    (ENDPOINT_GROUP.name, "delete"): ("EndpointGroupInUse",),
    (NETWORK.name, "delete"): ("NetworkInUse", "SubnetInUse"),
    (SUBNET.name, "create"): ("NetworkNotFound",),
    (SUBNET.name, "delete"): ("SubnetInUse",),
    (ROUTER.name, "create"): _GATEWAY,
    (ROUTER.name, "update"): (
        *_GATEWAY,
        "RouterInUse",
        "ExternalNetworkHasNoSubnet",
        "IPsecSiteConnectionConflict",
    ),
    (ROUTER.name, "delete"): ("RouterInUse",),
    (ROUTER.name, "add_router_interface"): ("SubnetNotFound", "PortNotFound", "IpAddressGenerationFailure"),
    (ROUTER.name, "remove_router_interface"): (
        "RouterInterfaceNotFoundForSubnet",
        "PortNotFound",
        "SubnetInUseByVPNService",
        "SubnetInUseByIPsecSiteConnection",
    ),
}


def error_types(resource: Resource, operation: ResourceOperation) -> tuple[str, ...]:
    """The types of the problems that an action can meet, besides `ANY`."""
    found = [*_ALLOWED]
    if operation == "list":
        found += ["BadRequest", "HTTPBadRequest", "InvalidInput"]
    if operation == "create":
        found.append("OverQuota")
    if operation not in ("list", "create"):
        found.append(resource.not_found)
    if operation not in ("list", "show", "delete"):
        found += ANY_BODY
    if operation not in ("list", "show", "create"):
        found += IF_MATCH
    return (*found, *_MORE.get((resource.name, operation), ()))


MEANING: Final[dict[str, str]] = {
    "BadRequest": "The request cannot be carried out as it is written",
    "HTTPBadRequest": "An attribute is unknown, missing, not allowed here, or has a value that it cannot take",
    "InvalidInput": "A value cannot be converted, or does not go with another one",
    "MalformedRequestBody": "The body is not JSON",
    "RouterIsNotExternal": "The router has no external gateway",
    "SubnetIsNotConnectedToRouter": "The router has no interface on the subnet",
    "IPsecSiteConnectionDpdIntervalValueError": "The DPD timeout is not greater than the interval",
    "IPsecSiteConnectionMtuError": "The MTU is too small for the IP version",
    "VPNPeerAddressNotResolved": "The peer address is not an address or a DNS name of one peer",
    "ExternalNetworkHasNoSubnet": "The gateway has no outside address of the peer's IP version",
    "MixedIPVersionsForPeerCidrs": "The peer CIDRs are not of one IP version",
    "MixedIPVersionsForIPSecEndpoints": "The endpoints of a group are not of one IP version",
    "MixedIPVersionsForIPSecConnection": "The local and the peer side are not of one IP version",
    "MissingPeerCidrs": "The service has a subnet, so the connection needs peer CIDRs",
    "InvalidEndpointGroup": "The service has a subnet, so the connection takes no endpoint groups",
    "PeerCidrsInvalid": "The service has no subnet, so the connection takes endpoint groups instead of peer CIDRs",
    "MissingRequiredEndpointGroup": "The service has no subnet, so the connection needs both endpoint groups",
    "WrongEndpointGroupType": "The local group is not of type subnet, or the peer group not of type cidr",
    "MissingEndpointForEndpointGroup": "The endpoint group has no endpoints",
    "InvalidEndpointInEndpointGroup": "An endpoint is not what the group's type asks for, or is there twice",
    "NonExistingSubnetInEndpointGroup": "A subnet of the endpoint group does not exist",
    "EndpointGroupInUse": "A connection uses the endpoint group",
    "Unauthorized": "The credentials are missing or wrong",
    "PolicyNotAuthorized": "The role does not allow it",
    "HTTPNotFound": "There is nothing of that name",
    "VPNServiceNotFound": "The VPN service does not exist, or is another project's",
    "IKEPolicyNotFound": "The IKE policy does not exist, or is another project's",
    "IPsecPolicyNotFound": "The IPsec policy does not exist, or is another project's",
    "IPsecSiteConnectionNotFound": "The connection does not exist, or is another project's",
    "VPNEndpointGroupNotFound": "The endpoint group does not exist, or is another project's",
    "NetworkNotFound": "The network does not exist, or is another project's",
    "SubnetNotFound": "The subnet does not exist, or is another project's",
    "RouterNotFound": "The router does not exist, or is another project's",
    "PortNotFound": "The port does not exist, or is another project's",
    "TenantQuotaNotFound": "The project has no quotas of its own",
    "FlavorNotFound": "The flavor does not exist: there are none",
    "RouterInterfaceNotFoundForSubnet": "The router has no interface on the subnet",
    "HTTPMethodNotAllowed": "The path does not have this method",
    "IKEPolicyInUse": "A connection uses the IKE policy",
    "IPsecPolicyInUse": "A connection uses the IPsec policy",
    "VPNServiceInUse": "A connection uses the VPN service",
    "IPsecSiteConnectionConflict": "The gateway could not tell the connection from another one",
    "NetworkInUse": "Ports are on the network",
    "SubnetInUse": "A port, a VPN service or an endpoint group uses the subnet",
    "SubnetInUseByVPNService": "A VPN service protects the subnet",
    "SubnetInUseByIPsecSiteConnection": "A connection protects the subnet",
    "RouterInUse": "The router has interfaces, or carries a VPN service",
    "IpAddressGenerationFailure": "No address is free, or the one that is asked for is not",
    "HTTPConflict": "There is another one of that name",
    "OverQuota": "There are as many as there may be",
    "RevisionNumberConstraintFailed": "The object is not at the revision that If-Match names",
    "RequestTooLarge": "The body is too large",
    "TooManyRequests": "There were too many requests: try again after the seconds of Retry-After",
    "ServiceUnavailable": "The database cannot be used now: try again",
}
"""Type -> what it means, without what a message adds: which object, which value."""
