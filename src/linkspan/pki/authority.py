"""A CA of a project's own: its root, and the certificates that it issues. With a key on P-256, signed with SHA-256."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from linkspan.pki import requests
from linkspan.pki.keys import PrivateKey

AUTHORITY: Final = 10 * 365
"""Days that a root is valid."""
LEAF: Final = 365
"""Days that a certificate is valid, unless its root ends before."""
_SKEW: Final = timedelta(minutes=5)
"""A certificate is valid so long before it was issued: the peer's clock may be behind."""


def new_root(key: PrivateKey, subject: str, now: float) -> x509.Certificate:
    """A root certificate. Raises PkiError for a subject that no certificate can have."""
    name = requests.subject_of(subject, ())
    builder = _builder(name, name, key.public_key(), now, datetime.fromtimestamp(now, UTC) + timedelta(days=AUTHORITY))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return builder.add_extension(identifier, critical=False).sign(key, hashes.SHA256())


def issue(
    root: x509.Certificate, key: PrivateKey, public: Any, subject: str, alternatives: Sequence[str], now: float
) -> x509.Certificate:
    """A gateway's certificate about a public key. Raises PkiError for names that no certificate can have."""
    name = requests.subject_of(subject, alternatives)
    end = min(datetime.fromtimestamp(now, UTC) + timedelta(days=LEAF), root.not_valid_after_utc)
    builder = _builder(name, root.subject, public, now, end)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    builder = builder.add_extension(issuer, critical=False)
    if (extension := requests.alternative_names(alternatives)) is not None:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, hashes.SHA256())


def sign_crl(
    root: x509.Certificate, key: PrivateKey, revoked: Mapping[int, float], now: float, days: int | None = None
) -> x509.CertificateRevocationList:
    """A revocation list. `revoked`: by serial number, when, seconds since 1970; `days`: how long it is good, by default
    as long as the root. Its number is the time: that of each list is higher than of those before it."""
    moment = datetime.fromtimestamp(now, UTC)
    end = root.not_valid_after_utc if days is None else min(moment + timedelta(days=days), root.not_valid_after_utc)
    builder = x509.CertificateRevocationListBuilder().issuer_name(root.subject)
    builder = builder.last_update(moment - _SKEW).next_update(end)
    for serial, at in sorted(revoked.items()):
        entry = x509.RevokedCertificateBuilder().serial_number(serial)
        builder = builder.add_revoked_certificate(entry.revocation_date(datetime.fromtimestamp(at, UTC)).build())
    builder = builder.add_extension(x509.CRLNumber(int(now * 1000)), critical=False)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    return builder.add_extension(issuer, critical=False).sign(key, hashes.SHA256())


def revoked_in(crl: x509.CertificateRevocationList) -> dict[int, float]:
    """The serial numbers in a list, and when each was revoked."""
    return {entry.serial_number: entry.revocation_date_utc.timestamp() for entry in crl}


def _builder(subject: x509.Name, issuer: x509.Name, public: Any, now: float, end: datetime) -> x509.CertificateBuilder:
    start = datetime.fromtimestamp(now, UTC) - _SKEW
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public)
    return builder.serial_number(x509.random_serial_number()).not_valid_before(start).not_valid_after(end)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
