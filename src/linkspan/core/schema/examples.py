"""Examples of requests for OpenAPI: a router between an internal and an external network becomes a VPN gateway.

A test sends them in the order of `STORY`, so the API accepts every one; ids refer to objects created earlier in it.
Addresses and names are reserved for documentation (RFC 5737, RFC 2606); internal addresses are private.
"""

from __future__ import annotations

from typing import Any, Final

from linkspan.core.schema.resources import (
    CONNECTION,
    ENDPOINT_GROUP,
    IKE_POLICY,
    INTERFACE_PORT,
    IPSEC_POLICY,
    NETWORK,
    PORT,
    RESOURCES,
    ROUTER,
    SERVICE,
    SUBNET,
    Resource,
)

ExampleValues = dict[str, Any]

PROJECT: Final = "4a1c1a3a6d5b4f0c8a6b6f9f7b1d2e30"


def _id(number: int) -> str:
    return f"5f0c7a50-1b9f-4b60-9c34-{number:012x}"


OUTSIDE: Final = _id(1)
"""The external network."""
IDS: Final[dict[tuple[str, str], str]] = {
    (NETWORK.name, "inside"): _id(2),
    (SUBNET.name, "inside"): _id(3),
    (ROUTER.name, "gateway"): _id(4),
    (SERVICE.name, "one subnet"): _id(5),
    (SERVICE.name, "endpoint groups"): _id(6),
    (IKE_POLICY.name, "defaults"): _id(7),
    (IKE_POLICY.name, "strong"): _id(8),
    (IPSEC_POLICY.name, "defaults"): _id(9),
    (IPSEC_POLICY.name, "strong"): _id(10),
    (ENDPOINT_GROUP.name, "local"): _id(11),
    (ENDPOINT_GROUP.name, "peer"): _id(12),
    (CONNECTION.name, "one subnet"): _id(13),
    (CONNECTION.name, "endpoint groups"): _id(14),
}
"""(resource, name of the example) -> id of the object that it creates."""
PORT_ID: Final = _id(15)

CREATE: Final[dict[str, dict[str, ExampleValues]]] = {
    NETWORK.name: {"inside": {"name": "office"}},
    SUBNET.name: {
        "inside": {"name": "office", "network_id": IDS[NETWORK.name, "inside"], "ip_version": 4, "cidr": "10.1.0.0/24"}
    },
    ROUTER.name: {"gateway": {"name": "gateway", "external_gateway_info": {"network_id": OUTSIDE}}},
    SERVICE.name: {
        "one subnet": {
            "name": "office",
            "router_id": IDS[ROUTER.name, "gateway"],
            "subnet_id": IDS[SUBNET.name, "inside"],
        },
        "endpoint groups": {"name": "office-groups", "router_id": IDS[ROUTER.name, "gateway"]},
    },
    IKE_POLICY.name: {
        "defaults": {"name": "ike"},
        "strong": {
            "name": "ike-strong",
            "ike_version": "v2",
            "encryption_algorithm": "aes-256-gcm-16",
            "auth_algorithm": "sha384",
            "pfs": "group20",
            "lifetime": {"units": "seconds", "value": 28800},
        },
    },
    IPSEC_POLICY.name: {
        "defaults": {"name": "ipsec"},
        "strong": {
            "name": "ipsec-strong",
            "transform_protocol": "esp",
            "encapsulation_mode": "tunnel",
            "encryption_algorithm": "aes-256-gcm-16",
            "auth_algorithm": "sha384",
            "pfs": "group20",
            "lifetime": {"value": "7200"},
        },
    },
    ENDPOINT_GROUP.name: {
        "local": {"name": "office-subnets", "type": "subnet", "endpoints": [IDS[SUBNET.name, "inside"]]},
        "peer": {"name": "branch-cidrs", "type": "cidr", "endpoints": ["10.2.0.0/24", "10.3.0.0/24"]},
    },
    CONNECTION.name: {
        "one subnet": {
            "name": "to-branch",
            "vpnservice_id": IDS[SERVICE.name, "one subnet"],
            "ikepolicy_id": IDS[IKE_POLICY.name, "defaults"],
            "ipsecpolicy_id": IDS[IPSEC_POLICY.name, "defaults"],
            "peer_address": "203.0.113.9",
            "peer_id": "203.0.113.9",
            "peer_cidrs": ["10.9.0.0/24"],
            "psk": "a long secret that both gateways have",
        },
        "endpoint groups": {
            "name": "to-branches",
            "vpnservice_id": IDS[SERVICE.name, "endpoint groups"],
            "ikepolicy_id": IDS[IKE_POLICY.name, "strong"],
            "ipsecpolicy_id": IDS[IPSEC_POLICY.name, "strong"],
            "peer_address": "vpn.example.org",
            "peer_id": "vpn.example.org",
            "local_ep_group_id": IDS[ENDPOINT_GROUP.name, "local"],
            "peer_ep_group_id": IDS[ENDPOINT_GROUP.name, "peer"],
            "psk": "another long secret",
            "mtu": "1400",
            "dpd": {"action": "restart", "interval": 10, "timeout": 60},
        },
    },
}
"""Bodies of POST: resource -> name -> attributes."""

