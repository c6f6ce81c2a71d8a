"""Whether a connection can authenticate with what it has: what charon would find out only on the wire, or never.

Two questions: whether certificates and anchor can be used now, asked when a connection takes them up; and whether they
fit the connection, asked whenever either changes.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

from cryptography import x509

from linkspan.core.ipsec import identities
from linkspan.core.state.credentials import Certificates
from linkspan.core.state.desired import Connection
from linkspan.pki import chains, keys, names, pem
from linkspan.pki.errors import PkiError


class Fault(NamedTuple):
    """Why a connection cannot authenticate: the attribute that is wrong, and a sentence without a full stop."""

    attribute: str
    reason: str


_load = functools.lru_cache(maxsize=1024)(pem.certificate)


def misfit(connection: Connection) -> Fault | None:
    """Why the credentials of a connection do not fit its other attributes; None if they do."""
    if (fault := _ppk_fault(connection)) is not None:
        return fault
    if connection.auth_mode == "psk":
        return _name_fault(connection)
    return _certificate_fault(connection, connection.certificates) if connection.certificates else None


def _ppk_fault(connection: Connection) -> Fault | None:
    if connection.ppk is None or connection.ike.ike_version == "v2":
        return None
    name = "ppk_required" if connection.ppk.required else "ppk"
    return Fault(name, "IKEv1 has no post-quantum preshared keys: the tunnel would come up without it")


def _name_fault(connection: Connection) -> Fault | None:
    for attribute in ("local_id", "peer_id"):
        text: str = getattr(connection, attribute)
        if text and identities.stored(text).kind == "dn":
            return Fault(attribute, "a distinguished name needs auth_mode certs")
    return None


def _certificate_fault(connection: Connection, certificates: Certificates) -> Fault | None:
    leaf = _load(certificates.local.chain[0])
    is_v1 = connection.ike.ike_version == "v1"
    if is_v1 and keys.algorithm_of(leaf.public_key()) == "ed25519":
        return Fault("local_certificate_id", "IKEv1 has no signatures by Ed25519: use IKEv2, or another kind of key")
    local_id = connection.local_id or connection.local_address
    if fault := _identity_fault(local_id):
        return Fault("local_id", fault)
    if not names.carries(leaf, identities.stored(local_id)):
        default = "" if connection.local_id else " (the gateway's external address, because local_id is empty)"
        return Fault(
            "local_id",
            f"'{local_id}'{default} is not in the certificate {chains.title(leaf)}, which has: {names.carried(leaf)}",
        )
    if fault := _identity_fault(connection.peer_id):
        return Fault("peer_id", fault)
    for number, text in enumerate(certificates.peer_certificates):
        if fault := _pin_fault(_load(text), connection.peer_id, is_v1):
            return Fault("peer_certificates", f"certificate {number + 1}: {fault}")
    return None


def _identity_fault(text: str) -> str:
    if identities.stored(text).kind != "keyid":
        return ""
    return f"'{text}' is a key id, which no certificate has: use a DNS name, mail address, IP address or subject"


def _pin_fault(leaf: x509.Certificate, peer_id: str, is_v1: bool) -> str:
    if is_v1 and keys.algorithm_of(leaf.public_key()) in ("ed25519", "ed448"):
        return "IKEv1 has no signatures by Ed25519: use IKEv2"
    if not names.carries(leaf, identities.stored(peer_id)):
        return f"peer_id '{peer_id}' is not in {chains.title(leaf)}, which has: {names.carried(leaf)}"
    return ""


def unusable(certificates: Certificates, now: float) -> Fault | None:
    """Why certificates or anchor cannot be used now; None if they can. `now`: seconds since 1970."""
    try:
        for text in certificates.local.chain:
            chains.check_validity(_load(text), now)
    except PkiError as error:
        return Fault("local_certificate_id", str(error))
    anchor = certificates.anchor
    bundle = chains.Bundle(tuple(map(_load, anchor.roots)), _intermediates(anchor.roots, anchor.issuers))
    try:
        for certificate in bundle.certificates:
            chains.check_validity(certificate, now)
    except PkiError as error:
        return Fault("trust_anchor_id", str(error))
    return not_admitted(certificates, bundle, now)


def not_admitted(certificates: Certificates, bundle: chains.Bundle, now: float) -> Fault | None:
    """Why the anchor does not admit a certificate of the peer that is given; None if it admits each of them."""
    for number, text in enumerate(certificates.peer_certificates):
        try:
            chains.check_admitted(_load(text), bundle, now)
        except PkiError as error:
            return Fault("peer_certificates", f"certificate {number + 1}: {error}")
    return None


def _intermediates(roots: tuple[str, ...], issuers: tuple[str, ...]) -> tuple[x509.Certificate, ...]:
    return tuple(_load(text) for text in issuers if text not in roots)
