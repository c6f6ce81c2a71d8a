"""Certificates and trust anchors as the nodes need them: keys out of their envelopes, one certificate in each text."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import select

from linkspan.core.schema.resources import CERTIFICATE, TRUST_ANCHOR
from linkspan.core.secret import Secret
from linkspan.core.state.credentials import LocalCertificate, PostQuantumKey, TrustAnchor
from linkspan.pki import chains, crls, pem
from linkspan.store.database.statements import Statement, chunks, fill_slots, in_slots, slot_count, statement
from linkspan.store.database.tables import TABLES
from linkspan.store.transaction import Transaction

_decode: Final = msgspec.json.Decoder(list[str]).decode
_certificate = TABLES[CERTIFICATE.name]
_anchor = TABLES[TRUST_ANCHOR.name]


@statement
def _certificates(count: int) -> Statement:
    columns = (
        _certificate.c.id,
        _certificate.c.project_id,
        _certificate.c.certificate,
        _certificate.c.private_key,
        _certificate.c.private_key_key_id,
        _certificate.c.key_identifier,
        _certificate.c.not_before,
        _certificate.c.not_after,
    )
    return Statement(select(*columns).where(in_slots(_certificate.c.id, "id", count)))


@statement
def _anchors(count: int) -> Statement:
    columns = (
        _anchor.c.id,
        _anchor.c.name,
        _anchor.c.ca_bundle,
        _anchor.c.revocation,
        _anchor.c.crl_urls,
        _anchor.c.crl,
        _anchor.c.expires_at,
    )
    return Statement(select(*columns).where(in_slots(_anchor.c.id, "id", count)))


def local_certificates(tx: Transaction, ids: Iterable[str]) -> dict[str, LocalCertificate | str]:
    """Certificates by id; in the place of one that cannot be used: why, with the remedy."""
    found: dict[str, LocalCertificate | str] = {}
    for some in chunks(sorted(ids)):
        for id, project, text, sealed, sealing, key_id, not_before, not_after in tx.rows(
            _certificates(slot_count(some)), **fill_slots("id", some)
        ):
            if text is None or sealed is None:
                found[id] = f"certificate {id} has not been issued yet: give it the answer to its request"
                continue
            opened, fault = tx.keyring.try_open(sealing, bytes(sealed), project, id, "private_key")
            found[id] = fault or LocalCertificate(
                id=id,
                chain=chains.sent_with(text),
                private_key=opened or Secret(""),
                key_id=key_id,
                not_before=seconds(not_before),
                not_after=seconds(not_after),
            )
    return found


def trust_anchors(tx: Transaction, ids: Iterable[str]) -> dict[str, TrustAnchor]:
    """Trust anchors by id."""
    found: dict[str, TrustAnchor] = {}
    for some in chunks(sorted(ids)):
        for id, name, text, revocation, urls, crl, expires_at in tx.rows(
            _anchors(slot_count(some)), **fill_slots("id", some)
        ):
            bundle = chains.split_bundle(text)
            lists = crls.split(crl) if crl and revocation != "none" else ()
            found[id] = TrustAnchor(
                id=id,
                name=name,
                roots=tuple(map(pem.text_of, bundle.roots)),
                issuers=tuple(map(pem.text_of, bundle.issuers)),
                revocation=revocation,
                crl_urls=tuple(_decode(urls)),
                crls=lists,
                not_after=seconds(expires_at),
            )
    return found


def post_quantum_key(
    tx: Transaction,
    project: str,
    id: str,
    envelope: tuple[bytes | None, str | None, str | None],
    key_name: str,
    required: bool,
) -> tuple[PostQuantumKey | None, str]:
    """The post-quantum key of a connection; or None, and why it cannot be read if it has one. `envelope`: the columns
    of the key: ciphertext, id of the sealing key, name."""
    sealed, sealing, ref = envelope
    if sealed is None:
        return None, ""
    opened, fault = tx.keyring.try_open(sealing, bytes(sealed), project, id, "ppk")
    if opened is None:
        return None, fault
    return PostQuantumKey(id=key_name, key=opened, required=required, ref=ref or ""), ""


def seconds(text: str) -> int:
    """A time of a certificate as seconds since 1970."""
    return int(datetime.fromisoformat(text).timestamp())
