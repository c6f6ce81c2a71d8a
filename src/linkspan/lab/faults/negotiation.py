"""Faults of intent, IKE and child SAs: what two configurations have that does not fit."""

from __future__ import annotations

from typing import Any, Final

from linkspan.lab.faults.authentication import REFUSED
from linkspan.lab.faults.declaration import Change, Codes, TunnelFault

_ESP: Final = {"encryption_algorithm": "aes-256"}
_AGGRESSIVE: Final = Change(ike={"phase1_negotiation_mode": "aggressive"})
_ELSEWHERE: Final = "198.51.100.251"
_PFS: Final = Codes(
    any=("PFS_MISMATCH",),
    # IKEv1 says NO_PROPOSAL_CHOSEN of all of phase 2.
    alone_initiator_v1=("ESP_PROPOSAL_MISMATCH", "PFS_MISMATCH"),
    vague=("ESP_PROPOSAL_MISMATCH",),
)
_OTHER_NETWORK: Final = "10.77.0.0/24"


def _ike(name: str, title: str, code: str, near: dict[str, str], far: dict[str, str], **more: Any) -> TunnelFault:
    """Proposals of IKE that do not fit: a plain charon refuses what it is offered without saying why."""
    codes = Codes(any=(code,), alone_initiator=("IKE_REFUSED",))
    return TunnelFault(name=name, title=title, codes=codes, near=Change(ike=near), far=Change(ike=far), **more)


def _esp(name: str, title: str, code: str, near: dict[str, str], far: dict[str, str], **more: Any) -> TunnelFault:
    """The same of ESP."""
    codes = Codes(any=(code,), alone_initiator=("ESP_PROPOSAL_MISMATCH", code))
    return TunnelFault(name=name, title=title, codes=codes, near=Change(ipsec=near), far=Change(ipsec=far), **more)


INTENT: Final = (
    TunnelFault(
        name="admin-down-near",
        title="admin_state_up of the near connection is false",
        near=Change(connection={"admin_state_up": False}),
        codes=Codes(near=("ADMIN_DISABLED",), far=("PEER_END_DISABLED",)),
        versions=("v2",),
        seconds=20.0,
    ),
    TunnelFault(
        name="admin-down-far",
        title="admin_state_up of the far connection is false",
        far=Change(connection={"admin_state_up": False}),
        codes=Codes(
            far=("ADMIN_DISABLED",),
            near=("PEER_END_DISABLED",),
            alone_initiator=("IKE_REFUSED",),
            alone_responder=("WAITING_FOR_PEER", ""),
        ),
        versions=("v2",),
        seconds=20.0,
    ),
    TunnelFault(
        name="service-down",
        title="admin_state_up of the near VPN service is false",
        acts=("service-down",),
        at="near",
        codes=Codes(near=("ADMIN_DISABLED",), far=None),
        versions=("v2",),
        roles=("initiator",),
        kinds=("ours",),
    ),
    TunnelFault(
        name="router-down",
        title="admin_state_up of the near router is false",
        acts=("router-down",),
        at="near",
        codes=Codes(near=("ADMIN_DISABLED",), far=None),
        versions=("v2",),
        roles=("initiator",),
        kinds=("ours",),
    ),
    TunnelFault(
        name="both-response-only",
        title="both ends are response-only",
        both=Change(connection={"initiator": "response-only"}),
        codes=Codes(any=("BOTH_RESPONSE_ONLY",)),
        versions=("v2",),
        roles=("responder",),
        kinds=("ours",),
        seconds=20.0,
    ),
    TunnelFault(
        name="ah",
        title="the near end wants AH, which its node cannot do",
        near=Change(ipsec={"transform_protocol": "ah"}),
        codes=Codes(near=("KERNEL_LACKS_FEATURE",), far=None),
        versions=("v2",),
        roles=("initiator",),
    ),
    TunnelFault(
        name="transport-mode",
        title="the near end wants transport mode, which its node cannot do",
        near=Change(ipsec={"encapsulation_mode": "transport"}),
        codes=Codes(near=("KERNEL_LACKS_FEATURE",), far=None),
        versions=("v2",),
        roles=("initiator",),
        kinds=("plain",),
    ),
)

