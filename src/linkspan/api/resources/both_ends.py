"""Connections as both of their ends know them: an end that was refused shows what the end that has refused it says."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from linkspan.core.diagnosis.both_ends import MAY_BE_JOINED, joined
from linkspan.store.nodes.other_ends import other_ends
from linkspan.store.rows.row import Row
from linkspan.store.transaction import Transaction

_set = msgspec.structs.replace


def join_ends(tx: Transaction, rows: Iterable[Row]) -> None:
    """Replaces the cause of connections that are down by that of their other end, where this one says more."""
    asking = [row for row in rows if _may_not_know(row)]
    if not asking:
        return
    ends = other_ends(tx, asking)
    for row in asking:
        end, inputs = ends.get(row["id"]), row.status_inputs
        if end is None or inputs is None or inputs.observed is None:
            continue
        observed = inputs.observed
        if cause := joined(observed.code, row["initiator"], end):
            reason = f"{cause.sentence}; here: {observed.reason}" if observed.reason else cause.sentence
            row.status_inputs = _set(inputs, observed=_set(observed, code=cause.code, reason=reason))


def _may_not_know(row: Row) -> bool:
    inputs = row.status_inputs
    if inputs is None or inputs.observed is None or not inputs.enabled or inputs.deleted:
        return False
    return inputs.observed.state == "down" and inputs.observed.code in MAY_BE_JOINED
