"""Chains of certificates: what one of them may be, and the way from a leaf to its root (RFC 5280, section 6).

charon verifies the peer's chain when it authenticates, and nothing of our own when it loads it. So everything that the
peer or charon would refuse is refused here, each with its sentence.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes

from linkspan.pki import keys, pem
from linkspan.pki.errors import PkiError
from linkspan.pki.names import text_of

Extension = TypeVar("Extension", bound=x509.ExtensionType)

_LONGEST: Final = 8
"""Certificates of a chain, its root included."""
_WEAK: Final = (hashes.MD5, hashes.SHA1)


class Bundle(NamedTuple):
    """The certificates of a trust anchor: self-signed ones, and those CA certificates of which a peer's chain must have
    one."""

    roots: tuple[x509.Certificate, ...]
    intermediates: tuple[x509.Certificate, ...]

    @property
    def issuers(self) -> tuple[x509.Certificate, ...]:
        """The CA certificates one of which has to be in a peer's chain."""
        return self.intermediates or self.roots

    @property
    def certificates(self) -> tuple[x509.Certificate, ...]:
        """All of them."""
        return (*self.intermediates, *self.roots)


def title(certificate: x509.Certificate) -> str:
    """A certificate in a sentence."""
    return f"'{text_of(certificate.subject)}'"


def is_root(certificate: x509.Certificate) -> bool:
    """True if a certificate is signed by its own key."""
    return certificate.subject == certificate.issuer and _signed_by(certificate, certificate)


def is_ca(certificate: x509.Certificate) -> bool:
    """True if a certificate says that it is a CA's."""
    basic = _extension(certificate, x509.BasicConstraints)
    return basic is not None and basic.ca


def _extension(certificate: x509.Certificate, kind: type[Extension]) -> Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


# --- one certificate ------------------------------------------------------------------------------------------------


def check_strength(certificate: x509.Certificate) -> str:
    """The kind and size of a certificate's key. Raises PkiError for a weak key or signature."""
    try:
        algorithm = keys.algorithm_of(certificate.public_key())
    except PkiError as error:
        raise PkiError(f"{title(certificate)}: {error}") from None
    try:
        signature = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        raise PkiError(f"the signature of {title(certificate)} is of an unknown kind") from None
    if isinstance(signature, _WEAK):
        name = signature.name.upper().replace("SHA1", "SHA-1")
        raise PkiError(f"the signature of {title(certificate)} is made with {name}, which is broken")
    return algorithm


def check_validity(certificate: x509.Certificate, now: float) -> None:
    """Raises PkiError if a certificate has expired or is not valid yet. `now`: seconds since 1970."""
    moment = datetime.fromtimestamp(now, UTC)
    if certificate.not_valid_after_utc < moment:
        raise PkiError(f"{title(certificate)} expired on {_date(certificate.not_valid_after_utc)}")
    if certificate.not_valid_before_utc > moment:
        raise PkiError(f"{title(certificate)} is not valid before {_date(certificate.not_valid_before_utc)}")


