"""The effect of every attribute of every resource, one sentence each, for docs/attributes.md.

The sentences are not in the registry because no program reads them. `tests/test_docs.py` fails where one is missing. An
attribute without an effect says that it is `INFORMATIONAL`; all others have a test that shows the effect.
"""

from __future__ import annotations

from typing import Final

_DESCRIPTIVE: Final = {
    "id": "identifies the object in references; a connection's id is in the names of its child SAs",
    "project_id": "separates projects: no connection references an object of another project",
    "name": "nothing: a change sends no packet and changes no SA",
    "description": "nothing: a change sends no packet and changes no SA",
}
_STATUS: Final = {
    "status": "ACTIVE while a child SA is up",
    "status_reason": "the cause, as soon as the first attempt fails",
    "status_code": "the code of the cause ([diagnosis.md](diagnosis.md))",
}
_ADMIN: Final = "false: the SAs are deleted at both ends, and no packet passes, not in plaintext either"
INFORMATIONAL: Final = "informational: "
_LABELS: Final = {
    "id": "identifies the object in references and paths",
    "project_id": "separates projects: an object of another project is not found",
    "name": "a label to find objects by; a change reaches no node",
    "description": "a label to find objects by; a change reaches no node",
    "tags": "labels to find objects by; a change reaches no node",
}
_CLOSED: Final = "no packet passes, not in plaintext either; tunnels that can carry nothing are deleted at both ends"
_PROFILE: Final = "the algorithms of the profile, as if they were given one by one"
_CIPHER: Final = "the encryption transform of the proposal, with its key length"