BULK: Final[dict[str, dict[str, list[ExampleValues]]]] = {
    IKE_POLICY.name: {
        "several": [{"name": "ike-lab"}, {"name": "ike-branches", "ike_version": "v2", "pfs": "group19"}]
    },
    ENDPOINT_GROUP.name: {
        "several": [
            {"name": "lab-cidrs", "type": "cidr", "endpoints": ["10.4.0.0/24"]},
            {"name": "store-cidrs", "type": "cidr", "endpoints": ["10.5.0.0/24", "10.6.0.0/24"]},
        ]
    },
}
"""Bodies of POST that create several objects: resource -> name -> attributes of each object."""

QUOTA: Final[ExampleValues] = {"ipsec_site_connection": 20, "vpnservice": 5}
"""The body that sets quotas of a project."""

_OFFICE: Final = {"project": {"name": "office", "domain": {"id": "default"}}}
LOGIN: Final[dict[str, ExampleValues]] = {
    "password": {
        "auth": {
            "identity": {
                "methods": ["password"],
                "password": {"user": {"name": "alice", "domain": {"id": "default"}, "password": "a good password"}},
            },
            "scope": _OFFICE,
        }
    },
    "token": {"auth": {"identity": {"methods": ["token"], "token": {"id": "a token"}}, "scope": _OFFICE}},
    "application credential": {
        "auth": {
            "identity": {
                "methods": ["application_credential"],
                "application_credential": {
                    "name": "backups",
                    "user": {"name": "alice", "domain": {"id": "default"}},
                    "secret": "a secret of its own",
                },
            }
        }
    },
}
"""Bodies that request a token, by method."""

CREDENTIAL: Final[dict[str, ExampleValues]] = {
    "read only": {
        "application_credential": {
            "name": "backups",
            "description": "reads what there is",
            "secret": "a secret of its own",
            "roles": [{"name": "reader"}],
        }
    }
}
"""The body that creates the application credential of `LOGIN`."""

INTERFACE: Final[ExampleValues] = {"subnet_id": IDS[SUBNET.name, "inside"]}
"""The body that adds a router interface on the subnet, and removes it."""

UPDATE: Final[dict[str, dict[str, ExampleValues]]] = {
    resource.name: {"rename": {"name": "renamed", "description": "renamed by an example"}}
    for resource in RESOURCES
    if resource.writable
} | {
    IKE_POLICY.name: {"lifetime": {"lifetime": {"value": 14400}}},
    ROUTER.name: {"disable": {"admin_state_up": False}},
    CONNECTION.name: {
        "rotate the key": {"psk": "a new long secret"},
        "other networks": {"peer_cidrs": ["10.9.0.0/24", "10.8.0.0/24"]},
    },
}
"""Bodies of PUT: resource -> name -> attributes, for the first object of the resource."""

STORY: Final = (NETWORK, SUBNET, ROUTER, SERVICE, IKE_POLICY, IPSEC_POLICY, ENDPOINT_GROUP, CONNECTION)
"""The order in which the objects can be created; the router interface follows the router."""

_FIXED: Final = {"subnet_id": IDS[SUBNET.name, "inside"], "ip_address": "10.1.0.1"}
_READ_ONLY: Final[dict[str, ExampleValues]] = {
    NETWORK.name: {"status": "ACTIVE", "subnets": []},
    SUBNET.name: {"gateway_ip": "10.1.0.1", "allocation_pools": [{"start": "10.1.0.2", "end": "10.1.0.254"}]},
    ROUTER.name: {
        "status": "ACTIVE",
        "external_gateway_info": {
            "network_id": OUTSIDE,
            "external_fixed_ips": [{"subnet_id": _id(16), "ip_address": "198.51.100.2"}],
            "enable_snat": False,
        },
    },
    SERVICE.name: {
        "status": "PENDING_CREATE",
        "status_reason": "waits for a node that can run the gateway",
        "external_v4_ip": "198.51.100.2",
    },
    CONNECTION.name: {
        "status": "PENDING_CREATE",
        "status_reason": "waits for a node that can run the gateway",
        "route_mode": "static",
    },
    PORT.name: {
        "id": PORT_ID,
        "network_id": IDS[NETWORK.name, "inside"],
        "device_id": IDS[ROUTER.name, "gateway"],
        "device_owner": INTERFACE_PORT,
        "fixed_ips": [_FIXED],
        "mac_address": "fa:97:3e:5f:0c:7a",
        "name": "",
        "description": "",
    },
}


def shown(resource: Resource) -> ExampleValues:
    """The response to a GET of an object: the one that the resource's first example creates."""
    request: ExampleValues = {}
    if resource.name in CREATE:
        name, request = next(iter(CREATE[resource.name].items()))
        request = {"id": IDS[resource.name, name], **request}
    values = request | _READ_ONLY.get(resource.name, {}) | {"project_id": PROJECT}
    defaults = {a.name: a.default if a.post and not a.required else None for a in resource.attributes}
    return defaults | values
