"""Faults of certificates. Both ends have certificates of the laboratory's CA, but for the fault."""

from __future__ import annotations

from typing import Any, Final

from linkspan.lab.faults.authentication import REFUSED
from linkspan.lab.faults.declaration import Change, Codes, TunnelFault

US: Final = "near.example.org"
THEM: Final = "far.example.org"
_ENDS: Final = {"near": US, "far": THEM}


def _of_peer(name: str, title: str, *codes: str, **more: Any) -> TunnelFault:
    """A fault of the far certificate, which the near end refuses in either role; the API would refuse it at its own."""
    return TunnelFault(
        name=f"cert-{name}",
        title=title,
        certificates=name,
        codes=Codes(near=codes, far=None),
        kinds=("plain",),
        **more,
    )


CERTIFICATES: Final = (
    _of_peer("expired", "the far certificate has expired", "CERT_EXPIRED"),
    _of_peer("not-yet-valid", "the far certificate is not valid yet", "CERT_NOT_YET_VALID"),
    _of_peer("untrusted", "the far certificate is of a CA that the near end does not know", "CERT_NO_ISSUER"),
    _of_peer("no-intermediate", "the far end does not send its intermediate certificate", "CERT_NO_ISSUER"),
    _of_peer("revoked", "the far certificate is revoked", "CERT_REVOKED"),
    _of_peer("no-crl", "the near end requires a revocation list, and has none", "REVOCATION_UNREACHABLE"),
    _of_peer("stale-crl", "the near end requires a revocation list, and has an old one", "REVOCATION_UNREACHABLE"),
    _of_peer("other-name", "the far certificate does not carry the far identity", "ID_NOT_IN_CERT", versions=("v2",)),
    _of_peer(
        "common-name",
        "the far certificate carries the identity as its common name only",
        "ID_NOT_IN_CERT",
        versions=("v2",),
    ),
    _of_peer("path-length", "a CA in the far chain may not issue CAs", "CERT_POLICY"),
    _of_peer("sha1", "the far certificate is signed with SHA-1", "CERT_POLICY"),
    _of_peer("pin", "the far certificate is none of peer_certificates", "CERT_NOT_PINNED"),
    TunnelFault(
        name="cert-sister-ca",
        title="the far certificate is of another CA below the same root",
        certificates="sister",
        codes=Codes(near=("CERT_UNTRUSTED_ROOT", "CERT_NO_ISSUER"), far=None),
        kinds=("plain",),
        versions=("v2",),
    ),
    TunnelFault(
        name="cert-ca-at-peer",
        title="the far end does not trust the near CA",
        certificates="ca-at-peer",
        codes=Codes(near=REFUSED, far=("CERT_UNTRUSTED_ROOT", "CERT_NO_ISSUER")),
        roles=("initiator",),
    ),
    TunnelFault(
        name="auth-method",
        title="the far end has a pre-shared key, and the near one a certificate",
        certificates="near-only",
        codes=Codes(any=("AUTH_METHOD_MISMATCH",), alone_initiator=("AUTH_METHOD_MISMATCH", *REFUSED)),
    ),
    TunnelFault(
        name="auth-method-far",
        title="the far end has a certificate, and the near one a pre-shared key",
        certificates="far-only",
        codes=Codes(any=("AUTH_METHOD_MISMATCH",), alone_initiator=("AUTH_METHOD_MISMATCH", *REFUSED)),
        kinds=("plain",),
    ),
    TunnelFault(
        name="cert-peer-id",
        title="the far certificate is good and its identity is not the one that the near end expects",
        certificates="sound",
        near=Change(connection={"peer_id": "branch.example.org"}),
        codes=Codes(near=("PEER_ID_MISMATCH",), far=None, alone_initiator=("PEER_ID_MISMATCH", *REFUSED)),
        kinds=("plain",),
        versions=("v2",),
    ),
)