EFFECTS: Final[dict[str, dict[str, str]]] = {
    "service": _DESCRIPTIVE
    | _STATUS
    | {
        "router_id": "its external addresses are the local endpoints of the tunnels",
        "subnet_id": "the local traffic selector",
        "flavor_id": "nothing: there are no flavors, and only null is accepted",
        "admin_state_up": _ADMIN,
        "external_v4_ip": "the source address of IKE and ESP; the tunnels follow a change of the router's gateway",
        "external_v6_ip": "the source address of IKE and ESP; the tunnels follow a change of the router's gateway",
    },
    "ike_policy": _DESCRIPTIVE
    | {
        "auth_algorithm": "the integrity transform and the PRF of the proposal; with an AEAD, the PRF only",
        "encryption_algorithm": _CIPHER,
        "pfs": "the key exchange method of the proposal",
        "lifetime": "the IKE SA is rekeyed before this time is over",
        "phase1_negotiation_mode": "main mode or aggressive mode as the exchange type of IKEv1",
        "ike_version": "the version in every IKE header",
        "crypto_profile": _PROFILE,
    },
    "ipsec_policy": _DESCRIPTIVE
    | {
        "auth_algorithm": "the integrity transform of the proposal; none with an AEAD",
        "encryption_algorithm": _CIPHER,
        "pfs": "the key exchange method of every rekey; one rekey right after the tunnel comes up verifies it",
        "lifetime": "the child SA is rekeyed before this time or volume is reached",
        "transform_protocol": "ESP or AH packets; with ah-esp the connection reads ERROR, with the reason",
        "encapsulation_mode": "tunnel mode; transport reads ERROR unless the selectors are the gateways themselves",
        "crypto_profile": _PROFILE,
    },
    "connection": _DESCRIPTIVE
    | _STATUS
    | {
        "vpnservice_id": "the gateway that terminates the tunnel, and its local network",
        "ikepolicy_id": "the proposal and lifetime of the IKE SA",
        "ipsecpolicy_id": "the proposal and lifetime of the child SA",
        "peer_address": "the destination of IKE; the gateway resolves a name, and the tunnel follows a changed record",
        "peer_id": "the identity that the peer must authenticate as, of that ID type",
        "local_id": "the identity that the gateway sends, of that ID type",
        "peer_cidrs": "the peer's traffic selectors, host bits masked; `status_reason` names what the peer leaves out; "
        "wide ones spare attached networks and peers",
        "local_ep_group_id": "the local traffic selectors",
        "peer_ep_group_id": "the peer's traffic selectors",
        "psk": "authenticates both ends; a new key needs a new authentication; the last one for two ends is in use",
        "mtu": "larger packets are answered with an ICMP error that reports the MTU, and the MSS of TCP is clamped",
        "effective_mtu": "the MTU in effect: lower than mtu where ESP or the path requires it",
        "initiator": "response-only: never initiates, so it does not rekey an IKE SA of IKEv1 either",
        "dpd": "when a silent peer is probed, when it is dead, and what follows (in user space, hold is restart)",
        "admin_state_up": _ADMIN,
        "auth_mode": "the method in AUTH: a pre-shared key, or a signature; what the other mode needs is kept, unused",
        "local_certificate_id": "the certificate that the gateway sends, and the key that it signs with",
        "trust_anchor_id": "the CAs that the peer's certificate has to lead to, and the revocation lists that count",
        "peer_certificates": "a peer with another certificate is refused, also one of the same CA",
        "ppk_id": "PPK_ID in IKE_AUTH (RFC 8784)",
        "ppk": "is part of the keys of the child SAs: a peer with another one is refused",
        "ppk_required": "true: a peer without the key is refused; false: the tunnel comes up without it",
        "last_good_revision": "what a rollback brings back; a failed update names it in `status_reason`",
        "route_mode": "static: the traffic selectors are the routes; there is no other value",
    },
    "endpoint_group": _DESCRIPTIVE
    | {
        "type": "a local group has subnets, a peer group CIDRs; a connection refuses other types",
        "endpoints": "one traffic selector per endpoint",
    },
    "certificate": _LABELS
    | {
        "source": "where key and certificate come from: a request for a CA, the project's own CA, or the client",
        "key_algorithm": "the kind of the key, and so of the signature in AUTH",
        "subject": "an identity that the gateway can have, if it is in the certificate",
        "subject_alt_names": "the identities that the gateway can have: connections refuse other ones",
        "issuer_id": "the trust anchor whose CA has issued it",
        "csr": "the request that a CA answers",
        "certificate": "what the gateway sends; a renewal reaches the nodes of the connections that use it",
        "private_key": "signs; it is never shown, and leaves only to the node of a gateway that uses it",
        "not_before": "a certificate that is not valid yet is refused",
        "not_after": "an expired certificate is refused; from 30 days before, the status is expiring",
        "fingerprint": "identifies the certificate, as `openssl x509 -fingerprint -sha256` does",
        "key_identifier": "names the key, as the extension subjectKeyIdentifier does",
        "revoked_at": "when the CA revoked it: a connection does not take it up any more",
        "status": "computed when it is read",
        "in_use_by": "a certificate that a connection uses cannot be deleted",
    },
    "trust_anchor": _LABELS
    | {
        "source": "the CAs of somebody else, or one of the project's own, which issues certificates",
        "subject": "the name of a generated CA",
        "ca_bundle": "the certificate of a peer has to lead to one of its roots, by its intermediate CA if it has one",
        "revocation": "strict: a peer without a good revocation list is refused; none: nothing is checked",
        "crl_urls": "nodes fetch revocation lists there",
        "crl": "a peer that is in the list is refused",
        "private_key": "signs the certificates of a generated CA; it is never shown, and never leaves",
        "expires_at": "the end of the first of its certificates",
        "status": "computed when it is read",
        "in_use_by": "an anchor that a connection uses cannot be deleted",
    },
    "network": _LABELS
    | {
        "name": "of an external network: a node finds the bridge for it by this name or by the id",
        "admin_state_up": f"false: on the gateways' interfaces on it {_CLOSED}",
        "router:external": "true: routers may have their gateway on it",
        "shared": "true: every project may read it, but not its subnets",
        "mtu": f"{INFORMATIONAL}shown to clients; gateways and tunnels have the MTU of the path and of the connection",
        "subnets": "the subnets on it; they are deleted with it",
        "status": "always ACTIVE, as in Neutron: admin_state_up does not change it",
    },
    "subnet": _LABELS
    | {
        "network_id": "the network on which a router gets its interface",
        "ip_version": "the IP version of the CIDR; a differing one is refused",
        "cidr": "the prefix of the router's interface, and the local traffic selector of connections",
        "gateway_ip": "the address of the router's interface, which needs one; outside the next hop of gateways",
        "enable_dhcp": f"{INFORMATIONAL}stored for clients, some of which always send true; no DHCP is served",
        "allocation_pools": "the addresses that routers are given on an external network",
        "dns_nameservers": f"{INFORMATIONAL}stored for clients; no DHCP is served",
        "host_routes": f"{INFORMATIONAL}stored for clients; no DHCP is served",
    },
    "router": _LABELS
    | {
        "admin_state_up": f"false: {_CLOSED}",
        "external_gateway_info": "the outside addresses of the gateway, and its next hops",
        "status": "always ACTIVE, as in Neutron: admin_state_up does not change it",
    },
    "port": _LABELS
    | {
        "name": "always empty",
        "description": "always empty",
        "network_id": "the network of the gateway's interface",
        "device_id": "the router whose interface it is",
        "device_owner": "the gateway's outside interface or one of its inside interfaces",
        "fixed_ips": "the addresses of the gateway's interface",
        "mac_address": "the MAC address of the gateway's interface, on every node; both ports of a network share it",
    },
}
