"""The causes of the negotiation of child SAs."""

from __future__ import annotations

from typing import Final

from linkspan.core.diagnosis.catalogue.declared import Declared
from linkspan.core.diagnosis.codes import Code

_OFFER: Final = "the peer's IPsec proposal does not match: it offers {peer}; here it is {ours}"
_SET: Final = "use an IPsec policy with the peer's algorithms"


def _esp_mismatch(code: Code, what: str) -> Declared:
    return Declared(
        code=code,
        layer="child",
        title=f"another {what} for IPsec",
        sentence=_OFFER,
        ours=f"{_SET}: the {what} differs",
        peers=f"set the {what} of phase 2 to that of our IPsec policy",
    )


CHILD: Final = (
    Declared(
        code="ESP_PROPOSAL_MISMATCH",
        layer="child",
        title="the IPsec proposals do not match",
        sentence=_OFFER,
        variants={
            "bare": "the peer's IPsec proposal does not match: compare the IPsec policies on both sides, pfs included",
            "refused": "the peer accepts none of our IPsec proposals: compare the IPsec policies, pfs included",
            "offered": "the peer accepts none of our IPsec proposals: compare the IPsec policies, pfs included; we "
            "offer {ours}",
        },
        ours=_SET,
        peers="set phase 2 to the algorithms of our IPsec policy",
    ),
    _esp_mismatch("ESP_PROPOSAL_MISMATCH_ENCRYPTION", "encryption algorithm"),
    _esp_mismatch("ESP_PROPOSAL_MISMATCH_INTEGRITY", "integrity algorithm"),
    _esp_mismatch("ESP_PROPOSAL_MISMATCH_PROTOCOL", "protocol (ESP or AH)"),
    Declared(
        code="PFS_MISMATCH",
        layer="child",
        title="another group for perfect forward secrecy",
        sentence=_OFFER,
        variants={"refused": "the peer refuses the group of pfs in our IPsec policy: compare pfs on both sides"},
        ours="set pfs of the IPsec policy to the peer's group",
        peers="set the group of phase 2 to that of our IPsec policy",
    ),
    Declared(
        code="ENCAPSULATION_MODE_MISMATCH",
        layer="child",
        title="tunnel mode meets transport mode",
        sentence="the peer asks for transport mode, which this connection does not have: compare encapsulation_mode on "
        "both sides",
        ours="set encapsulation_mode of the IPsec policy to the peer's",
        peers="set the mode of phase 2 to that of our IPsec policy",
    ),
    Declared(
        code="SELECTORS_UNACCEPTABLE",
        layer="child",
        title="the networks do not match",
        sentence="the traffic selectors do not match: compare local and peer CIDRs and encapsulation_mode on both "
        "sides; the peer asks for {peer}, and here it is {ours}",
        variants={
            "bare": "the traffic selectors do not match: compare local and peer CIDRs and encapsulation_mode on both "
            "sides",
            "ours": "the traffic selectors do not match: compare local and peer CIDRs and encapsulation_mode on both "
            "sides; here it is {ours}",
            "address": (
                "user-space ESP needs an address of the gateway inside each local network: attach the subnet to its "
                "router"
            ),
        },
        ours="set local and peer CIDRs to the mirror of the peer's",
        peers="set its networks to the mirror of ours",
    ),
    Declared(
        code="SELECTORS_NARROWED",
        layer="child",
        title="the peer takes some of the networks",
        sentence="the peer takes some of the pairs of networks only",
        severity="warning",
        side="peer",
        ours="or take the missing networks out of the connection",
        peers="add the missing networks",
    ),
    Declared(
        code="CHILD_REFUSED",
        layer="child",
        title="the peer refuses the child SA",
        sentence="the peer refused the connection ({peer})",
        variants={"here": "charon here refuses to initiate: {ours}"},
        confidence=0.5,
        peers="see its log",
    ),
    Declared(
        code="NO_CHILD",
        layer="child",
        title="an IKE SA without a child SA",
        sentence="the peer has an IKE SA with us, and no child SA",
        confidence=0.5,
        peers="see its log",
    ),
    Declared(
        code="HARD_EXPIRY",
        layer="child",
        title="the IKE SA has reached its lifetime",
        sentence="the IKE SA has reached its lifetime and nobody has rekeyed it",
        ours="compare the lifetimes of the IKE policies",
        peers="compare the lifetimes of the IKE policies",
    ),
)
