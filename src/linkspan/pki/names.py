"""The names in a certificate, and whether an IKE identity is one of them (RFC 4945, section 3).

A distinguished name is text in the order of the certificate, as charon and OpenSSL write it: `C=CH, O=Lab, CN=gw`.
"""

from __future__ import annotations

import ipaddress
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from linkspan.core.ipsec import distinguished_names, identities
from linkspan.core.ipsec.identities import Identity
from linkspan.pki.errors import PkiError

_TYPES: Final = {
    NameOID.COUNTRY_NAME: "C",
    NameOID.STATE_OR_PROVINCE_NAME: "ST",
    NameOID.LOCALITY_NAME: "L",
    NameOID.STREET_ADDRESS: "STREET",
    NameOID.ORGANIZATION_NAME: "O",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "OU",
    NameOID.COMMON_NAME: "CN",
    NameOID.EMAIL_ADDRESS: "E",
    NameOID.DOMAIN_COMPONENT: "DC",
    NameOID.USER_ID: "UID",
    NameOID.SURNAME: "SN",
    NameOID.GIVEN_NAME: "G",
    NameOID.TITLE: "T",
    NameOID.SERIAL_NUMBER: "serialNumber",
}
_OIDS: Final = {name: oid for oid, name in _TYPES.items()}
assert _OIDS.keys() == set(distinguished_names.TYPES)


def text_of(name: x509.Name) -> str:
    """A distinguished name for people. One that no IKE identity can be written as is in RFC 4514's form."""
    return _identity_text(name) or name.rfc4514_string()


def _identity_text(name: x509.Name) -> str:
    """The text by which an IKE identity names a subject; empty if there is none."""
    if not name.rdns or any(len(list(rdn)) != 1 or rdn_type(rdn) is None for rdn in name.rdns):
        return ""
    text = ", ".join(f"{rdn_type(rdn)}={next(iter(rdn)).value!s}" for rdn in name.rdns)
    try:
        parsed = distinguished_names.parse(text)
    except ValueError:
        return ""
    # A blank at an end of a value would be lost.
    return text if parsed == text else ""


def rdn_type(rdn: x509.RelativeDistinguishedName) -> str | None:
    """The type of a part of a name as text, such as `CN`; None for one that identities do not have."""
    return _TYPES.get(next(iter(rdn)).oid)


def name_of(text: str) -> x509.Name:
    """The inverse of `text_of`. Raises PkiError."""
    try:
        parts = distinguished_names.split(text)
        return x509.Name([x509.NameAttribute(_OIDS[type], value) for type, value in parts])
    except ValueError as error:
        raise PkiError(str(error).rstrip(".")) from None


def alternatives(certificate: x509.Certificate | x509.CertificateSigningRequest) -> list[str]:
    """The subject alternative names that can be IKE identities: DNS names, mail addresses, IP addresses."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    kinds = (x509.DNSName, x509.RFC822Name, x509.IPAddress)
    return [str(name.value) for name in extension.value if isinstance(name, kinds)]


def general_name(text: str) -> x509.GeneralName:
    """An IKE identity as a subject alternative name. Raises PkiError."""
    try:
        identity = identities.parse(text)
    except ValueError as error:
        raise PkiError(str(error)) from None
    match identity.kind:
        case "fqdn":
            return x509.DNSName(identity.text)
        case "email":
            return x509.RFC822Name(identity.text)
        case "ipv4" | "ipv6":
            return x509.IPAddress(ipaddress.ip_address(identity.text))
    raise PkiError(f"'{text}' is neither a DNS name nor a mail address nor an IP address")


def carries(certificate: x509.Certificate, identity: Identity) -> bool:
    """True if a certificate has an identity. A common name is none: charon compares a DNS name with the alternative
    names only."""
    match identity.kind:
        case "dn":
            return _identity_text(certificate.subject) == identity.text
        case "keyid":
            return False
        case "ipv4" | "ipv6":
            return ipaddress.ip_address(identity.text) in _values(certificate, x509.IPAddress)
        case "fqdn":
            return identity.text in {str(name).lower() for name in _values(certificate, x509.DNSName)}
        case "email":
            return identity.text in {str(name).lower() for name in _values(certificate, x509.RFC822Name)}


def _values(certificate: x509.Certificate, kind: type[x509.GeneralName]) -> set[object]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return set()
    return {name.value for name in extension.value if isinstance(name, kind)}


def carried(certificate: x509.Certificate) -> str:
    """The identities of a certificate, for a sentence."""
    subject = _identity_text(certificate.subject)
    return ", ".join([*alternatives(certificate), *([f"'{subject}'"] if subject else [])]) or "none"
