"""The faults that the product does not name yet, with the reason, and the sample that runs without `--all`."""

from __future__ import annotations

from typing import Final

_REASONS: Final[dict[str, tuple[str, ...]]] = {
    "a wrong post-quantum key fails as a wrong pre-shared key does": (
        "ppk:v2:initiator:ours",
        "ppk:v2:responder:ours",
    ),
    "a charon that hangs is named once it has been started anew, without a code": ("charon-hangs:v2:initiator:plain",),
    "losses are not counted": ("lossy:v2:initiator:ours",),
    "the size of what passes is not probed: UP_NO_TRAFFIC_IN is told": (
        "large-packets-lost:v2:initiator:ours",
        "large-packets-lost:v2:initiator:plain",
    ),
}
KNOWN: Final = {name: reason for reason, names in _REASONS.items() for name in names}
"""Reasons by the name of the case. A case that becomes right fails until its line goes."""

SAMPLE: Final = frozenset(
    {
        "admin-down-far:v2:initiator:ours",
        "ah:v2:initiator:plain",
        "ike-group:v2:responder:plain",
        "ike-encryption:v1:initiator:ours",
        "ike-version:v2:initiator:ours",
        "ike-mode:v1:responder:plain",
        "psk:v2:initiator:ours",
        "psk:v1:responder:ours",
        "peer-id:v2:responder:plain",
        "local-id:v2:initiator:ours",
        "cert-expired:v2:responder:plain",
        "cert-untrusted:v1:initiator:plain",
        "esp-integrity:v2:responder:plain",
        "peer-cidrs:v1:initiator:ours",
        "pfs:v2:initiator:plain",
        "filtered-at-peer:v2:initiator:ours",
        "udp-500-blocked:v2:initiator:plain",
        "udp-4500-blocked:v2:initiator:plain",
        "sound:v2:responder:ours",
    }
)
"""A fault of each layer, in both versions of IKE, roles and kinds of the far end, and a control."""
