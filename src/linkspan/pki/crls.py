"""Certificate revocation lists: which are taken, and whom they revoke (RFC 5280, section 5)."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes

from linkspan.pki import pem
from linkspan.pki.chains import title
from linkspan.pki.errors import PkiError
from linkspan.pki.names import text_of

Crl = x509.CertificateRevocationList


def check_crls(text: str, issuers: Iterable[x509.Certificate], before: Iterable[Crl], now: float) -> list[Crl]:
    """The revocation lists of a PEM text: one an issuer at most. Raises PkiError for one that no CA of the anchor has
    signed, that is over, or that is older than the one `before` it: charon keeps the newer one without a word."""
    found = pem.crls(text)
    known = list(issuers)
    earlier = {crl.issuer: crl for crl in before}
    for crl in found:
        _check(crl, known, now)
        _check_newer(crl, earlier.get(crl.issuer))
    if len({crl.issuer for crl in found}) < len(found):
        raise PkiError("two revocation lists of one CA are in the text")
    return found


def _check(crl: Crl, issuers: list[x509.Certificate], now: float) -> None:
    name = text_of(crl.issuer)
    named = [issuer for issuer in issuers if issuer.subject == crl.issuer]
    if not named:
        raise PkiError(f"the revocation list is of '{name}', which is no CA of the anchor")
    if isinstance(crl.signature_hash_algorithm, hashes.SHA1 | hashes.MD5):
        raise PkiError(f"the signature of the revocation list of '{name}' is made with a broken hash")
    if not any(signed_by(crl, issuer) for issuer in named):
        raise PkiError(f"the revocation list is not signed by {title(named[0])} of the anchor")
    moment = datetime.fromtimestamp(now, UTC)
    if crl.next_update_utc is None:
        raise PkiError(f"the revocation list of '{name}' does not say until when it is good (nextUpdate)")
    if crl.next_update_utc < moment:
        raise PkiError(f"the revocation list of '{name}' is over: the next one was due on {crl.next_update_utc:%F}")
    if crl.last_update_utc > moment:
        raise PkiError(f"the revocation list of '{name}' is not good before {crl.last_update_utc:%F}")


def _check_newer(crl: Crl, earlier: Crl | None) -> None:
    if earlier is None or earlier == crl:
        return
    new, old = number(crl), number(earlier)
    is_newer = new > old if new is not None and old is not None else crl.last_update_utc > earlier.last_update_utc
    if not is_newer:
        raise PkiError(f"the revocation list of '{text_of(crl.issuer)}' is not newer than the one that is there")


def number(crl: Crl) -> int | None:
    """The number of a list, None if it has none."""
    try:
        return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        return None


def signed_by(crl: Crl, issuer: x509.Certificate) -> bool:
    """True if a CA has signed a list."""
    try:
        return crl.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]
    except (TypeError, ValueError, InvalidSignature, UnsupportedAlgorithm):
        return False


def revoked_at(
    certificate: x509.Certificate, lists: Iterable[Crl], issuers: Iterable[x509.Certificate]
) -> float | None:
    """When one of these lists revoked a certificate, seconds since 1970; None if none did. `issuers`: the CAs of the
    lists, so that a list counts for its own CA and not for another one of the same name."""
    signers = [issuer for issuer in issuers if issuer.subject == certificate.issuer]
    for crl in lists:
        if crl.issuer != certificate.issuer:
            continue
        entry = crl.get_revoked_certificate_by_serial_number(certificate.serial_number)
        if entry is not None and any(_issued_both(issuer, certificate, crl) for issuer in signers):
            return entry.revocation_date_utc.timestamp()
    return None


def _issued_both(issuer: x509.Certificate, certificate: x509.Certificate, crl: Crl) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return signed_by(crl, issuer)


@functools.lru_cache(maxsize=1024)
def split(text: str) -> tuple[str, ...]:
    """The lists of a stored text, each in PEM."""
    return tuple(pem.text_of(crl) for crl in pem.crls(text))
