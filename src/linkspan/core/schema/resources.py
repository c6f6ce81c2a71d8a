"""The registry: every resource and attribute of the API. API, CLI, OpenAPI, tables and reference are derived from it.

Sources: OpenStack Networking API v2.0 (VPNaaS) and Neutron's layer-3 resources. On create, an attribute without a
default is required. Checks that involve more than one object are in `core.checks.cross_resource`.
"""

from __future__ import annotations

from typing import Final

import msgspec

from linkspan.core.ipsec import algorithms, crypto_profiles
from linkspan.core.schema.allocation_pools import AllocationPools
from linkspan.core.schema.attribute_types import (
    Boolean,
    Choice,
    Cidrs,
    Endpoints,
    Integer,
    IpAddress,
    Json,
    Text,
    Uuid,
    closed,
)
from linkspan.core.schema.certificate_resources import CERTIFICATE, TRUST_ANCHOR
from linkspan.core.schema.certificate_types import PemList
from linkspan.core.schema.declarations import (
    COMMON,
    REQUIRED,
    STANDARD_ATTRIBUTES,
    Attribute,
    Resource,
    read_only,
)
from linkspan.core.schema.gateway_info import GatewayInfo
from linkspan.core.schema.subnet_options import HostRoutes, NameServers
from linkspan.core.schema.tags import Tags
from linkspan.core.schema.vpn_types import (
    DPD_DEFAULT,
    LIFETIME_DEFAULT,
    DeadPeerDetection,
    IkeIdentity,
    Lifetime,
    PeerAddress,
)

__all__ = [
    "CERTIFICATE",
    "CONNECTION",
    "ENDPOINT_GROUP",
    "ENDPOINT_GROUP_TYPES",
    "GATEWAY_PORT",
    "IKE_POLICY",
    "INTERFACE_PORT",
    "INVENTORY",
    "IPSEC_POLICY",
    "NETWORK",
    "PORT",
    "REQUIRED",
    "RESOURCES",
    "ROUTER",
    "SERVICE",
    "STANDARD_ATTRIBUTES",
    "STATUSES",
    "SUBNET",
    "TRUST_ANCHOR",
    "VPN",
    "Attribute",
    "Resource",
]

GATEWAY_PORT: Final = "network:router_gateway"
INTERFACE_PORT: Final = "network:router_interface"
"""The `device_owner` of a router's port on its external network and on an internal network."""

STATUSES: Final = ("ACTIVE", "DOWN", "BUILD", "ERROR", "PENDING_CREATE", "PENDING_UPDATE", "PENDING_DELETE")

_STATUS: Final = (
    read_only("status", Choice(STATUSES), "operational status", stored=False),
    read_only("status_reason", Text(), "reason if the status is not as desired, in one sentence", stored=False),
    read_only("status_code", Text(), "code of the cause of the status; empty if it is as desired", stored=False),
)
_TAGS: Final = Attribute(name="tags", kind=Tags(), help="tags: texts to find the object by", default=[])
_ID: Final = Uuid().schema()
_IP: Final = IpAddress().shown()
_ADMIN: Final = Attribute(
    name="admin_state_up", kind=Boolean(), help="administrative state; false: no packet is forwarded", default=True
)


_CRYPTO_PROFILE: Final = Attribute(
    name=crypto_profiles.ATTRIBUTE,
    kind=Choice(tuple(crypto_profiles.PROFILES)),
    help="sets the algorithms to those of a profile; shows the profile whose algorithms the policy has",
    default=None,
    stored=False,
    nullable=True,
)


def _algorithms(phase: str) -> tuple[Attribute, ...]:
    units = ("seconds",) if phase == "IKE" else ("seconds", "kilobytes")
    return (
        Attribute(
            name="auth_algorithm",
            kind=Choice(tuple(algorithms.INTEGRITY)),
            help=f"{phase} integrity algorithm (with an AEAD: the PRF)",
            default="sha256",
        ),
        Attribute(
            name="encryption_algorithm",
            kind=Choice(tuple(algorithms.ENCRYPTION)),
            help=f"{phase} encryption algorithm",
            default="aes-128",
        ),
        Attribute(name="pfs", kind=Choice(tuple(algorithms.GROUPS)), help="Diffie-Hellman group", default="group14"),
        Attribute(
            name="lifetime",
            kind=Lifetime(units=units),
            help="lifetime of the SA: {units, value}",
            default=LIFETIME_DEFAULT,
        ),
    )


