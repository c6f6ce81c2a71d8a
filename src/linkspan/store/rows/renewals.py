"""The lives of certificates: which ones a project's own CA may renew, and when those of connections end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from sqlalchemy import bindparam, null, select

from linkspan.core.schema.resources import CERTIFICATE, TRUST_ANCHOR
from linkspan.store.database.statements import Statement, chunks, fill_slots, in_slots, slot_count, statement
from linkspan.store.database.tables import TABLES
from linkspan.store.transaction import Transaction

_certificate = TABLES[CERTIFICATE.name]
_anchor = TABLES[TRUST_ANCHOR.name]

# Times are texts that sort as times do.
_renewable: Final = Statement(
    select(_certificate.c.id, _certificate.c.not_before, _certificate.c.not_after)
    .join(_anchor, _anchor.c.id == _certificate.c.issuer_id)
    .where(
        _certificate.c.source == "generated",
        _certificate.c.revoked_at.is_(None),
        _certificate.c.not_after < _anchor.c.expires_at,
        _certificate.c.id > bindparam("after"),
    )
    .order_by(_certificate.c.id)
    .limit(bindparam("most"))
)


class Life(NamedTuple):
    """The validity of a certificate, its two times as texts. Of a trust anchor only the end is known."""

    id: str
    name: str
    start: str | None
    end: str


def renewable(tx: Transaction, after: str, most: int) -> list[Life]:
    """The certificates that their CA could issue again for longer than they are, in the order of their ids: the first
    `most` ones after an id."""
    return [Life(id, "", start, end) for id, start, end in tx.rows(_renewable, after=after, most=most)]


@statement
def _lives(name: str, count: int) -> Statement:
    table: Any = TABLES[name]
    start, end = (table.c.not_before, table.c.not_after) if name == CERTIFICATE.name else (null(), table.c.expires_at)
    query = select(table.c.id, table.c.name, start, end).where(in_slots(table.c.id, "id", count), end.is_not(None))
    return Statement(query)


def lives(tx: Transaction, resource: str, ids: Iterable[str]) -> dict[str, Life]:
    """The lives of these certificates, or of these trust anchors, by id."""
    found: dict[str, Life] = {}
    for some in chunks(sorted(ids)):
        for row in tx.rows(_lives(resource, slot_count(some)), **fill_slots("id", some)):
            found[row[0]] = Life(*row)
    return found
