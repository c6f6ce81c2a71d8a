"""PEM (RFC 7468), read strictly: what a text is if it is something else, and nothing that is half a block.

Text outside the blocks is ignored, as section 2 lets it be; headers inside them are not, because only encrypted keys
have any.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from linkspan.pki.errors import PkiError

MAX_CERTIFICATES: Final = 16
"""Certificates of one text."""
MAX_CRLS: Final = 8
"""Revocation lists of one text."""

CERTIFICATE: Final = "CERTIFICATE"
REQUEST: Final = "CERTIFICATE REQUEST"
CRL: Final = "X509 CRL"
PRIVATE_KEY: Final = ("PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY")
_ENCRYPTED: Final = "ENCRYPTED PRIVATE KEY"
_TITLES: Final = {
    CERTIFICATE: "a certificate",
    "TRUSTED CERTIFICATE": "a certificate in OpenSSL's own form",
    REQUEST: "a certificate signing request",
    "NEW CERTIFICATE REQUEST": "a certificate signing request",
    CRL: "a certificate revocation list",
    "PKCS7": "a PKCS #7 bundle",
    "CMS": "a CMS message",
    "PUBLIC KEY": "a public key",
    "RSA PUBLIC KEY": "a public key",
    _ENCRYPTED: "an encrypted private key",
    "OPENSSH PRIVATE KEY": "a private key of OpenSSH",
    "EC PARAMETERS": "parameters of a curve",
    "DH PARAMETERS": "Diffie-Hellman parameters",
    "ATTRIBUTE CERTIFICATE": "an attribute certificate",
    **dict.fromkeys(PRIVATE_KEY, "a private key"),
}
_UNREADABLE: Final = (
    ValueError,
    TypeError,
    OverflowError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What the library raises for bytes that are none of what it is asked to read."""
_MARK: Final = re.compile(r"-----(BEGIN|END) ([A-Z0-9 ]+)-----")


class Block(NamedTuple):
    """One block of a text: its label, its bytes (DER), and whether headers say that they are encrypted."""

    label: str
    der: bytes
    encrypted: bool = False


def blocks(text: str) -> list[Block]:
    """The blocks of a text. Raises PkiError if it has none, or one that is cut off or not base64."""
    found: list[Block] = []
    start: re.Match[str] | None = None
    for mark in _MARK.finditer(text):
        if mark[1] == "BEGIN":
            if start is not None:
                raise PkiError(f"{title(start[2])} has no end")
            start = mark
            continue
        if start is None or start[2] != mark[2]:
            raise PkiError(f"{title(mark[2])} has an end but no beginning")
        found.append(_block(mark[2], text[start.end() : mark.start()]))
        start = None
    if start is not None:
        raise PkiError(f"{title(start[2])} has no end")
    if not found:
        raise PkiError("it is no PEM: there is no line '-----BEGIN …-----'")
    return found


def _block(label: str, body: str) -> Block:
    if ":" in body:
        if "ENCRYPTED" in body and "PRIVATE KEY" in label:
            return Block(label, b"", encrypted=True)
        raise PkiError(f"{title(label)} has headers, which PEM of certificates has not")
    try:
        der = base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError):
        raise PkiError(f"{title(label)} is not base64") from None
    return Block(label, der, encrypted=label == _ENCRYPTED)


def title(label: str) -> str:
    """What a block of this label is, in words."""
    return _TITLES.get(label, f"a block of the type '{label}'")


def _only(text: str, labels: tuple[str, ...], wanted: str) -> list[Block]:
    found = blocks(text)
    for block in found:
        if block.label not in labels:
            raise PkiError(f"{title(block.label)} is in the text, and {wanted} is needed")
    return found


def certificates(text: str) -> list[x509.Certificate]:
    """The certificates of a text, in their order. Raises PkiError."""
    found = _only(text, (CERTIFICATE,), "a certificate")
    if len(found) > MAX_CERTIFICATES:
        raise PkiError(f"at most {MAX_CERTIFICATES} certificates are allowed, these are {len(found)}")
    if len({block.der for block in found}) < len(found):
        raise PkiError("a certificate is in the text twice")
    return [_certificate(block.der, number) for number, block in enumerate(found, 1)]


def certificate(text: str) -> x509.Certificate:
    """The only certificate of a text. Raises PkiError."""
    found = certificates(text)
    if len(found) > 1:
        raise PkiError(f"one certificate is needed, these are {len(found)}")
    return found[0]


def _certificate(der: bytes, number: int) -> x509.Certificate:
    try:
        loaded = x509.load_der_x509_certificate(der)
        # These are parsed when they are asked for.
        _ = loaded.extensions, loaded.subject, loaded.issuer, loaded.public_key(), loaded.serial_number
        _ = loaded.not_valid_before_utc, loaded.not_valid_after_utc
    except _UNREADABLE as error:
        raise PkiError(f"certificate {number} of the text cannot be read ({_brief(error)})") from None
    return loaded


def crls(text: str) -> list[x509.CertificateRevocationList]:
    """The revocation lists of a text. Raises PkiError."""
    found = _only(text, (CRL,), "a certificate revocation list")
    if len(found) > MAX_CRLS:
        raise PkiError(f"at most {MAX_CRLS} revocation lists are allowed, these are {len(found)}")
    try:
        lists = [x509.load_der_x509_crl(block.der) for block in found]
        for item in lists:
            _ = item.extensions, item.issuer, item.last_update_utc, item.next_update_utc
            _ = [(entry.serial_number, entry.revocation_date_utc) for entry in item]
    except _UNREADABLE as error:
        raise PkiError(f"the revocation list cannot be read ({_brief(error)})") from None
    return lists


def request(text: str) -> x509.CertificateSigningRequest:
    """The signing request of a text; its signature is verified. Raises PkiError."""
    found = _only(text, (REQUEST, "NEW CERTIFICATE REQUEST"), "a certificate signing request")
    if len(found) > 1:
        raise PkiError(f"one signing request is needed, these are {len(found)}")
    try:
        loaded = x509.load_der_x509_csr(found[0].der)
        _ = loaded.extensions, loaded.subject, loaded.public_key()
        valid = loaded.is_signature_valid
    except _UNREADABLE as error:
        raise PkiError(f"the signing request cannot be read ({_brief(error)})") from None
    if not valid:
        raise PkiError("the signature of the signing request does not verify")
    return loaded


def private_key(text: str) -> bytes:
    """The DER of the only private key of a text. Raises PkiError, which tells nothing of the key."""
    found = [block for block in blocks(text) if block.label != "EC PARAMETERS"]
    if len(found) != 1:
        raise PkiError(f"one private key is needed, these are {len(found)} blocks")
    if found[0].encrypted:
        raise PkiError("the private key is encrypted: decrypt it first, such as with 'openssl pkey'")
    if found[0].label not in PRIVATE_KEY:
        raise PkiError(f"{title(found[0].label)} is in the text, and a private key is needed")
    return found[0].der


def text_of(*items: x509.Certificate | x509.CertificateRevocationList | x509.CertificateSigningRequest) -> str:
    """Certificates, lists or requests as PEM, one after the other."""
    return "".join(item.public_bytes(serialization.Encoding.PEM).decode("ascii") for item in items)


def _brief(error: Exception) -> str:
    return str(error).split("\n", 1)[0][:120].rstrip(".") or type(error).__name__