SERVICE: Final = Resource(
    name="service",
    singular="vpnservice",
    plural="vpnservices",
    path="vpn/vpnservices",
    label="VPNService",
    not_found="VPNServiceNotFound",
    help="a router that offers VPN connections",
    table_columns=("name", "status", "router_id", "subnet_id", "external_v4_ip"),
    attributes=(
        *COMMON,
        Attribute(
            name="router_id", kind=Uuid(), help="router that carries the tunnels; needs an external gateway", put=False
        ),
        Attribute(
            name="subnet_id",
            kind=Uuid(optional=True),
            help="local subnet of every connection; null: connections use endpoint groups",
            put=False,
            default=None,
        ),
        Attribute(name="flavor_id", kind=Uuid(optional=True), help="service flavor", put=False, default=None),
        _ADMIN,
        read_only("external_v4_ip", Text(), "external IPv4 address of the gateway", stored=False, nullable=True),
        read_only("external_v6_ip", Text(), "external IPv6 address of the gateway", stored=False, nullable=True),
        *_STATUS,
    ),
)

IKE_POLICY: Final = Resource(
    name="ike_policy",
    singular="ikepolicy",
    plural="ikepolicies",
    path="vpn/ikepolicies",
    label="IKEPolicy",
    not_found="IKEPolicyNotFound",
    help="algorithms and lifetime of the IKE SA (phase 1)",
    table_columns=("name", "ike_version", "encryption_algorithm", "auth_algorithm", "pfs"),
    attributes=(
        *COMMON,
        *_algorithms("IKE"),
        Attribute(
            name="phase1_negotiation_mode",
            kind=Choice(("main", "aggressive")),
            help="IKEv1 mode of phase 1",
            default="main",
        ),
        Attribute(name="ike_version", kind=Choice(("v1", "v2")), help="IKE version", default="v2"),
        _CRYPTO_PROFILE,
    ),
)

IPSEC_POLICY: Final = Resource(
    name="ipsec_policy",
    singular="ipsecpolicy",
    plural="ipsecpolicies",
    path="vpn/ipsecpolicies",
    label="IPsecPolicy",
    not_found="IPsecPolicyNotFound",
    help="protocol, algorithms and lifetime of the child SAs (phase 2)",
    table_columns=("name", "transform_protocol", "encapsulation_mode", "encryption_algorithm", "auth_algorithm", "pfs"),
    attributes=(
        *COMMON,
        *_algorithms("IPsec"),
        Attribute(
            name="transform_protocol",
            kind=Choice(("esp", "ah", "ah-esp")),
            help="IPsec protocol",
            default="esp",
        ),
        Attribute(
            name="encapsulation_mode",
            kind=Choice(("tunnel", "transport")),
            help="tunnel: whole packets are protected; transport: payloads only",
            default="tunnel",
        ),
        _CRYPTO_PROFILE,
    ),
)

