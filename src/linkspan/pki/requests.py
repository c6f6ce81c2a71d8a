"""Certificate signing requests (RFC 2986) of our keys."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509

from linkspan.pki import keys, names, pem
from linkspan.pki.errors import PkiError
from linkspan.pki.keys import PrivateKey


def subject_of(subject: str, alternatives: Sequence[str]) -> x509.Name:
    """The subject of a request: the given one, or the first alternative name as its common name. Raises PkiError."""
    if subject:
        return names.name_of(subject)
    if not alternatives:
        raise PkiError("a certificate needs a subject or subject_alt_names: the identities of the gateway")
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, alternatives[0][:64])])


def alternative_names(alternatives: Sequence[str]) -> x509.SubjectAlternativeName | None:
    """The extension with these names, None if there are none. Raises PkiError."""
    return x509.SubjectAlternativeName([names.general_name(text) for text in alternatives]) if alternatives else None


def make(key: PrivateKey, subject: str, alternatives: Sequence[str]) -> str:
    """A request in PEM, signed by the key that it is about. Raises PkiError."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject_of(subject, alternatives))
    if (extension := alternative_names(alternatives)) is not None:
        builder = builder.add_extension(extension, critical=False)
    return pem.text_of(builder.sign(key, keys.signing_hash(key)))
