"""Notices in the status reasons of connections whose certificate or trust anchor ends soon."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from linkspan.core.schema.resources import CERTIFICATE, TRUST_ANCHOR
from linkspan.core.state import certificate_status
from linkspan.store.rows import renewals
from linkspan.store.rows.renewals import Life
from linkspan.store.rows.row import Row
from linkspan.store.transaction import Transaction

_TITLES: Final = {"local_certificate_id": "certificate", "trust_anchor_id": "trust anchor"}


def add(tx: Transaction, rows: Iterable[Row]) -> None:
    """Adds the notices to connections that use certificates: with two statements, and none if there are no such."""
    users = [row for row in rows if row["auth_mode"] == "certs" and row.status_inputs is not None]
    if not users:
        return
    lives = {
        attribute: renewals.lives(tx, resource.name, {row[attribute] for row in users if row[attribute]})
        for attribute, resource in (("local_certificate_id", CERTIFICATE), ("trust_anchor_id", TRUST_ANCHOR))
    }
    for row in users:
        found = [(_TITLES[attribute], lives[attribute].get(row[attribute])) for attribute in _TITLES]
        notices = [_notice(title, life, tx.wall) for title, life in found if life]
        if row.status_inputs and any(notices):
            row.status_inputs = replace(row.status_inputs, notice="; ".join(filter(None, notices)))


def _notice(title: str, life: Life, now: float) -> str:
    return certificate_status.notice(f"{title} {life.name or life.id}", life.start, life.end, now)