CONNECTION: Final = Resource(
    name="connection",
    singular="ipsec_site_connection",
    plural="ipsec_site_connections",
    path="vpn/ipsec-site-connections",
    label="ipsec_site_connection",
    not_found="IPsecSiteConnectionNotFound",
    help="a tunnel to one peer",
    table_columns=("name", "status", "peer_address", "peer_cidrs", "status_reason"),
    attributes=(
        *COMMON,
        Attribute(name="vpnservice_id", kind=Uuid(), help="VPN service that carries the connection", put=False),
        Attribute(name="ikepolicy_id", kind=Uuid(), help="IKE policy", put=False),
        Attribute(name="ipsecpolicy_id", kind=Uuid(), help="IPsec policy", put=False),
        Attribute(name="peer_address", kind=PeerAddress(), help="peer's public IPv4, IPv6 address or FQDN"),
        Attribute(
            name="peer_id",
            kind=IkeIdentity(),
            help="peer's IKE identity: address, e-mail, FQDN or key id; prefixes as fqdn: and keyid: name the type",
        ),
        Attribute(
            name="local_id",
            kind=IkeIdentity(optional=True),
            help="local IKE identity; empty: the gateway's external address",
            default="",
        ),
        Attribute(name="peer_cidrs", kind=Cidrs(), help="networks behind the peer", default=[]),
        Attribute(
            name="local_ep_group_id",
            kind=Uuid(optional=True),
            help="endpoint group of local subnets",
            default=None,
        ),
        Attribute(
            name="peer_ep_group_id",
            kind=Uuid(optional=True),
            help="endpoint group of peer CIDRs",
            default=None,
        ),
        Attribute(
            name="psk",
            kind=Text(min_length=1, controls="any"),
            help="pre-shared key (required while auth_mode is psk)",
            default=None,
            secret=True,
        ),
        Attribute(name="mtu", kind=Integer(), help="largest packet in the tunnel, bytes", default=1500),
        read_only(
            "effective_mtu",
            Integer(),
            "largest packet that fits, bytes: mtu, or less where the IPsec protocol or the path requires it",
            stored=False,
            nullable=True,
        ),
        Attribute(
            name="initiator",
            kind=Choice(("bi-directional", "response-only")),
            help="whether the gateway may initiate or only responds",
            default="bi-directional",
        ),
        Attribute(
            name="dpd",
            kind=DeadPeerDetection(),
            help="dead peer detection: {action, interval, timeout}, seconds",
            default=DPD_DEFAULT,
        ),
        _ADMIN,
        Attribute(
            name="auth_mode",
            kind=Choice(("psk", "certs")),
            help="how the gateways authenticate each other: by a pre-shared key, or by certificates",
            default="psk",
        ),
        Attribute(
            name="local_certificate_id",
            kind=Uuid(optional=True),
            help="certificate of the gateway (required while auth_mode is certs)",
            default=None,
        ),
        Attribute(
            name="trust_anchor_id",
            kind=Uuid(optional=True),
            help="trust anchor that the peer's certificate leads to (required while auth_mode is certs)",
            default=None,
        ),
        Attribute(
            name="peer_certificates",
            kind=PemList(),
            help="certificates of the peer in PEM, no other one is accepted; empty: every one that the anchor admits",
            default=[],
        ),
        Attribute(
            name="ppk_id",
            kind=Text(controls="none"),
            help="name of the post-quantum preshared key (RFC 8784), the same at both ends; needs IKEv2",
            default="",
        ),
        Attribute(
            name="ppk",
            kind=Text(min_length=1, controls="any"),
            help="post-quantum preshared key; it is never shown",
            default=None,
            secret=True,
            write_only=True,
            nullable=True,
        ),
        Attribute(
            name="ppk_required",
            kind=Boolean(),
            help="true: a peer without the post-quantum preshared key is refused",
            default=False,
        ),
        read_only("route_mode", Choice(("static",)), "how routes are learned", stored=False),
        read_only(
            "last_good_revision",
            Integer(),
            "newest revision whose configuration was up; null if none was; a rollback brings an earlier one back",
            stored=False,
            nullable=True,
        ),
        *_STATUS,
    ),
)

ENDPOINT_GROUP_TYPES: Final = ("subnet", "cidr", "network", "router", "vlan")

ENDPOINT_GROUP: Final = Resource(
    name="endpoint_group",
    singular="endpoint_group",
    plural="endpoint_groups",
    path="vpn/endpoint-groups",
    label="Endpoint group",
    not_found="VPNEndpointGroupNotFound",
    help="subnets or CIDRs that connections reference together",
    table_columns=("name", "type", "endpoints"),
    attributes=(
        *COMMON,
        Attribute(name="type", kind=Choice(ENDPOINT_GROUP_TYPES), help="type of the endpoints", put=False),
        Attribute(
            name="endpoints", kind=Endpoints(), help="CIDRs or ids, depending on the type", put=False, default=[]
        ),
    ),
)