IKE: Final = (
    _ike(
        "ike-encryption",
        "the encryption algorithms of IKE differ",
        "IKE_PROPOSAL_MISMATCH_ENCRYPTION",
        {"encryption_algorithm": "aes-128"},
        {"encryption_algorithm": "aes-256"},
    ),
    _ike(
        "ike-integrity",
        "the integrity algorithms of IKE differ",
        "IKE_PROPOSAL_MISMATCH_INTEGRITY",
        {"auth_algorithm": "sha256"},
        {"auth_algorithm": "sha512"},
    ),
    _ike(
        "ike-prf",
        "the PRFs of IKE differ, with an AEAD",
        "IKE_PROPOSAL_MISMATCH_PRF",
        {"encryption_algorithm": "aes-256-gcm-16", "auth_algorithm": "sha256"},
        {"encryption_algorithm": "aes-256-gcm-16", "auth_algorithm": "sha512"},
        versions=("v2",),
    ),
    _ike(
        "ike-group",
        "the Diffie-Hellman groups of IKE differ",
        "IKE_PROPOSAL_MISMATCH_DH",
        {"pfs": "group14"},
        {"pfs": "group20"},
    ),
    _ike(
        "ike-key-length",
        "the keys of the encryption algorithm of IKE have other lengths",
        "IKE_PROPOSAL_MISMATCH_ENCRYPTION",
        {"encryption_algorithm": "aes-192"},
        {"encryption_algorithm": "aes-256"},
    ),
    _ike(
        "ike-cipher-mode",
        "the near end uses AES in counter mode for IKE, and the far one CBC",
        "IKE_PROPOSAL_MISMATCH_ENCRYPTION",
        {"encryption_algorithm": "aes-256-ctr"},
        {"encryption_algorithm": "aes-256"},
        versions=("v2",),
    ),
    _ike(
        "ike-group-elliptic",
        "the near end uses an elliptic curve for IKE, and the far one a modular group",
        "IKE_PROPOSAL_MISMATCH_DH",
        {"pfs": "group19"},
        {"pfs": "group14"},
    ),
    _ike(
        "ike-everything",
        "no algorithm of IKE is the same",
        "IKE_PROPOSAL_MISMATCH",
        {},
        {"encryption_algorithm": "aes-256", "auth_algorithm": "sha512", "pfs": "group20"},
        versions=("v2",),
    ),
    TunnelFault(
        name="ike-version",
        title="one end uses IKEv1, and the other one IKEv2",
        far=Change(ike={"ike_version": "v1"}),
        codes=Codes(any=("IKE_VERSION_MISMATCH",), alone_initiator=("IKE_REFUSED", "IKE_VERSION_MISMATCH")),
        versions=("v2",),
    ),
    TunnelFault(
        name="ike-version-2",
        title="one end uses IKEv2, and the other one IKEv1",
        far=Change(ike={"ike_version": "v2"}),
        codes=Codes(any=("IKE_VERSION_MISMATCH",), alone_initiator=("IKE_REFUSED", "IKE_VERSION_MISMATCH")),
        versions=("v1",),
    ),
    TunnelFault(
        name="ike-mode",
        title="the far end uses aggressive mode, and the near one main mode",
        far=_AGGRESSIVE,
        codes=Codes(
            any=("EXCHANGE_MODE_MISMATCH",), alone_initiator=("EXCHANGE_MODE_MISMATCH", *REFUSED), vague=REFUSED
        ),
        versions=("v1",),
    ),
    TunnelFault(
        name="ike-mode-main",
        title="the far end uses main mode, and the near one aggressive mode",
        near=_AGGRESSIVE,
        codes=Codes(
            any=("EXCHANGE_MODE_MISMATCH",), alone_initiator=("EXCHANGE_MODE_MISMATCH", *REFUSED), vague=REFUSED
        ),
        versions=("v1",),
    ),
    TunnelFault(
        name="unknown-at-peer",
        title="the far connection expects its peer at another address",
        far=Change(connection={"peer_address": _ELSEWHERE}),
        codes=Codes(
            near=("IKE_REFUSED", "PEER_KNOWS_NO_SUCH_CONNECTION"),
            far=None,
        ),
        roles=("initiator",),
    ),
    TunnelFault(
        name="wrong-peer-address",
        title="the near connection expects its peer at another address, and that peer calls",
        near=Change(connection={"peer_address": _ELSEWHERE}),
        codes=Codes(
            near=("UNKNOWN_SOURCE", "PEER_ADDRESS_CHANGED"),
            far=("IKE_REFUSED", "PEER_KNOWS_NO_SUCH_CONNECTION"),
        ),
        roles=("responder",),
    ),
)

