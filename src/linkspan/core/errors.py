"""The errors of the API, as values with codes.

An `ApiError` is raised where the fault is found and translated once, at the edge: into an HTTP error body, or into one
line of a command. OpenStack's clients match on its `type`.
"""

from __future__ import annotations

from typing import Final

STATUS: Final[dict[str, int]] = {
    # Type -> HTTP status.
    "BadRequest": 400,
    "HTTPBadRequest": 400,
    "InvalidInput": 400,
    "MalformedRequestBody": 400,
    "RouterIsNotExternal": 400,
    "SubnetIsNotConnectedToRouter": 400,
    "IPsecSiteConnectionDpdIntervalValueError": 400,
    "IPsecSiteConnectionMtuError": 400,
    "VPNPeerAddressNotResolved": 400,
    "ExternalNetworkHasNoSubnet": 400,
    "MixedIPVersionsForPeerCidrs": 400,
    "MixedIPVersionsForIPSecEndpoints": 400,
    "MixedIPVersionsForIPSecConnection": 400,
    "MissingPeerCidrs": 400,
    "InvalidEndpointGroup": 400,
    "PeerCidrsInvalid": 400,
    "MissingRequiredEndpointGroup": 400,
    "WrongEndpointGroupType": 400,
    "MissingEndpointForEndpointGroup": 400,
    "InvalidEndpointInEndpointGroup": 400,
    "NonExistingSubnetInEndpointGroup": 400,
    "EndpointGroupInUse": 400,
    "InvalidAllocationPool": 400,
    "OutOfBoundsAllocationPool": 400,
    "DNSNameServersExhausted": 400,
    "HostRoutesExhausted": 400,
    "Unauthorized": 401,
    "PolicyNotAuthorized": 403,
    "HTTPForbidden": 403,
    "HTTPNotFound": 404,
    "VPNServiceNotFound": 404,
    "IKEPolicyNotFound": 404,
    "IPsecPolicyNotFound": 404,
    "IPsecSiteConnectionNotFound": 404,
    "VPNEndpointGroupNotFound": 404,
    "VPNCertificateNotFound": 404,
    "TrustAnchorNotFound": 404,
    "NetworkNotFound": 404,
    "SubnetNotFound": 404,
    "RouterNotFound": 404,
    "PortNotFound": 404,
    "TagNotFound": 404,
    "AgentNotFound": 404,
    "CryptoProfileNotFound": 404,
    "FloatingIPNotFound": 404,
    "SecurityGroupNotFound": 404,
    "SecurityGroupRuleNotFound": 404,
    "FlavorNotFound": 404,
    "TenantQuotaNotFound": 404,
    "RevisionNotFound": 404,
    "RouterInterfaceNotFoundForSubnet": 404,
    "HTTPMethodNotAllowed": 405,
    "IKEPolicyInUse": 409,
    "IPsecPolicyInUse": 409,
    "VPNServiceInUse": 409,
    "IPsecSiteConnectionConflict": 409,
    "VPNCertificateInUse": 409,
    "TrustAnchorInUse": 409,
    "NetworkInUse": 409,
    "SubnetInUse": 409,
    "SubnetInUseByVPNService": 409,
    "SubnetInUseByIPsecSiteConnection": 409,
    "RouterInUse": 409,
    "IpAddressGenerationFailure": 409,
    "OverlappingAllocationPools": 409,
    "GatewayConflictWithAllocationPools": 409,
    "GatewayIpInUse": 409,
    "RollbackConflict": 409,
    "OverQuota": 409,
    "HTTPConflict": 409,
    "RevisionNumberConstraintFailed": 412,
    "RequestTooLarge": 413,
    "TooManyRequests": 429,
    "ServiceUnavailable": 503,
}


class ApiError(Exception):
    """A request cannot be carried out. `type` is a key of `STATUS`, `message` one sentence for a person.

    `wait`: seconds after which a retry may succeed (429, 503).
    """

    def __init__(self, type: str, message: str, *, wait: float = 1.0) -> None:
        super().__init__(message)
        self.type = type
        self.message = message
        self.wait = wait

    @property
    def status(self) -> int:
        """The HTTP status of the type."""
        return STATUS[self.type]

    def __repr__(self) -> str:
        return f"ApiError({self.type!r}, {self.message!r})"


def invalid(attribute: str, reason: str) -> ApiError:
    """The 400 for a value that an attribute cannot take, in Neutron's words because clients show them."""
    return ApiError("HTTPBadRequest", f"Invalid input for {attribute}. Reason: {reason}.")


def invalid_input(reason: str) -> ApiError:
    """The 400 for values that cannot be converted or contradict each other, in Neutron's words."""
    return ApiError("InvalidInput", f"Invalid input for operation: {reason}.")


def unauthorized() -> ApiError:
    """The 401. It never says which part of the credentials was wrong."""
    return ApiError("Unauthorized", "The request you have made requires authentication.")
