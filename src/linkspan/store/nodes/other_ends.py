"""The other ends of connections, where this service runs them too: found by the pair of addresses and the identities.

The gateway of the other end has the address that is `peer_address` here, and its connection has this gateway's address.
So a connection of another project is only found if it really is the other end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import and_, select

from linkspan.core.diagnosis.both_ends import OtherEnd
from linkspan.core.ipsec import identities
from linkspan.core.schema.resources import CONNECTION, PORT, SERVICE
from linkspan.store.database.statements import (
    Statement,
    chunks,
    fill_slots,
    in_slots,
    slot_count,
    statement,
    struct_columns,
)
from linkspan.store.database.tables import GATEWAY, IS_GATEWAY_PORT, OBSERVED, TABLES
from linkspan.store.rows.mapping import join_observed, outside_addresses
from linkspan.store.rows.row import Row
from linkspan.store.transaction import Transaction

_connection = TABLES[CONNECTION.name]
_service = TABLES[SERVICE.name]
_port = TABLES[PORT.name]


class _Candidate(msgspec.Struct):
    """A connection to one of our addresses."""

    id: str
    project_id: str
    peer_address: str
    local_id: str
    peer_id: str
    initiator: str
    admin_state_up: bool
    service_admin_state_up: bool
    fixed_ips: str | None
    state: str | None
    code: str | None
    reason: str | None


_COLUMNS: Final[dict[str, Any]] = {
    "id": _connection.c.id,
    "project_id": _connection.c.project_id,
    "peer_address": _connection.c.peer_address,
    "local_id": _connection.c.local_id,
    "peer_id": _connection.c.peer_id,
    "initiator": _connection.c.initiator,
    "admin_state_up": _connection.c.admin_state_up,
    "service_admin_state_up": _service.c.admin_state_up,
    "fixed_ips": _port.c.fixed_ips,
    "state": OBSERVED.c.state,
    "code": OBSERVED.c.code,
    "reason": OBSERVED.c.reason,
}


@statement
def _outside(count: int) -> Statement:
    """The outside addresses of so many routers."""
    columns = select(_port.c.device_id, _port.c.fixed_ips)
    return Statement(
        columns.where(in_slots(_port.c.device_id, "router", count), _port.c.device_owner == IS_GATEWAY_PORT)
    )


@statement
def _candidates(count: int) -> Statement:
    """Live connections to so many addresses, with what is observed of them."""
    source: Any = _connection.join(_service, _service.c.id == _connection.c.live_vpnservice_id)
    source = source.join(
        _port, and_(_port.c.device_id == _service.c.router_id, _port.c.device_owner == IS_GATEWAY_PORT)
    )
    source = source.outerjoin(GATEWAY, GATEWAY.c.router_id == _service.c.router_id)
    source = join_observed(source, "connection", _connection.c.id)
    query = select(*struct_columns(_Candidate, **_COLUMNS)).select_from(source)
    return Statement(query.where(in_slots(_connection.c.peer_address, "address", count)).order_by(_connection.c.id))


def other_ends(tx: Transaction, rows: Sequence[Row]) -> dict[str, OtherEnd]:
    """The other ends of these connections, by id, as far as there are any. Two statements, none without rows.

    The reason of an end is there only if it is of the same project.
    """
    ours = _addresses(tx, {row.router_id for row in rows if row.router_id})
    wanted = {address for addresses in ours.values() for address in addresses}
    candidates: dict[str, list[_Candidate]] = {}
    for some in chunks(wanted):
        for values in tx.rows(_candidates(slot_count(some)), **fill_slots("address", some)):
            candidate = _Candidate(*values)
            candidates.setdefault(candidate.peer_address, []).append(candidate)
    found: dict[str, OtherEnd] = {}
    for row in rows:
        addresses = ours.get(row.router_id or "", ())
        both = [end for address in addresses for end in candidates.get(address, ()) if _is_at(end, row["peer_address"])]
        if end := _chosen(row, addresses, [end for end in both if end.id != row["id"]]):
            found[row["id"]] = _other_end(row, end, row["local_id"] or end.peer_address)
    return found


def _addresses(tx: Transaction, routers: Iterable[str]) -> dict[str, tuple[str, ...]]:
    return {
        router: tuple(address for address in outside_addresses(fixed_ips) if address)
        for some in chunks(routers)
        for router, fixed_ips in tx.rows(_outside(slot_count(some)), **fill_slots("router", some))
    }


def _is_at(end: _Candidate, address: str) -> bool:
    return address in outside_addresses(end.fixed_ips)


def _chosen(row: Row, addresses: Sequence[str], ends: list[_Candidate]) -> _Candidate | None:
    """The one whose identities fit too; one alone is it also if they do not fit, which may be the fault. Those that are
    switched off count only where no other one is there."""
    fitting = [
        end
        for end in ends
        if end.peer_id in (row["local_id"], *addresses) and row["peer_id"] in (end.local_id, row["peer_address"])
    ]
    chosen = fitting or ends
    enabled = [end for end in chosen if _is_enabled(end)]
    if len(enabled) == 1 or (chosen and not enabled):
        return (enabled or chosen)[0]
    return None


def _is_enabled(end: _Candidate) -> bool:
    return end.admin_state_up and end.service_admin_state_up


def _other_end(row: Row, end: _Candidate, us: str) -> OtherEnd:
    them = end.local_id or row["peer_address"]
    is_own = end.project_id == row["project_id"]
    return OtherEnd(
        enabled=_is_enabled(end),
        initiator=end.initiator,
        code=end.code or "" if end.state == "down" else "",
        reason=end.reason or "" if is_own else "",
        is_who_we_expect=identities.stored(row["peer_id"]) == identities.stored(them),
        expects_us=identities.stored(end.peer_id) == identities.stored(us),
    )
