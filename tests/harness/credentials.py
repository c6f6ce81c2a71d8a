"""Certificates of tests as the desired state of a node has them (`core.state.credentials`)."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from cryptography.x509.oid import NameOID

from linkspan.core.secret import Secret
from linkspan.core.state.credentials import Certificates, LocalCertificate, Revocation, TrustAnchor
from tests.harness.authorities import Ca, Issued


def local(issued: Issued) -> LocalCertificate:
    """Returns the certificate of a gateway."""
    return LocalCertificate(
        id=str(uuid.uuid5(uuid.NAMESPACE_OID, issued.chain[0])),
        chain=tuple(issued.chain),
        private_key=Secret(issued.key_pem),
        key_id=issued.key_id,
        not_before=int(issued.certificate.not_valid_before_utc.timestamp()),
        not_after=int(issued.certificate.not_valid_after_utc.timestamp()),
    )


def anchor(
    *cas: Ca,
    revocation: Revocation = "none",
    crls: Sequence[str] = (),
    crl_urls: Sequence[str] = (),
    name: str = "",
) -> TrustAnchor:
    """Returns the trust anchor of CAs. `name`: its own; by default the common name of the first one."""
    name = name or str(cas[0].subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
    return TrustAnchor(
        id=str(uuid.uuid5(uuid.NAMESPACE_OID, name)),
        name=name,
        roots=tuple(dict.fromkeys(ca.root.pem for ca in cas)),
        issuers=tuple(ca.pem for ca in cas),
        revocation=revocation,
        crls=tuple(crls),
        crl_urls=tuple(crl_urls),
        not_after=int(cas[0].certificate.not_valid_after_utc.timestamp()),
    )


def certificates(issued: Issued, anchor: TrustAnchor, pins: Sequence[Issued] = ()) -> Certificates:
    """Returns the certificates of a connection."""
    return Certificates(local=local(issued), anchor=anchor, peer_certificates=tuple(each.chain[0] for each in pins))
