"""What each attribute of the VPN resources does between the gateways, in one sentence: a column of docs/attributes.md.

Kept beside the registry, not in it: no program reads these. `tests/test_docs.py` fails where one is missing.
"""

from __future__ import annotations

from typing import Final

_PEOPLE: Final = {
    "id": "which object a reference means; a connection's id names its child SAs",
    "project_id": "keeps projects apart: no gateway uses, shows or answers to what is another project's",
    "name": "nothing: a change sends no packet and touches no SA",
    "description": "nothing: a change sends no packet and touches no SA",
}
_STATUS: Final = {
    "status": "follows what is up",
    "status_reason": "says what happened there, from the first failure on",
}
_ADMIN: Final = "false: SAs end at both ends, and nothing passes, in clear neither"
_CIPHER: Final = "the encryption transform of the one proposal, with its key length"

EFFECTS: Final[dict[str, dict[str, str]]] = {
    "service": _PEOPLE
    | _STATUS
    | {
        "router_id": "whose outside addresses the tunnels end at",
        "subnet_id": "the local traffic selector",
        "flavor_id": "nothing: there are no flavors, and only null is taken",
        "admin_state_up": _ADMIN,
        "external_v4_ip": "where IKE and ESP come from; follows the router's gateway, and so do the tunnels",
        "external_v6_ip": "where IKE and ESP come from; follows the router's gateway, and so do the tunnels",
    },
    "ike_policy": _PEOPLE
    | {
        "auth_algorithm": "the integrity transform and the PRF of the one proposal; with an AEAD the PRF",
        "encryption_algorithm": _CIPHER,
        "pfs": "the key exchange of the one proposal",
        "lifetime": "the IKE SA is rekeyed before its end",
        "phase1_negotiation_mode": "the exchange type of IKEv1",
        "ike_version": "the version in every IKE header",
    },
    "ipsec_policy": _PEOPLE
    | {
        "auth_algorithm": "the integrity transform of the one proposal; none beside an AEAD",
        "encryption_algorithm": _CIPHER,
        "pfs": "the key exchange of every renewed key; right after a tunnel came up it is tried once",
        "lifetime": "the child SA is rekeyed before its end, by time or by volume",
        "transform_protocol": "ESP or AH packets; ah-esp reads ERROR, with the reason",
        "encapsulation_mode": "tunnel mode; transport reads ERROR unless the gateways' own packets are meant",
    },
    "connection": _PEOPLE
    | _STATUS
    | {
        "vpnservice_id": "which gateway speaks, and for which local network",
        "ikepolicy_id": "what is proposed for the IKE SA",
        "ipsecpolicy_id": "what is proposed for the child SA",
        "peer_address": "where IKE goes; a name is resolved in the gateway, and the tunnel moves with its record",
        "peer_id": "the identity, of that type, that the peer has to prove",
        "local_id": "the identity, of that type, that we send",
        "peer_cidrs": "the peer's traffic selectors, host bits masked",
        "local_ep_group_id": "our traffic selectors",
        "peer_ep_group_id": "the peer's traffic selectors",
        "psk": "authenticates both ends; another key needs another authentication",
        "mtu": "larger packets are answered with what fits, and TCP segments are held to it",
        "effective_mtu": "what really fits: less than asked where ESP or the path allow less",
        "initiator": "response-only: never sends the first IKE packet; so it renews no IKE SA of IKEv1 either",
        "dpd": "how often a silent peer is asked, when it is dead, and what follows (hold in user space: restart)",
        "admin_state_up": _ADMIN,
        "auth_mode": "pre-shared keys; certs is refused until there are certificates",
        "route_mode": "static: the selectors are the routes; nothing else is taken",
    },
    "endpoint_group": _PEOPLE
    | {
        "type": "a local group is of subnets, a peer group of CIDRs; others are refused",
        "endpoints": "one traffic selector each",
    },
}
