"""Certificate authorities for tests: what they issue is right, unless a test asks for a fault."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import NameOID

DAY: Final = timedelta(days=1)
KINDS: Final = ("rsa-2048", "rsa-3072", "rsa-4096", "ecdsa-p256", "ecdsa-p384", "ed25519")
"""The kinds of keys that gateways and peers may have."""


def new_key(algorithm: str = "ecdsa-p256") -> Any:
    """Returns a new private key; also of kinds that are refused: `rsa-1024`, `ecdsa-p521`, `secp256k1`."""
    match algorithm:
        case "ed25519":
            return ed25519.Ed25519PrivateKey.generate()
        case "ecdsa-p256":
            return ec.generate_private_key(ec.SECP256R1())
        case "ecdsa-p384":
            return ec.generate_private_key(ec.SECP384R1())
        case "ecdsa-p521":
            return ec.generate_private_key(ec.SECP521R1())
        case "secp256k1":
            return ec.generate_private_key(ec.SECP256K1())
    return rsa.generate_private_key(65537, int(algorithm.removeprefix("rsa-")))


def key_pem(key: Any, password: bytes | None = None) -> str:
    """Returns a private key as PKCS #8 in PEM."""
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    formats = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    return str(key.private_bytes(*formats).decode())


def traditional_pem(key: Any, password: bytes | None = None) -> str:
    """Returns a private key as PKCS #1 or SEC 1 in PEM, which has headers if it is encrypted."""
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    formats = (serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, encryption)
    return str(key.private_bytes(*formats).decode())


def pem(*items: Any) -> str:
    """Returns certificates, requests or revocation lists in PEM."""
    return "".join(item.public_bytes(serialization.Encoding.PEM).decode() for item in items)


def name(text: str) -> x509.Name:
    """Returns a name of `TYPE=value` parts; of a common name alone, one in the organization of the laboratory."""
    oids = {
        "C": NameOID.COUNTRY_NAME,
        "O": NameOID.ORGANIZATION_NAME,
        "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
        "CN": NameOID.COMMON_NAME,
    }
    whole = text if "=" in text else f"C=CH, O=Lab, CN={text}"
    parts = [part.strip().partition("=") for part in whole.split(",")]
    return x509.Name([x509.NameAttribute(oids[type], value) for type, _, value in parts])


def alternative(text: str) -> x509.GeneralName:
    """Returns an alternative name: a mail address, an IP address or a DNS name."""
    if "@" in text:
        return x509.RFC822Name(text)
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


_SHA256, _SHA1 = bytes.fromhex("2a864886f70d01010b"), bytes.fromhex("2a864886f70d010105")
"""The identifiers of RSA signatures with these hashes."""


def with_sha1(item: Any, key: rsa.RSAPrivateKey) -> Any:
    """Returns a certificate or revocation list with a valid signature of RSA with SHA-1, which no library makes now."""
    is_list = isinstance(item, x509.CertificateRevocationList)
    signed = item.tbs_certlist_bytes if is_list else item.tbs_certificate_bytes
    changed = signed.replace(_SHA256, _SHA1)
    signature = key.sign(changed, padding.PKCS1v15(), hashes.SHA1())
    whole = item.public_bytes(serialization.Encoding.DER)
    der = whole.replace(signed, changed).replace(_SHA256, _SHA1)[: -len(signature)] + signature
    return x509.load_der_x509_crl(der) if is_list else x509.load_der_x509_certificate(der)


class Issued:
    """A certificate with its private key. `above`: the intermediate certificates above it; `chain`: all, in PEM."""

    def __init__(self, certificate: x509.Certificate, key: Any, above: Sequence[x509.Certificate] = ()) -> None:
        self.certificate = certificate
        self.key = key
        self.chain = [pem(each) for each in (certificate, *above)]

    @property
    def serial(self) -> int:
        """The serial number."""
        return self.certificate.serial_number

    @property
    def key_pem(self) -> str:
        """The private key, PKCS #8 in PEM."""
        return key_pem(self.key)

    @property
    def key_id(self) -> str:
        """The id of the private key in charon."""
        return x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()).digest.hex()