NETWORK: Final = Resource(
    name="network",
    singular="network",
    plural="networks",
    path="networks",
    label="Network",
    not_found="NetworkNotFound",
    help="a layer-2 network",
    table_columns=("name", "router:external", "subnets"),
    attributes=(
        *COMMON,
        _ADMIN,
        Attribute(
            name="router:external",
            kind=Boolean(),
            help="true: routers may use it as their external network (admin only)",
            put=False,
            default=False,
            privileged=True,
        ),
        Attribute(
            name="shared",
            kind=Boolean(),
            help="visible to every project (admin only)",
            default=False,
            privileged=True,
        ),
        Attribute(name="mtu", kind=Integer(minimum=68, maximum=9216), help="MTU, bytes; informational", default=1500),
        _TAGS,
        read_only("subnets", Json(items=_ID), "ids of its subnets", stored=False),
        read_only("status", Choice(STATUSES), "always ACTIVE", stored=False),
    ),
)

SUBNET: Final = Resource(
    name="subnet",
    singular="subnet",
    plural="subnets",
    path="subnets",
    label="Subnet",
    not_found="SubnetNotFound",
    help="an address range on a network",
    table_columns=("name", "cidr", "network_id", "gateway_ip"),
    attributes=(
        *COMMON,
        Attribute(name="network_id", kind=Uuid(), help="network of the subnet", put=False),
        Attribute(
            name="ip_version",
            kind=Integer(minimum=4, maximum=6),
            help="4 or 6; default: that of the CIDR",
            put=False,
            default=None,
        ),
        Attribute(name="cidr", kind=Text(max_length=64, format="cidr"), help="address range, as a CIDR", put=False),
        Attribute(
            name="gateway_ip",
            kind=IpAddress(),
            help="address of the router; default: the first of the range; null: none",
            default=None,
            nullable=True,
        ),
        Attribute(name="enable_dhcp", kind=Boolean(), help="stored for clients; no DHCP is served", default=True),
        Attribute(
            name="allocation_pools",
            kind=AllocationPools(),
            help="ranges from which addresses are allocated: [{start, end}]; default: all but gateway_ip",
            default=None,
        ),
        Attribute(
            name="dns_nameservers",
            kind=NameServers(),
            help="name servers of hosts; stored for clients, no DHCP is served",
            default=[],
        ),
        Attribute(
            name="host_routes",
            kind=HostRoutes(),
            help="routes of hosts: [{destination, nexthop}]; stored for clients, no DHCP is served",
            default=[],
        ),
        _TAGS,
    ),
)

ROUTER: Final = Resource(
    name="router",
    singular="router",
    plural="routers",
    path="routers",
    label="Router",
    not_found="RouterNotFound",
    help="joins subnets and an external network; carries VPN services",
    table_columns=("name", "status", "external_gateway_info"),
    attributes=(
        *COMMON,
        _ADMIN,
        Attribute(
            name="external_gateway_info",
            kind=GatewayInfo(),
            help="external gateway: {network_id, external_fixed_ips}; addresses are chosen by admins only",
            privileged_parts=("external_fixed_ips",),
            default=None,
            stored=False,
            nullable=True,
        ),
        _TAGS,
        read_only("status", Choice(STATUSES), "always ACTIVE", stored=False),
    ),
)

PORT: Final = Resource(
    name="port",
    singular="port",
    plural="ports",
    path="ports",
    label="Port",
    not_found="PortNotFound",
    help="a router's interface on a network (read-only except for its tags)",
    table_columns=("device_id", "device_owner", "network_id", "fixed_ips"),
    writable=False,
    attributes=(
        *(msgspec.structs.replace(attribute, post=False, put=False) for attribute in (*COMMON, _TAGS)),
        read_only("network_id", Uuid(), "network of the port"),
        read_only("device_id", Uuid(), "router of the port"),
        read_only("device_owner", Text(), f"{GATEWAY_PORT} or {INTERFACE_PORT}"),
        read_only(
            "fixed_ips", Json(items=closed(subnet_id=_ID, ip_address=_IP)), "addresses: [{subnet_id, ip_address}]"
        ),
        read_only("mac_address", Text(), "MAC address of the router's interface on the network"),
    ),
)

VPN: Final = (SERVICE, IKE_POLICY, IPSEC_POLICY, CONNECTION, ENDPOINT_GROUP, CERTIFICATE, TRUST_ANCHOR)
INVENTORY: Final = (NETWORK, SUBNET, ROUTER, PORT)
RESOURCES: Final = (*VPN, *INVENTORY)