CHILD: Final = (
    _esp(
        "esp-encryption",
        "the encryption algorithms of ESP differ",
        "ESP_PROPOSAL_MISMATCH_ENCRYPTION",
        {"encryption_algorithm": "aes-128"},
        _ESP,
    ),
    _esp(
        "esp-integrity",
        "the integrity algorithms of ESP differ",
        "ESP_PROPOSAL_MISMATCH_INTEGRITY",
        {"auth_algorithm": "sha256"},
        {"auth_algorithm": "sha512"},
    ),
    _esp(
        "esp-key-length",
        "the keys of the encryption algorithm of ESP have other lengths",
        "ESP_PROPOSAL_MISMATCH_ENCRYPTION",
        {"encryption_algorithm": "aes-192"},
        {"encryption_algorithm": "aes-128"},
    ),
    _esp(
        "esp-cipher-mode",
        "the near end uses AES in counter mode for ESP, and the far one CBC",
        "ESP_PROPOSAL_MISMATCH_ENCRYPTION",
        {"encryption_algorithm": "aes-256-ctr"},
        {"encryption_algorithm": "aes-256"},
    ),
    _esp(
        "esp-both",
        "encryption and integrity algorithms of ESP differ",
        "ESP_PROPOSAL_MISMATCH",
        {},
        {"encryption_algorithm": "aes-256", "auth_algorithm": "sha512"},
        versions=("v2",),
    ),
    TunnelFault(
        name="esp-protocol",
        title="the far end wants AH, and the near one ESP",
        far=Change(child={"ah_proposals": ["sha256-modp2048"], "esp_proposals": []}),
        codes=Codes(any=("ESP_PROPOSAL_MISMATCH_PROTOCOL",), alone_initiator=("ESP_PROPOSAL_MISMATCH",)),
        kinds=("plain",),
    ),
    TunnelFault(
        name="pfs",
        title="the groups for perfect forward secrecy differ",
        near=Change(ipsec={"pfs": "group14"}),
        far=Change(ipsec={"pfs": "group20"}),
        codes=_PFS,
        seconds=10.0,
    ),
    TunnelFault(
        name="no-pfs",
        title="the far end has no perfect forward secrecy",
        far=Change(child={"esp_proposals": ["aes128-sha256"]}),
        codes=_PFS,
        kinds=("plain",),
        seconds=10.0,
    ),
    TunnelFault(
        name="encapsulation-mode",
        title="the far end uses transport mode, and the near one tunnel mode",
        far=Change(child={"mode": "transport"}),
        codes=Codes(any=("ENCAPSULATION_MODE_MISMATCH",), vague=("SELECTORS_UNACCEPTABLE",)),
        kinds=("plain",),
        roles=("responder",),
        versions=("v2",),
    ),
    TunnelFault(
        name="peer-cidrs",
        title="the near end has another network behind the peer than the peer has",
        near=Change(connection={"peer_cidrs": [_OTHER_NETWORK]}),
        codes=Codes(any=("SELECTORS_UNACCEPTABLE",)),
    ),
    TunnelFault(
        name="local-cidrs",
        title="the far end has another network behind its peer than the near end has",
        far=Change(connection={"peer_cidrs": [_OTHER_NETWORK]}),
        codes=Codes(any=("SELECTORS_UNACCEPTABLE",)),
    ),
    TunnelFault(
        name="selectors-narrowed",
        title="the far end has a part of the near network only",
        far=Change(connection={"peer_cidrs": ["10.1.0.0/25"]}),
        codes=Codes(near=("SELECTORS_NARROWED",), far=None),
        versions=("v2",),
        seconds=10.0,
    ),
    TunnelFault(
        name="one-of-two-networks",
        title="the near end has two networks behind the peer, and the peer has one of them",
        near=Change(connection={"peer_cidrs": ["{far_network}", _OTHER_NETWORK]}),
        codes=Codes(near=("SELECTORS_NARROWED", "SELECTORS_UNACCEPTABLE"), far=None),
        seconds=10.0,
        roles=("initiator",),
    ),
)
