"""The certificates of both ends in a fault of certificates, by the name that the fault gives.

The near end always has a certificate of the laboratory's CA, whose request its API has made. What its API would refuse
can only be at the far end, a plain charon.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from cryptography import x509

from linkspan.lab.authorities import HOUR, Authority, key_pem, new_key, pem
from linkspan.lab.faults.certificates import THEM

_DAY: Final = 24 * HOUR
_SOON: Final = dt.timedelta(seconds=3)
_LARGE: Final = 4096
_numbers: Final = itertools.count(1)


class FarCredentials(msgspec.Struct, frozen=True, kw_only=True):
    """The far end: its chain and key in PEM, and the CAs that it trusts."""

    chain: tuple[str, ...]
    key: str
    trusted: tuple[str, ...]


class NearCredentials(msgspec.Struct, frozen=True, kw_only=True):
    """The trust of the near end: attributes of its trust anchor, and pins."""

    anchor: dict[str, Any]
    pins: tuple[str, ...] = ()


class CaseCredentials(msgspec.Struct, frozen=True, kw_only=True):
    """Both ends of a case. `root`: the CA that answers requests; an end without credentials has a pre-shared key.

    `wait`: until the fault has come, after the API has taken them.
    """

    root: Authority
    near: NearCredentials | None
    far: FarCredentials | None
    wait: dt.timedelta = dt.timedelta()

    def answer(self, request: str, name: str) -> str:
        """The certificate of the CA for a request of an end of ours, in PEM, with its root."""
        public = x509.load_pem_x509_csr(request.encode()).public_key()
        return pem(self.root.issue(public, name, [name]), self.root.certificate)


def make(name: str) -> CaseCredentials:
    """Make the certificates for a fault."""
    bits = _LARGE if name == "large" else 0
    # Gateways keep the CAs of earlier cases for a while, and charon finds a CA by its name.
    root = Authority(f"Root {next(_numbers)}", bits=bits)
    chain, key = _far_chain(name, root, bits)
    anchor: dict[str, Any] = {"ca_bundle": root.pem, "revocation": "none"}
    match name:
        case "revoked":
            anchor |= {"revocation": "if_available", "crl": root.crl(chain[0])}
        case "no-crl":
            anchor |= {"revocation": "strict", "crl_urls": ["http://crl.invalid/root.crl"]}
        case "stale-crl":
            # The API takes none that is over already.
            anchor |= {"revocation": "strict", "crl": root.crl(end=_SOON)}
        case "sister":
            anchor |= {"ca_bundle": Authority("Sub", above=root).pem + root.pem}
    pins = (pem(root.issue(new_key().public_key(), "pinned", [THEM])),) if name == "pin" else ()
    trusted = Authority("Stranger") if name == "ca-at-peer" else root
    far = FarCredentials(chain=tuple(map(pem, chain)), key=key_pem(key), trusted=(trusted.pem,))
    return CaseCredentials(
        root=root,
        near=None if name == "far-only" else NearCredentials(anchor=anchor, pins=pins),
        far=None if name == "near-only" else far,
        wait=2 * _SOON if name == "stale-crl" else dt.timedelta(),
    )


def _far_chain(name: str, root: Authority, bits: int) -> tuple[Sequence[x509.Certificate], Any]:
    key = new_key(bits)
    public = key.public_key()

    def of(issuer: Authority, names: Sequence[str] = (THEM,), text: str = "far", **validity: Any) -> Any:
        return [issuer.issue(public, text, names, **validity), *issuer.chain]

    match name:
        case "expired":
            return of(root, start=-2 * _DAY, end=-_DAY), key
        case "not-yet-valid":
            return of(root, start=_DAY, end=2 * _DAY), key
        case "untrusted":
            return of(Authority("Stranger")), key
        case "no-intermediate":
            return of(Authority("Sub", above=root))[:1], key
        case "sister":
            return of(Authority("Sister", above=root)), key
        case "other-name":
            return of(root, ["other.example.org"]), key
        case "common-name":
            return of(root, [], THEM), key
        case "path-length":
            return of(Authority("Below", above=Authority("Above", above=root, path_length=0))), key
        case "sha1":
            return [root.issue_with_sha1(key, "far", THEM)], key
        case "large":
            return of(Authority("Large below", above=Authority("Large", above=root, bits=bits), bits=bits)), key
    return of(root), key
