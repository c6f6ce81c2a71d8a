"""The codes of causes, as types, and what is known of one that has happened. Meanings: `core.diagnosis.causes`."""

from __future__ import annotations

from typing import Literal

import msgspec

Code = Literal[
    "CONFIG_INCOMPLETE",
    "ADMIN_DISABLED",
    "PEER_END_DISABLED",
    "BOTH_RESPONSE_ONLY",
    "PEER_ADDRESS_IS_OURS",
    "PROVISIONING",
    "UPDATE_IN_PROGRESS",
    "EDIT_RENEGOTIATES",
    "DEPROVISIONING",
    "PREFIX_CONFLICT",
    "KEY_OF_ANOTHER_CONNECTION",
    "NODE_MISSING",
    "NODE_LOST",
    "AGENT_STALE",
    "AGENT_STOPPED",
    "IKE_DAEMON_DOWN",
    "CONFIG_REFUSED_HERE",
    "IKE_VERSION_UNSUPPORTED_HERE",
    "ALGORITHM_UNSUPPORTED_HERE",
    "KERNEL_LACKS_FEATURE",
    "LOCAL_LINK_DOWN",
    "LOCAL_ADDRESS_ABSENT",
    "NO_ROUTE_TO_PEER",
    "PEER_NO_REPLY",
    "PEER_UNREACHABLE_ICMP",
    "PEER_PORT_CLOSED",
    "UDP_4500_BLOCKED",
    "IKE_FRAGMENTS_LOST",
    "PEER_NAME_UNRESOLVED",
    "WAITING_FOR_PEER",
    "NEGOTIATING",
    "IKE_REFUSED",
    "IKE_PROPOSAL_MISMATCH",
    "IKE_PROPOSAL_MISMATCH_ENCRYPTION",
    "IKE_PROPOSAL_MISMATCH_INTEGRITY",
    "IKE_PROPOSAL_MISMATCH_PRF",
    "IKE_PROPOSAL_MISMATCH_DH",
    "IKE_VERSION_MISMATCH",
    "EXCHANGE_MODE_MISMATCH",
    "UNKNOWN_SOURCE",
    "PEER_BROKE_OFF",
    "AUTHENTICATION_REFUSED",
    "ENCRYPTED_UNANSWERED",
    "PSK_MISMATCH",
    "PSK_MISSING",
    "PSK_MISSING_AT_PEER",
    "PEER_ID_MISMATCH",
    "LOCAL_ID_REFUSED",
    "AUTH_METHOD_MISMATCH",
    "CERT_EXPIRED",
    "CERT_NOT_YET_VALID",
    "CERT_REVOKED",
    "CERT_NO_ISSUER",
    "CERT_UNTRUSTED_ROOT",
    "CERT_NOT_PINNED",
    "CERT_POLICY",
    "REVOCATION_UNREACHABLE",
    "LOCAL_CERT_MISSING",
    "ID_NOT_IN_CERT",
    "CERT_KEY_MISMATCH",
    "PPK_REQUIRED",
    "PPK_MISMATCH",
    "ESP_PROPOSAL_MISMATCH",
    "ESP_PROPOSAL_MISMATCH_ENCRYPTION",
    "ESP_PROPOSAL_MISMATCH_INTEGRITY",
    "ESP_PROPOSAL_MISMATCH_PROTOCOL",
    "PFS_MISMATCH",
    "ENCAPSULATION_MODE_MISMATCH",
    "SELECTORS_UNACCEPTABLE",
    "SELECTORS_NARROWED",
    "CHILD_REFUSED",
    "NO_CHILD",
    "HARD_EXPIRY",
    "DPD_TIMEOUT",
    "PEER_DELETED",
    "PEER_REAUTH_FAILED",
    "FLAPPING",
    "UP_NO_TRAFFIC_IN",
    "UP_NO_TRAFFIC_OUT",
    "UNKNOWN",
]


class Details(msgspec.Struct, frozen=True):
    """The details of a cause that has happened. `ours`, `peer`: the values that differ, in the API's words or those
    of the peer. `line`: the words of charon, or of the kernel, that show it. Empty if not known."""

    ours: str = ""
    peer: str = ""
    line: str = ""


NOTHING = Details()
