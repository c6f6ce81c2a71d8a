"""The internal certificate authority of nodes, in the database, with its key in an envelope.

It is made when it is first needed, and its successor at half of its life. Nodes learn authorities when they renew their
certificates, so a new one issues only after the longest life of a certificate: by then every node trusts it.
"""

from __future__ import annotations

from typing import Final

import msgspec
from sqlalchemy import bindparam, insert, select

from linkspan.core.node_join import CERTIFICATE_LIFETIME
from linkspan.core.secret import Secret
from linkspan.store import certificates
from linkspan.store.certificates import IssuingAuthority
from linkspan.store.database.statements import Statement, struct_columns
from linkspan.store.database.tables import NODE_AUTHORITY
from linkspan.store.transaction import Transaction

SETTLE: Final = 2 * CERTIFICATE_LIFETIME
"""Seconds after which a new authority issues certificates."""
_FIELD: Final = "private_key"


class StoredAuthority(msgspec.Struct, frozen=True):
    """An authority as it is stored."""

    id: str
    certificate: str
    private_key: bytes
    private_key_key_id: str
    issued_at: float
    expires_at: float


_add: Final = Statement(insert(NODE_AUTHORITY))
_valid: Final = Statement(
    select(
        *struct_columns(StoredAuthority, **{name: NODE_AUTHORITY.c[name] for name in StoredAuthority.__struct_fields__})
    )
    .where(NODE_AUTHORITY.c.expires_at > bindparam("now"))
    .order_by(NODE_AUTHORITY.c.issued_at, NODE_AUTHORITY.c.id)
)


def authorities(tx: Transaction) -> list[StoredAuthority]:
    """The valid authorities, the oldest one first."""
    return [StoredAuthority(*row) for row in tx.rows(_valid, now=tx.wall)]


def is_missing(tx: Transaction) -> bool:
    """True if no authority can issue, or the newest one is past half of its life."""
    usable = _usable(tx)
    return not usable or tx.wall > (usable[-1][0].issued_at + usable[-1][0].expires_at) / 2


def ensure(tx: Transaction) -> None:
    """Makes an authority if one is missing. Of two processes each may make one: all are trusted."""
    if not is_missing(tx):
        return
    now = tx.wall
    made = certificates.new_authority(now)
    id = certificates.fingerprint(made.certificate)
    envelope = tx.keyring.seal(Secret(certificates.key_to_pem(made.key).decode()), "", id, _FIELD)
    tx.run(
        _add,
        id=id,
        certificate=certificates.to_pem(made.certificate),
        private_key=envelope.ciphertext,
        private_key_key_id=envelope.key_id,
        issued_at=now,
        expires_at=now + certificates.AUTHORITY,
    )


def issuing(tx: Transaction) -> tuple[str, IssuingAuthority]:
    """The authority that issues, with its id: the newest one that all nodes trust by now. Needs one (`ensure`)."""
    usable = _usable(tx)
    settled = [authority for authority in usable if authority[0].issued_at + SETTLE <= tx.wall]
    stored, opened = settled[-1] if settled else usable[0]
    return stored.id, opened


def bundle(tx: Transaction) -> str:
    """The certificates of all valid authorities, as PEM."""
    return "".join(stored.certificate for stored in authorities(tx))


def _usable(tx: Transaction) -> list[tuple[StoredAuthority, IssuingAuthority]]:
    """The authorities whose keys open: one that was damaged still verifies, and another one issues."""
    usable = []
    for stored in authorities(tx):
        key, _ = tx.keyring.try_open(stored.private_key_key_id, bytes(stored.private_key), "", stored.id, _FIELD)
        if key is not None:
            usable.append((stored, certificates.from_pem(stored.certificate, key.reveal())))
    return usable
