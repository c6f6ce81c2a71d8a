"""A certificate authority for one test, and a server certificate for 127.0.0.1 issued by it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import msgspec
from cryptography import x509

from tests.harness.authorities import Ca


class Certificates(msgspec.Struct, frozen=True):
    """PEM files: the authority's certificate, the server's, and the server's key."""

    authority: Path
    server: Path
    key: Path


def make(folder: Path) -> Certificates:
    """Create both certificates; the server's is valid for an hour."""
    # Without key_cert_sign Python 3.13 refuses the certificate (RFC 5280, section 4.2.1.3).
    authority = Ca("CN=Test CA", usage=_SIGNS)
    server = authority.issued("127.0.0.1", subject="CN=127.0.0.1", end=timedelta(hours=1))
    files = Certificates(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    files.authority.write_text(authority.pem)
    files.server.write_text(server.chain[0])
    files.key.write_text(server.key_pem)
    files.key.chmod(0o600)
    return files


_SIGNS = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)