class Ca:
    """A CA: a root, or one below another. `subject`: a name, or the common name alone."""

    def __init__(
        self,
        subject: str = "Root",
        *,
        above: Ca | None = None,
        algorithm: str = "ecdsa-p256",
        path_length: int | None = None,
        key: Any = None,
        **more: Any,
    ) -> None:
        self.above = above
        self.key = key or new_key(algorithm)
        self.subject = name(subject)
        public = self.key.public_key()
        self.certificate = (above or self)._sign(self.subject, public, ca=True, path_length=path_length, **more)
        self._crls = 0

    @property
    def pem(self) -> str:
        """Its certificate in PEM."""
        return pem(self.certificate)

    @property
    def bundle(self) -> str:
        """Its certificate and those above it, in PEM."""
        return self.pem + (self.above.bundle if self.above else "")

    @property
    def root(self) -> Ca:
        """The root above it."""
        return self.above.root if self.above else self

    @property
    def intermediates(self) -> list[x509.Certificate]:
        """The certificates from its own up to the one below the root."""
        return [self.certificate, *self.above.intermediates] if self.above else []

    def issue(
        self,
        *names: str,
        subject: str = "gw",
        key: Any = None,
        public: Any = None,
        ca: bool = False,
        **more: Any,
    ) -> x509.Certificate:
        """Returns a certificate about a key. `more`: as `_sign`."""
        public = public or (key or new_key()).public_key()
        return self._sign(name(subject), public, ca=ca, names=names, **more)

    def issued(self, *names: str, algorithm: str = "ecdsa-p256", key: Any = None, **more: Any) -> Issued:
        """Returns a certificate with its key, a new one by default. `more`: as `issue`."""
        key = key or new_key(algorithm)
        return Issued(self.issue(*names, key=key, **more), key, self.intermediates)

    def answer(self, csr: str, **more: Any) -> str:
        """Returns the certificate for a request, in PEM, with the names that it asks for and the chain."""
        request = x509.load_pem_x509_csr(csr.encode())
        try:
            asked = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            names = [str(item.value) for item in asked]
        except x509.ExtensionNotFound:
            names = []
        issued = self._sign(request.subject, request.public_key(), ca=False, names=more.pop("names", names), **more)
        return pem(issued) + (self.bundle if self.above else "")

    def crl(
        self,
        *revoked: x509.Certificate | Issued,
        number: int | None = 0,
        begin: timedelta = -DAY,
        end: timedelta = 10 * DAY,
        signer: Any = None,
    ) -> str:
        """Returns a revocation list in PEM. `number`: 0 is the next one, None leaves it out."""
        now = datetime.now(UTC)
        builder = x509.CertificateRevocationListBuilder(self.subject, now + begin, now + end)
        for item in revoked:
            certificate = item.certificate if isinstance(item, Issued) else item
            entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number)
            entry = entry.add_extension(x509.CRLReason(x509.ReasonFlags.key_compromise), critical=False)
            builder = builder.add_revoked_certificate(entry.revocation_date(now - DAY).build())
        if number is not None:
            self._crls = number or self._crls + 1
            builder = builder.add_extension(x509.CRLNumber(self._crls), critical=False)
        builder = builder.add_extension(self._key_id, critical=False)
        key = signer or self.key
        return pem(builder.sign(key, _hash(key)))

    def _sign(
        self,
        subject: x509.Name,
        public: Any,
        *,
        ca: bool,
        path_length: int | None = None,
        names: Sequence[str] = (),
        begin: timedelta = -DAY,
        end: timedelta = 300 * DAY,
        basic: bool = True,
        usage: x509.KeyUsage | None = None,
        serial: int | None = None,
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self.subject).public_key(public)
        builder = builder.serial_number(serial or x509.random_serial_number())
        builder = builder.not_valid_before(now + begin).not_valid_after(now + end)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        builder = builder.add_extension(self._key_id, critical=False)
        if basic:
            builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=path_length), critical=True)
        if names:
            extension = x509.SubjectAlternativeName([alternative(text) for text in names])
            builder = builder.add_extension(extension, critical=False)
        if usage:
            builder = builder.add_extension(usage, critical=True)
        return builder.sign(self.key, _hash(self.key))

    @property
    def _key_id(self) -> x509.AuthorityKeyIdentifier:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())


def request(key: Any, *names: str, subject: str = "peer") -> str:
    """Returns a certificate signing request in PEM."""
    extension = x509.SubjectAlternativeName([alternative(text) for text in names])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name(subject))
    return pem(builder.add_extension(extension, critical=False).sign(key, _hash(key)))


def _hash(key: Any) -> Any:
    return None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
