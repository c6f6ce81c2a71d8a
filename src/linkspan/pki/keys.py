"""Private and public keys: generation, strength, and the id by which charon names a key."""

from __future__ import annotations

import hashlib
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from linkspan.core.schema.certificate_types import KEY_ALGORITHMS
from linkspan.core.secret import Secret
from linkspan.pki import pem
from linkspan.pki.errors import PkiError

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey

RSA_AT_LEAST: Final = 2048
RSA_AT_MOST: Final = 8192
"""Bits of a modulus: less is weak, more takes charon seconds."""
_CURVES: Final = {"secp256r1": "ecdsa-p256", "secp384r1": "ecdsa-p384", "secp521r1": "ecdsa-p521"}


def generate(algorithm: str) -> PrivateKey:
    """A new key of an algorithm of `KEY_ALGORITHMS`."""
    match algorithm:
        case "ecdsa-p256":
            return ec.generate_private_key(ec.SECP256R1())
        case "ecdsa-p384":
            return ec.generate_private_key(ec.SECP384R1())
        case "ed25519":
            return ed25519.Ed25519PrivateKey.generate()
        case "rsa-2048" | "rsa-3072" | "rsa-4096":
            return rsa.generate_private_key(65537, int(algorithm.removeprefix("rsa-")))
    raise ValueError(f"no key algorithm: {algorithm}")


def load(text: str) -> PrivateKey:
    """The private key of a PEM text. Raises PkiError."""
    der = pem.private_key(text)
    try:
        key = serialization.load_der_private_key(der, None)
    except TypeError:
        raise PkiError("the private key is encrypted: decrypt it first, such as with 'openssl pkey'") from None
    except (ValueError, UnsupportedAlgorithm):
        # The reason of the library could have a part of the text in it.
        raise PkiError("the private key cannot be read") from None
    require_own(algorithm_of(key.public_key()))
    if not isinstance(key, PrivateKey):
        raise PkiError("the private key is of a kind that no certificate can have")
    return key


def seal(key: PrivateKey) -> Secret:
    """A key as PKCS #8 in PEM, not encrypted: for an envelope only."""
    formats = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Secret(key.private_bytes(*formats).decode("ascii"))


def algorithm_of(public: Any) -> str:
    """The name of the kind and size of a public key: `rsa-2048`, `ecdsa-p256`. Raises PkiError for one that is weak or
    that IKE cannot use."""
    match public:
        case rsa.RSAPublicKey():
            bits = public.key_size
            if bits < RSA_AT_LEAST:
                raise PkiError(f"a key of RSA with {bits} bits is weak: {RSA_AT_LEAST} are the least")
            if bits > RSA_AT_MOST:
                raise PkiError(f"a key of RSA has at most {RSA_AT_MOST} bits, this one has {bits}")
            return f"rsa-{bits}"
        case ec.EllipticCurvePublicKey() if public.curve.name in _CURVES:
            return _CURVES[public.curve.name]
        case ed25519.Ed25519PublicKey():
            return "ed25519"
        case ed448.Ed448PublicKey():
            return "ed448"
    raise PkiError("the key is of a kind that IKE cannot use: it has to be RSA, ECDSA on a NIST curve, or Ed25519")


def require_own(algorithm: str) -> None:
    """Raises PkiError if a key of this algorithm cannot be one of ours."""
    if algorithm not in KEY_ALGORITHMS:
        raise PkiError(f"a key of {algorithm} is not supported: it has to be one of {', '.join(KEY_ALGORITHMS)}")


def fits(key: PrivateKey, certificate: x509.Certificate) -> bool:
    """True if a certificate is about the public half of a key."""
    return _spki(key.public_key()) == _spki(certificate.public_key())


def key_id(public: Any) -> str:
    """SHA-1 of the bits of a public key in lower-case hex (RFC 5280, 4.2.1.2, method 1), as charon names keys."""
    return x509.SubjectKeyIdentifier.from_public_key(public).digest.hex()


def signing_hash(key: PrivateKey) -> hashes.SHA256 | hashes.SHA384 | None:
    """The hash of signatures by a key; None: the kind of key decides."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return None
    is_384 = isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.key_size == 384
    return hashes.SHA384() if is_384 else hashes.SHA256()


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of a certificate in lower-case hex."""
    return hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()


def _spki(public: Any) -> bytes:
    formats = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    encoded: bytes = public.public_bytes(*formats)
    return encoded