def _date(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def check_ca(certificate: x509.Certificate) -> None:
    """Raises PkiError if a certificate cannot issue others."""
    if not is_ca(certificate):
        raise PkiError(f"{title(certificate)} is not the certificate of a CA")
    usage = _extension(certificate, x509.KeyUsage)
    if usage is not None and not usage.key_cert_sign:
        raise PkiError(f"{title(certificate)} is of a CA, but may not sign certificates (key usage)")


def check_leaf(certificate: x509.Certificate) -> None:
    """Raises PkiError if a certificate cannot be a gateway's."""
    if is_ca(certificate):
        raise PkiError(f"{title(certificate)} is the certificate of a CA: a gateway needs one that the CA has issued")
    usage = _extension(certificate, x509.KeyUsage)
    if usage is not None and not (usage.digital_signature or usage.content_commitment):
        raise PkiError(f"{title(certificate)} may not be used for signatures (key usage)")


# --- chains ---------------------------------------------------------------------------------------------------------


def way_to_root(
    leaf: x509.Certificate, others: Iterable[x509.Certificate], roots: Iterable[x509.Certificate]
) -> list[x509.Certificate]:
    """The certificates from a leaf, which is the first, to a root. Raises PkiError if there is no such way."""
    pool = list(others)
    trusted = list(roots)
    way = _way([leaf], pool, trusted)
    if way is None:
        raise PkiError(_broken(leaf, pool, trusted))
    for depth, issuer in enumerate(way[1:]):
        check_ca(issuer)
        basic = _extension(issuer, x509.BasicConstraints)
        # Self-issued certificates do not count (RFC 5280, 6.1.4 (l)); there is no need for them here.
        if basic is not None and basic.path_length is not None and basic.path_length < depth:
            raise PkiError(f"{title(issuer)} allows {basic.path_length} CAs below it, and the chain has {depth}")
    return way


def _way(
    path: list[x509.Certificate], pool: Sequence[x509.Certificate], roots: Sequence[x509.Certificate]
) -> list[x509.Certificate] | None:
    last = path[-1]
    for root in roots:
        if root.subject == last.issuer and root != last and _signed_by(last, root):
            return [*path, root]
    if len(path) >= _LONGEST:
        return None
    for issuer in pool:
        if issuer.subject != last.issuer or issuer in path or not _signed_by(last, issuer):
            continue
        if way := _way([*path, issuer], pool, roots):
            return way
    return None


def _broken(leaf: x509.Certificate, pool: Sequence[x509.Certificate], roots: Sequence[x509.Certificate]) -> str:
    """Where a chain ends, in words."""
    last, seen = leaf, {leaf}
    while True:
        named = [issuer for issuer in (*pool, *roots) if issuer.subject == last.issuer and issuer != last]
        signers = [issuer for issuer in named if _signed_by(last, issuer)]
        if named and not signers:
            return f"the chain does not verify: {title(last)} is not signed by the {title(named[0])} that is given"
        following = [issuer for issuer in signers if issuer not in seen]
        if not following:
            break
        last = following[0]
        seen.add(last)
    if last is leaf and last.subject == last.issuer:
        return f"{title(leaf)} is signed by itself and by no CA"
    return f"the chain lacks its root: the issuer of {title(last)}, '{text_of(last.issuer)}', is not there"


def _signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def check_chain(
    text: str, roots: Iterable[x509.Certificate], now: float
) -> tuple[x509.Certificate, list[x509.Certificate]]:
    """The leaf of a PEM text, which is the first one, and all that are to be sent with it: without its root. `roots`:
    those that need not be in the text. Raises PkiError."""
    leaf, *others = pem.certificates(text)
    check_leaf(leaf)
    if is_root(leaf):
        raise PkiError(f"{title(leaf)} is signed by itself and by no CA")
    given = [certificate for certificate in others if is_root(certificate)]
    between = [certificate for certificate in others if certificate not in given]
    for certificate in (leaf, *others):
        check_strength(certificate)
        check_validity(certificate, now)
    way = way_to_root(leaf, between, [*given, *roots])
    check_strength(way[-1])
    check_validity(way[-1], now)
    for certificate in others:
        if certificate not in way:
            raise PkiError(f"{title(certificate)} is no part of the chain of {title(leaf)}: remove it")
    return leaf, way[:-1]


def check_bundle(text: str, now: float) -> Bundle:
    """The CA certificates of a trust anchor. Raises PkiError unless each of them leads to a root that is there."""
    bundle = split_bundle(text)
    for certificate in bundle.certificates:
        check_ca(certificate)
        check_strength(certificate)
        check_validity(certificate, now)
    if not bundle.roots:
        last = bundle.intermediates[-1]
        raise PkiError(
            f"the bundle lacks its root: the issuer of {title(last)}, '{text_of(last.issuer)}', is not there"
        )
    used: set[x509.Certificate] = set()
    for certificate in bundle.intermediates:
        used.add(way_to_root(certificate, bundle.intermediates, bundle.roots)[-1])
    for root in bundle.roots if bundle.intermediates else ():
        if root not in used and not any(_is_copy(root, other) for other in used):
            raise PkiError(
                f"no intermediate certificate of the bundle leads to {title(root)}, and those that are there restrict "
                "what the anchor admits: remove the root, or add its intermediate certificate"
            )
    return bundle


def _is_copy(one: x509.Certificate, other: x509.Certificate) -> bool:
    return one.subject == other.subject and keys.key_id(one.public_key()) == keys.key_id(other.public_key())


@functools.lru_cache(maxsize=1024)
def split_bundle(text: str) -> Bundle:
    """The certificates of a bundle, not checked: what is stored has been."""
    found = pem.certificates(text)
    roots = tuple(certificate for certificate in found if is_root(certificate))
    return Bundle(roots, tuple(certificate for certificate in found if certificate not in roots))


@functools.lru_cache(maxsize=4096)
def sent_with(text: str) -> tuple[str, ...]:
    """The leaf and the intermediate certificates of a stored chain, each in PEM, without a root."""
    leaf, *others = pem.certificates(text)
    return tuple(pem.text_of(each) for each in (leaf, *(other for other in others if not is_root(other))))


def check_admitted(leaf: x509.Certificate, bundle: Bundle, now: float) -> None:
    """Raises PkiError if a trust anchor does not admit a peer's certificate."""
    check_leaf(leaf)
    check_strength(leaf)
    check_validity(leaf, now)
    way = way_to_root(leaf, bundle.intermediates, bundle.roots)
    if not any(issuer in way for issuer in bundle.issuers):
        raise PkiError(f"{title(leaf)} is issued by none of the anchor's intermediate CAs")


def lifetime(certificates: Iterable[x509.Certificate]) -> tuple[int, int]:
    """The seconds since 1970 between which all of these are valid."""
    found = list(certificates)
    starts = (int(certificate.not_valid_before_utc.timestamp()) for certificate in found)
    return max(starts), min(int(certificate.not_valid_after_utc.timestamp()) for certificate in found)
