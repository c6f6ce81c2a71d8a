"""Authorities of the laboratory: they issue certificates for faults too, which no CA should."""

from __future__ import annotations

import datetime as dt
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

HOUR: Final = dt.timedelta(hours=1)
_PEM: Final = serialization.Encoding.PEM


def new_key(bits: int = 0) -> Any:
    """A new private key on P-256, or of RSA with so many bits."""
    return rsa.generate_private_key(65537, bits) if bits else ec.generate_private_key(ec.SECP256R1())


def key_pem(key: Any) -> str:
    """A private key as PKCS #8 in PEM."""
    return str(key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode())


def pem(*items: x509.Certificate) -> str:
    """Certificates in PEM."""
    return "".join(item.public_bytes(_PEM).decode() for item in items)


def _name(text: str) -> x509.Name:
    parts = ((NameOID.COUNTRY_NAME, "CH"), (NameOID.ORGANIZATION_NAME, "Lab"), (NameOID.COMMON_NAME, text))
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])


class Authority:
    """A CA: a root, or one below another. `chain`: its certificate and those between it and the root."""

    def __init__(
        self, text: str, above: Authority | None = None, path_length: int | None = None, bits: int = 0
    ) -> None:
        self._text = text
        self._key = new_key(bits)
        basic = x509.BasicConstraints(ca=True, path_length=path_length)
        self.certificate = (above or self).sign(_name(text), self._key.public_key(), basic, (), -HOUR, 24 * HOUR)
        self.chain: list[x509.Certificate] = [self.certificate, *above.chain] if above else []

    @property
    def pem(self) -> str:
        """Its certificate in PEM."""
        return pem(self.certificate)

    def issue(
        self,
        public: Any,
        text: str,
        names: Sequence[str],
        start: dt.timedelta = -HOUR,
        end: dt.timedelta = 24 * HOUR,
    ) -> x509.Certificate:
        """A certificate about a public key, with these DNS names. `start`, `end`: of its validity, from now."""
        return self.sign(_name(text), public, x509.BasicConstraints(ca=False, path_length=None), names, start, end)

    def issue_with_sha1(self, key: Any, text: str, name: str) -> x509.Certificate:
        """A certificate with a signature that `cryptography` does not make any more."""
        builder = x509.CertificateSigningRequestBuilder().subject_name(_name(text))
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        with tempfile.TemporaryDirectory() as folder:
            request, ca, own = (Path(folder) / file for file in ("request", "ca", "key"))
            request.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(_PEM))
            ca.write_text(self.pem, encoding="utf-8")
            own.write_text(key_pem(self._key), encoding="utf-8")
            signer = ("-CA", str(ca), "-CAkey", str(own), "-CAcreateserial", "-sha1", "-days", "1")
            command = ["openssl", "x509", "-req", "-in", str(request), *signer, "-copy_extensions", "copy"]
            done = subprocess.run(command, capture_output=True, check=True, timeout=30)
        return x509.load_pem_x509_certificate(done.stdout)

    def crl(self, *revoked: x509.Certificate, start: dt.timedelta = -HOUR, end: dt.timedelta = HOUR) -> str:
        """A revocation list with these certificates, in PEM."""
        now = dt.datetime.now(dt.UTC).replace(microsecond=0)
        builder = x509.CertificateRevocationListBuilder(self.certificate.subject, now + start, now + end)
        builder = builder.add_extension(x509.CRLNumber(len(revoked) + 1), critical=False)
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(identifier, critical=False)
        for certificate in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number)
            builder = builder.add_revoked_certificate(entry.revocation_date(now + start).build())
        return builder.sign(self._key, hashes.SHA256()).public_bytes(_PEM).decode()

    def sign(
        self,
        subject: x509.Name,
        public: Any,
        basic: x509.BasicConstraints,
        names: Sequence[str],
        start: dt.timedelta,
        end: dt.timedelta,
    ) -> x509.Certificate:
        """A certificate about a public key. `start`, `end`: of its validity, from now."""
        now = dt.datetime.now(dt.UTC).replace(microsecond=0)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(_name(self._text)).public_key(public)
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now + start)
        builder = builder.not_valid_after(now + end).add_extension(basic, critical=True)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(issuer, critical=False)
        if names:
            alternatives = x509.SubjectAlternativeName([x509.DNSName(text) for text in names])
            builder = builder.add_extension(alternatives, critical=False)
        return builder.sign(self._key, hashes.SHA256())
