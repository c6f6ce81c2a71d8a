"""The causes of the negotiation of the IKE SA."""

from __future__ import annotations

from typing import Final

from linkspan.core.diagnosis.catalogue.declared import Declared
from linkspan.core.diagnosis.codes import Code

_OFFER: Final = "the peer's IKE proposal does not match: it offers {peer}; here it is {ours}"
_SET: Final = "use an IKE policy with the peer's algorithms"


def _ike_mismatch(code: Code, transform: str) -> Declared:
    return Declared(
        code=code,
        layer="ike",
        title=f"another {transform} for IKE",
        sentence=_OFFER,
        ours=f"{_SET}: the {transform} differs",
        peers=f"set the {transform} of phase 1 to that of our IKE policy",
    )


IKE: Final = (
    Declared(
        code="IKE_REFUSED",
        layer="ike",
        title="the peer refuses the IKE SA",
        sentence="the peer refused our IKE proposal or knows no connection for our address: compare the IKE policies, "
        "ike_version and peer_address on both sides; we offer {ours}",
        variants={
            "bare": "the peer refused our IKE proposal or knows no connection for our address: compare the IKE "
            "policies, ike_version and peer_address on both sides"
        },
        side="unknown",
        confidence=0.5,
        ours="compare the IKE policy with the peer's phase 1, and our address with the one that the peer expects",
        peers="see its log: it names the proposals, or that no connection was found",
    ),
    Declared(
        code="IKE_PROPOSAL_MISMATCH",
        layer="ike",
        title="the IKE proposals do not match",
        sentence=_OFFER,
        variants={"bare": "the peer's IKE proposal does not match: compare the IKE policies on both sides"},
        ours=_SET,
        peers="set phase 1 to the algorithms of our IKE policy",
    ),
    _ike_mismatch("IKE_PROPOSAL_MISMATCH_ENCRYPTION", "encryption algorithm"),
    _ike_mismatch("IKE_PROPOSAL_MISMATCH_INTEGRITY", "integrity algorithm"),
    _ike_mismatch("IKE_PROPOSAL_MISMATCH_PRF", "pseudo-random function"),
    _ike_mismatch("IKE_PROPOSAL_MISMATCH_DH", "Diffie-Hellman group"),
    Declared(
        code="IKE_VERSION_MISMATCH",
        layer="ike",
        title="another version of IKE",
        sentence="the peer uses {peer}, and ike_version here is {ours}: set the same on both sides",
        variants={"bare": "the peer does not take the version of IKE: compare ike_version on both sides"},
        ours="use an IKE policy with the peer's ike_version",
        peers="set the version of IKE to that of our IKE policy",
    ),
    Declared(
        code="EXCHANGE_MODE_MISMATCH",
        layer="ike",
        title="main mode meets aggressive mode",
        sentence="the peer uses the other negotiation mode: compare phase1_negotiation_mode on both sides",
        ours="set phase1_negotiation_mode to the peer's",
        peers="set the mode of phase 1 to that of our IKE policy",
    ),
    Declared(
        code="UNKNOWN_SOURCE",
        layer="ike",
        title="a call that no connection expects",
        sentence="a peer called that no connection here expects, from {peer}: compare peer_address and the IKE version",
        confidence=0.5,
        ours="set peer_address to the address that the peer calls from",
        peers="let it call from the address that is peer_address here",
    ),
    Declared(
        code="PEER_BROKE_OFF",
        layer="ike",
        title="the peer ended its own attempt",
        sentence="the peer ended its attempt: compare the identities on both sides, and see the peer's own log",
        variants={
            "key": "the peer ended its attempt: compare the pre-shared key and the identities on both sides",
            "deaf": "the peer repeats its first message, and so does not hear our answers: check that UDP 500 passes "
            "towards it",
        },
        side="unknown",
        confidence=0.5,
        ours="compare the identities and keys on both sides",
        peers="see its log: it has refused what we sent",
    ),
)
