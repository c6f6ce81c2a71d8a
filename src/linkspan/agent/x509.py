"""The agent's reading of certificates and revocation lists. `cryptography` is loaded by nodes that need it only."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from typing import Final

import msgspec

_PEM: Final = re.compile(rb"-----BEGIN (?:X509 CRL|CERTIFICATE)-----(?P<data>[^-]+)-----END")


class RevocationList(msgspec.Struct, frozen=True):
    """A list that its CA has signed. `der`: the list; `issuer`: a digest of the CA's key, and `name` its name in DER.
    Times in seconds since the epoch."""

    der: bytes
    issuer: str
    name: bytes
    number: int
    issued_at: float
    next_update: float
    revoked: frozenset[int]


class PeerCertificate(msgspec.Struct, frozen=True):
    """A certificate of a peer: the identities in it, in lower case, and its end in seconds since the epoch."""

    names: frozenset[str]
    not_after: float


def authority_digest(pem: str) -> str:
    """A name for the key of a CA."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    key = x509.load_pem_x509_certificate(pem.encode()).public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(key.public_bytes(serialization.Encoding.DER, form)).hexdigest()


def revocation_list(data: bytes, authorities: Iterable[str]) -> RevocationList | None:
    """A revocation list in DER or PEM, None if none of these CAs (in PEM) has signed it, or it has no end."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    match = _PEM.search(data)
    try:
        parsed = x509.load_der_x509_crl(base64.b64decode(match["data"]) if match else data)
        issuer = next((pem for pem in authorities if _is_signed_by(parsed, pem)), "")
        if not issuer or parsed.next_update_utc is None:
            return None
        return RevocationList(
            der=parsed.public_bytes(serialization.Encoding.DER),
            issuer=authority_digest(issuer),
            name=parsed.issuer.public_bytes(),
            number=_number(parsed),
            issued_at=parsed.last_update_utc.timestamp(),
            next_update=parsed.next_update_utc.timestamp(),
            revoked=frozenset(entry.serial_number for entry in parsed),
        )
    except (ValueError, TypeError):
        return None


def peer_certificate(der: bytes) -> PeerCertificate | None:
    """The identities and the end of a certificate, None for that of a CA and for what cannot be read."""
    from cryptography import x509

    try:
        parsed = x509.load_der_x509_certificate(der)
        if _is_authority(parsed):
            return None
        names = {_distinguished_name(parsed.subject)}
        for extension in parsed.extensions:
            if isinstance(extension.value, x509.SubjectAlternativeName):
                names |= {str(getattr(each, "value", "")) for each in extension.value}
        return PeerCertificate(frozenset(name.lower() for name in names), parsed.not_valid_after_utc.timestamp())
    except (ValueError, TypeError):
        return None


def _is_signed_by(crl: object, pem: str) -> bool:
    from cryptography import x509

    assert isinstance(crl, x509.CertificateRevocationList)
    authority = x509.load_pem_x509_certificate(pem.encode())
    if authority.subject != crl.issuer:
        return False
    try:
        return crl.is_signature_valid(authority.public_key())  # type: ignore[arg-type] # raises TypeError for others
    except (TypeError, ValueError):
        return False


def _number(crl: object) -> int:
    from cryptography import x509

    assert isinstance(crl, x509.CertificateRevocationList)
    try:
        return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        return 0


def _is_authority(certificate: object) -> bool:
    from cryptography import x509

    assert isinstance(certificate, x509.Certificate)
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _distinguished_name(name: object) -> str:
    """A name in charon's text: its attributes in their order."""
    from cryptography import x509

    assert isinstance(name, x509.Name)
    return ", ".join(f"{each.rfc4514_attribute_name}={each.value!s}" for each in name)
