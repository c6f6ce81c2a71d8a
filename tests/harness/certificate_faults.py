"""Faults of a peer's certificate: each is refused with a cause of its own, and the same peer is let in without it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec
import pytest
import vici

from tests.harness import credentials
from tests.harness.agent_site import AgentSite
from tests.harness.authorities import DAY, Ca, Issued, with_sha1
from tests.harness.certified import THEM, between, initiate_until_up, load, ours, theirs
from tests.harness.peer import Peer
from tests.harness.strongswan import needs_ikev1

OTHER_NAME: Final = "other.example.org"
OTHER_CA: Final = Ca("Of another connection")


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """A fault. `make`: the peer's certificate by a root, and the options of our anchor for it (`pins`: the pins beside
    it); `words`: in our reason; `algorithm`: of the root. `same`: the same certificate is let in once a revocation list
    without it is there; else a sound one is.
    """

    make: Callable[[Ca], tuple[Issued, dict[str, Any]]]
    words: str
    algorithm: str = "ecdsa-p256"
    same: bool = False


def _missing_intermediate(root: Ca) -> tuple[Issued, dict[str, Any]]:
    issued = theirs(Ca("Sub", above=root))
    issued.chain = issued.chain[:1]
    return issued, {}


def _path_length(root: Ca) -> tuple[Issued, dict[str, Any]]:
    above = Ca("Above", above=root, path_length=0)
    return theirs(Ca("Below", above=above)), {}


def _sha1(root: Ca) -> tuple[Issued, dict[str, Any]]:
    issued = theirs(root)
    return Issued(with_sha1(issued.certificate, root.key), issued.key), {}


def _revoked(root: Ca) -> tuple[Issued, dict[str, Any]]:
    issued = theirs(root)
    return issued, {"revocation": "if_available", "crls": [root.crl(issued)]}


def _stale_crl(root: Ca) -> tuple[Issued, dict[str, Any]]:
    return theirs(root), {"revocation": "strict", "crls": [root.crl(begin=-2 * DAY, end=-DAY)]}


CHAINS: Final = {
    "expired": Fault(
        make=lambda root: (theirs(root, begin=-2 * DAY, end=-DAY), {}),
        words="the peer's certificate expired on",
    ),
    "not yet valid": Fault(
        make=lambda root: (theirs(root, begin=DAY, end=2 * DAY), {}),
        words="the peer's certificate is not valid before",
    ),
    "untrusted root": Fault(
        make=lambda root: (theirs(Ca("Stranger")), {}), words="not known here: it is 'C=CH, O=Lab, CN=Stranger'"
    ),
    "missing intermediate": Fault(make=_missing_intermediate, words="not known here: it is 'C=CH, O=Lab, CN=Sub'"),
    # The gateway knows the CA, since another connection has it.
    "wrong CA": Fault(make=lambda root: (theirs(OTHER_CA), {}), words="is from another CA than 'C=CH, O=Lab, CN=Root'"),
    "path length": Fault(make=_path_length, words="may not issue certificates of CAs"),
    "SHA-1": Fault(make=_sha1, words="is signed with RSA_EMSA_PKCS1_SHA1", algorithm="rsa-2048"),
}
"""Faults of the chain to the root."""
PEERS: Final = {
    "revoked": Fault(make=_revoked, words="the peer's certificate was revoked on", same=True),
    "strict without a CRL": Fault(
        make=lambda root: (theirs(root), {"revocation": "strict"}),
        words="there is no revocation list of the peer's CA",
        same=True,
    ),
    "strict with an old CRL": Fault(
        make=_stale_crl, words="the newest revocation list of the peer's CA is out of date", same=True
    ),
    "id not in the certificate": Fault(
        make=lambda root: (root.issued(OTHER_NAME, subject="peer"), {}),
        words=f"does not carry its identity '{THEM}'",
    ),
    "id as common name only": Fault(
        make=lambda root: (root.issued(subject=THEM), {}), words=f"does not carry its identity '{THEM}'"
    ),
    # The last one: pins stay in charon, and then it tries their keys for the identities above.
    "another pin": Fault(
        make=lambda root: (theirs(root), {"pins": [theirs(root)]}), words="is none of peer_certificates"
    ),
}
"""Faults of the peer's own certificate."""


def cases(faults: Iterable[str]) -> list[Any]:
    """Return the faults with their IKE versions, as parameters. In IKEv1 a charon has no key for an identity that is
    not in its certificate."""
    v1 = [pytest.param(fault, "v1", marks=needs_ikev1) for fault in faults if not fault.startswith("id ")]
    return [*((fault, "v2") for fault in faults), *v1]


def assert_refused(
    site: AgentSite, peers: Callable[..., Peer], fault: Fault, version: str, *, peer_initiates: bool
) -> None:
    """Assert that the fault is refused with its cause, and the peer let in without it."""
    peer, root = peers(), Ca(algorithm=fault.algorithm)
    issued, options = fault.make(root)
    pins = options.pop("pins", ())
    if issued.certificate.issuer == OTHER_CA.subject:
        known = between(ours(OTHER_CA), OTHER_CA)
        site.connect(peers(), certificates=known, local_id="", peer_id="x.example.org", initiator="response-only")
    load(peer, site, issued, root, version=version[1:])
    link = site.connect(
        peer,
        certificates=credentials.certificates(ours(root), credentials.anchor(root, **options), pins),
        ike={"ike_version": version},
        initiator="response-only" if peer_initiates else "bi-directional",
    )
    link.wait("down")
    if peer_initiates:
        with contextlib.suppress(vici.exception.CommandException):
            peer.initiate(seconds=3.0)
    link.wait_reason(fault.words)
    assert not link.children()
    # Without it the same peer is let in.
    sound = issued if fault.same else theirs(root)
    if fault.same:
        site.change(link.id, certificates=between(ours(root), root, **options | {"crls": [root.crl(number=100)]}))
    if pins:
        site.change(link.id, certificates=credentials.certificates(ours(root), credentials.anchor(root), [sound]))
    load(peer, site, sound, root, version=version[1:])
    if peer_initiates:
        initiate_until_up(link)
    link.wait("up", 40.0)
    link.assert_pings()
