"""Certificates of the internal authority: its own, those of nodes, and that of the API's listener for nodes.

Only what `cryptography` builds and signs, with keys on P-256. Their verification is TLS's, in `ssl`. An extended key
usage keeps the two kinds apart: a node's certificate is none of a server, and has no name that an agent expects.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from linkspan.core.node_join import CERTIFICATE_LIFETIME, SERVER_NAME

AUTHORITY: Final = 3 * 365 * 86_400.0
"""Lifetime of an authority, seconds. Its successor is made at half of it."""
_SKEW: Final = 300.0
"""Seconds by which a certificate is valid before it was issued, at most: the node's clock may be behind."""


PublicKey = ec.EllipticCurvePublicKey


class IssuingAuthority(msgspec.Struct, frozen=True):
    """An authority with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def new_authority(now: float) -> IssuingAuthority:
    """An authority with a new key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("Linkspan nodes")
    builder = _builder(name, name, key.public_key(), key.public_key(), now, AUTHORITY)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return IssuingAuthority(builder.add_extension(_SIGNS, critical=True).sign(key, hashes.SHA256()), key)


def issue_to_node(
    authority: IssuingAuthority, key: PublicKey, id: str, name: str, now: float, lifetime: float
) -> x509.Certificate:
    """A node's certificate: for clients only, with the node's name as subject and its id as the only other name."""
    subject = _name(name[:64])  # the most that X.520 allows; nobody reads it but people
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"urn:uuid:{id}")])
    return _issued(authority, key, subject, names, ExtendedKeyUsageOID.CLIENT_AUTH, now, lifetime)


def issue_to_server(authority: IssuingAuthority, now: float) -> tuple[x509.Certificate, bytes]:
    """The certificate of a listener for nodes, and its new key as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName([x509.DNSName(SERVER_NAME)])
    usage = ExtendedKeyUsageOID.SERVER_AUTH
    certificate = _issued(authority, key.public_key(), _name(SERVER_NAME), names, usage, now, CERTIFICATE_LIFETIME)
    return certificate, key_to_pem(key)


def requested_key(text: bytes) -> PublicKey:
    """The public key of a certificate request (PEM), whose sender has proved to have the private one. What else it asks
    for is ignored. Raises ValueError."""
    request = x509.load_pem_x509_csr(text)
    key = request.public_key()
    if not request.is_signature_valid:
        raise ValueError("the signature is not one of its key")
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise ValueError("the key is not one on P-256")


def fingerprint(certificate: x509.Certificate) -> str:
    """The SHA-256 of a certificate, in hexadecimal."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def to_pem(certificate: x509.Certificate) -> str:
    """A certificate as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def key_to_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key as PEM."""
    pkcs8, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, pkcs8, plain)


def from_pem(certificate: str, key: str) -> IssuingAuthority:
    """An authority out of its two PEM texts. Raises ValueError."""
    private = serialization.load_pem_private_key(key.encode(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)  # `new_authority` makes no others
    return IssuingAuthority(x509.load_pem_x509_certificate(certificate.encode()), private)


def _issued(
    authority: IssuingAuthority,
    key: PublicKey,
    subject: x509.Name,
    names: x509.SubjectAlternativeName,
    usage: x509.ObjectIdentifier,
    now: float,
    lifetime: float,
) -> x509.Certificate:
    return (
        _builder(subject, authority.certificate.subject, key, authority.key.public_key(), now, lifetime)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_PROVES, critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=True)
        .add_extension(names, critical=False)
        .sign(authority.key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: PublicKey,
    issuer_key: PublicKey,
    now: float,
    lifetime: float,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.fromtimestamp(now - min(_SKEW, lifetime / 10), UTC))
        .not_valid_after(datetime.fromtimestamp(now + lifetime, UTC))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


_SIGNS: Final = _usage(signs=True)
_PROVES: Final = _usage(signs=False)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
