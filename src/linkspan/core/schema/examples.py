"""Examples of requests for OpenAPI: a router between an internal and an external network becomes a VPN gateway.

A test sends them in the order of `STORY`, so the API accepts every one; ids refer to objects created earlier in it.
Addresses and names are reserved for documentation (RFC 5737, RFC 2606); internal addresses are private.
"""

from __future__ import annotations

from typing import Any, Final

from linkspan.core.schema.resources import (
    CERTIFICATE,
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
    TRUST_ANCHOR,
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
    (TRUST_ANCHOR.name, "own CA"): _id(17),
    (CERTIFICATE.name, "by the own CA"): _id(18),
    (CERTIFICATE.name, "request"): _id(19),
    (CONNECTION.name, "certificates"): _id(20),
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
        "certificates": {
            "name": "to-lab",
            "vpnservice_id": IDS[SERVICE.name, "one subnet"],
            "ikepolicy_id": IDS[IKE_POLICY.name, "strong"],
            "ipsecpolicy_id": IDS[IPSEC_POLICY.name, "strong"],
            "peer_address": "203.0.113.10",
            "peer_id": "lab.example.org",
            "peer_cidrs": ["10.7.0.0/24"],
            "auth_mode": "certs",
            "local_id": "gw.example.org",
            "local_certificate_id": IDS[CERTIFICATE.name, "by the own CA"],
            "trust_anchor_id": IDS[TRUST_ANCHOR.name, "own CA"],
            "ppk_id": "lab@example.org",
            "ppk": "a secret that both gateways have besides",
        },
    },
    TRUST_ANCHOR.name: {"own CA": {"name": "office", "source": "generated"}},
    CERTIFICATE.name: {
        "by the own CA": {
            "name": "gateway",
            "source": "generated",
            "issuer_id": IDS[TRUST_ANCHOR.name, "own CA"],
            "subject_alt_names": ["gw.example.org"],
        },
        "request": {
            "name": "gateway by another CA",
            "key_algorithm": "ecdsa-p384",
            "subject": "C=CH, O=Example, CN=gw.example.org",
            "subject_alt_names": ["gw.example.org", "198.51.100.2"],
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

IDENTITY: Final[dict[str, dict[str, ExampleValues]]] = {
    "create project": {"create": {"project": {"name": "branch", "description": "the branch office"}}},
    "update project": {"disable": {"project": {"enabled": False}}},
    "create user": {
        "create": {
            "user": {"name": "carol", "password": "a good password", "email": "carol@example.org", "enabled": True}
        }
    },
    "update user": {"disable": {"user": {"enabled": False}}},
    "change password": {"change": {"user": {"original_password": "a good password", "password": "a better password"}}},
}
"""Bodies that change projects and users: operation -> name -> body."""

INTERFACE: Final[ExampleValues] = {"subnet_id": IDS[SUBNET.name, "inside"]}
"""The body that adds a router interface on the subnet, and removes it."""

REQUEST: Final[ExampleValues] = {
    "csr": """-----BEGIN CERTIFICATE REQUEST-----
MIIBBzCBrwIBADAdMRswGQYDVQQDDBJicmFuY2guZXhhbXBsZS5vcmcwWTATBgcq
hkjOPQIBBggqhkjOPQMBBwNCAATBPYjQmOtCH1IcEp2G7oR5+eBoYfmEZPuJimBh
KMnpeR8aarFEa/NgRbDr9fbvx7aqYDYKMBYzdPM1MmMCtzCaoDAwLgYJKoZIhvcN
AQkOMSEwHzAdBgNVHREEFjAUghJicmFuY2guZXhhbXBsZS5vcmcwCgYIKoZIzj0E
AwIDRwAwRAIgdGWdJN95FJk81Z/c6ameVsivDf5tCaVp/uN8xNUZMcoCIHQvO+fV
RVAqzLPDZBqzjbq6nGpOZ+BgrrViDy8v/OSA
-----END CERTIFICATE REQUEST-----
"""
}
"""The body that asks a CA for a certificate."""

REVOKED: Final[ExampleValues] = {"certificate": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}
"""The body that revokes a certificate."""

PROBE: Final[ExampleValues] = {"probe": {"target": "10.2.0.10"}}
"""The body that has a connection probed."""
ROLLBACK: Final[ExampleValues] = {"revision": 1}
"""The body that brings the first revision of a connection back."""

COMPARE: Final[ExampleValues] = {
    "compare": {
        "configuration": """\
connections {
    to-linkspan {
        version = 2
        remote_addrs = 198.51.100.1
        proposals = aes128-sha256-modp2048
        local {
            auth = psk
        }
        remote {
            auth = psk
        }
        children {
            net {
                local_ts = 10.2.0.0/24
                remote_ts = 10.1.0.0/24
                esp_proposals = aes128-sha256-modp2048
            }
        }
    }
}
""",
        "format": "swanctl",
    }
}
"""The body that has a connection compared."""

TAGS: Final[dict[str, ExampleValues]] = {"two": {"tags": ["branch", "north"]}}
"""Bodies that replace or add tags."""

UPDATE: Final[dict[str, dict[str, ExampleValues]]] = {
    resource.name: {"rename": {"name": "renamed", "description": "renamed by an example"}}
    for resource in RESOURCES
    if resource.writable
} | {
    IKE_POLICY.name: {"lifetime": {"lifetime": {"value": 14400}}},
    SUBNET.name: {"name servers": {"dns_nameservers": ["10.1.0.53"]}},
    ROUTER.name: {"disable": {"admin_state_up": False}},
    CONNECTION.name: {
        "rotate the key": {"psk": "a new long secret"},
        "other networks": {"peer_cidrs": ["10.9.0.0/24", "10.8.0.0/24"]},
    },
}
"""Bodies of PUT: resource -> name -> attributes, for the first object of the resource."""

STORY: Final = (
    NETWORK,
    SUBNET,
    ROUTER,
    SERVICE,
    IKE_POLICY,
    IPSEC_POLICY,
    ENDPOINT_GROUP,
    TRUST_ANCHOR,
    CERTIFICATE,
    CONNECTION,
)
"""The order in which the objects can be created; the router interface follows the router."""

_PEM: Final = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
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
        "status_code": "PROVISIONING",
        "external_v4_ip": "198.51.100.2",
    },
    CONNECTION.name: {
        "status": "PENDING_CREATE",
        "status_reason": "waits for a node that can run the gateway",
        "status_code": "PROVISIONING",
        "route_mode": "static",
    },
    TRUST_ANCHOR.name: {
        "subject": "CN=office",
        "ca_bundle": _PEM,
        "crl": _PEM.replace("CERTIFICATE", "X509 CRL"),
        "expires_at": "2036-11-20T01:41:31Z",
        "status": "valid",
        "in_use_by": [],
    },
    CERTIFICATE.name: {
        "subject": "CN=gw.example.org",
        "csr": _PEM.replace("CERTIFICATE", "CERTIFICATE REQUEST"),
        "certificate": _PEM,
        "not_before": "2026-11-23T01:36:31Z",
        "not_after": "2027-11-23T01:41:31Z",
        "fingerprint": "5f" * 32,
        "key_identifier": "0c" * 20,
        "status": "valid",
        "in_use_by": [],
    },
    PORT.name: {
        "id": PORT_ID,
        "network_id": IDS[NETWORK.name, "inside"],
        "device_id": IDS[ROUTER.name, "gateway"],
        "device_owner": INTERFACE_PORT,
        "fixed_ips": [_FIXED],
        "mac_address": "fa:97:3e:5f:0c:7a",
        "tags": [],
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
