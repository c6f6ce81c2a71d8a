"""The audit trail in the database: written with each mutation, chained soon after it.

The row of an entry is in the transaction of what it tells, so there is none without the other. Its place in the chain
it gets later: `seal` numbers what was committed since, in one transaction that holds the row of the head. A chain made
in the mutations themselves would have them wait for each other's commits (docs/adr/0019). The head, which has the
newest hash, is sealed with a key of the key file: who can only write the database cannot make another chain.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, and_, bindparam, delete, func, insert, select, true, update

from linkspan.core import audit, printable
from linkspan.core.audit import AuditAction, AuditEntry, Head
from linkspan.store.database.statements import Statement, encode_json, json_elements, statement
from linkspan.store.database.tables import AUDIT, AUDIT_HEAD
from linkspan.store.transaction import Transaction, new_ordered_id

BATCH: Final = 500
"""Entries that one transaction seals, or reads at a time."""
LONGEST: Final = 255
"""Characters of a name that a stranger claims."""


class Actor(msgspec.Struct, frozen=True):
    """Who does something: the user, the project that they act in, and the request with the client's address."""

    user_id: str
    user_name: str
    project_id: str = ""
    request_id: str = ""
    source: str = ""


_NAMES: Final = tuple(AuditEntry.__struct_fields__)
_NEW: Final = tuple(name for name in _NAMES if name not in ("number", "hash"))
_columns: Final = [AUDIT.c[name] for name in _NAMES]


def record(
    tx: Transaction,
    actor: Actor,
    action: AuditAction,
    resource: str,
    object_id: str,
    project_id: str | None = "",
    fields: Iterable[str] = (),
    count: int = 1,
) -> None:
    """Has an entry written at the end of the transaction. `fields`: names of attributes, never values."""
    entry = AuditEntry(
        id=new_ordered_id(),
        at=tx.wall,
        action=action,
        resource=resource,
        object_id=object_id,
        project_id=project_id or "",
        user_id=actor.user_id,
        user_name=printable.bounded(actor.user_name, LONGEST),
        user_project_id=actor.project_id,
        request_id=actor.request_id,
        source=actor.source,
        fields=tuple(sorted(set(fields))),
        count=count,
    )
    tx.audited.append(_values(entry))


def _values(entry: AuditEntry) -> list[Any]:
    return [encode_json(value) if name == "fields" else value for name, value in msgspec.structs.asdict(entry).items()]


def _write() -> Statement:
    """INSERT of entries given as a JSON list of lists: one statement, however many they are."""
    rows, field = json_elements(bindparam("entries"))
    columns: dict[str, ColumnElement[Any]] = {
        name: field(place, AUDIT.c[name].type) for place, name in enumerate(_NAMES) if name in _NEW
    }
    return Statement(
        insert(AUDIT).from_select(list(columns), select(*columns.values()).select_from(rows).where(true()))
    )


_insert: Final = _write()
_insert_one: Final = Statement(insert(AUDIT), _NEW)


def flush(tx: Transaction) -> None:
    """Writes the entries of a transaction."""
    if len(tx.audited) == 1:
        # The usual number: as JSON it would cost SQLite three times as much.
        tx.run(_insert_one, **dict(zip(_NAMES, tx.audited[0], strict=True)))
    elif tx.audited:
        tx.run(_insert, entries=encode_json(tx.audited))
    tx.audited.clear()


# --- the chain ----------------------------------------------------------------------------------------------------

_unsealed: Final = Statement(
    select(*_columns).where(AUDIT.c.number.is_(None)).order_by(AUDIT.c.id).limit(bindparam("most", type_=None))
)
_any_unsealed: Final = Statement(select(AUDIT.c.id).where(AUDIT.c.number.is_(None)).limit(1))
_head: Final = Statement(select(AUDIT_HEAD).where(AUDIT_HEAD.c.id == 1).with_for_update())
_first_head: Final = Statement(insert(AUDIT_HEAD))
_move_head: Final = Statement(
    update(AUDIT_HEAD)
    .where(AUDIT_HEAD.c.id == bindparam("the"))
    .values({name: bindparam(name) for name in ("base", "base_hash", "number", "hash", "key_id", "seal")})
)


def _set_places() -> Statement:
    """UPDATE of the places of entries given as a JSON list of [id, number, hash]."""
    _, field = json_elements(bindparam("places"))
    change = update(AUDIT).where(AUDIT.c.id == field(0, AUDIT.c.id.type))
    return Statement(change.values(number=field(1, AUDIT.c.number.type), hash=field(2, AUDIT.c.hash.type)))


_place: Final = _set_places()
_from: Final = Statement(
    select(*_columns).where(AUDIT.c.number > bindparam("after")).order_by(AUDIT.c.number).limit(BATCH)
)
_newest_old: Final = Statement(
    select(AUDIT.c.number, AUDIT.c.hash)
    .where(
        AUDIT.c.number
        < func.coalesce(
            select(func.min(AUDIT.c.number)).where(AUDIT.c.at >= bindparam("since")).scalar_subquery(),
            bindparam("end", type_=AUDIT.c.number.type),
        )
    )
    .order_by(AUDIT.c.number.desc())
    .limit(1)
)
_remove: Final = Statement(delete(AUDIT).where(AUDIT.c.number <= bindparam("number")))


def _entry(row: Any) -> AuditEntry:
    values = dict(zip(_NAMES, row, strict=True))
    return msgspec.convert(values | {"fields": msgspec.json.decode(values["fields"])}, AuditEntry)


def is_sealed(tx: Transaction) -> bool:
    """True if every entry has its place in the chain."""
    return tx.first(_any_unsealed) is None


def seal(tx: Transaction) -> int:
    """Gives entries that were committed meanwhile their places in the chain; how many."""
    head = _locked_head(tx)
    entries = [_entry(row) for row in tx.rows(_unsealed, most=BATCH)]
    number, digest = head.number, head.hash
    places = []
    for entry in entries:
        placed = audit.chained(entry, number + 1, digest)
        number, digest = number + 1, placed.hash or ""
        places.append((entry.id, number, digest))
    if places:
        tx.run(_place, places=encode_json(places))
        _store(tx, msgspec.structs.replace(head, number=number, hash=digest))
    return len(places)


def purge(tx: Transaction, since: float) -> int:
    """Removes the sealed entries before a time, from the oldest one on; how many."""
    head = _locked_head(tx)
    found = tx.first(_newest_old, since=since, end=head.number + 1)
    if found is None:
        return 0
    number, digest = found
    _store(tx, msgspec.structs.replace(head, base=number, base_hash=digest))
    return tx.run(_remove, number=number)


def _locked_head(tx: Transaction) -> Head:
    row = tx.first(_head)
    if row is None:
        head = Head()
        key_id, seal = tx.keyring.seal_audit(head.text())
        # Of two processes that are first, the other one gets a Conflict.
        tx.run(_first_head, id=1, key_id=key_id, seal=seal, **msgspec.structs.asdict(head))
        return head
    return Head(*row[1:5])


def _store(tx: Transaction, head: Head) -> None:
    key_id, seal = tx.keyring.seal_audit(head.text())
    tx.run(_move_head, the=1, key_id=key_id, seal=seal, **msgspec.structs.asdict(head))


def reseal(tx: Transaction) -> None:
    """Seals the newest hash under the sealing key, if it is under another one and that seal is right."""
    row = tx.first(_head)
    if row is None:
        return
    head = Head(*row[1:5])
    key_id, seal = row[5:7]
    if key_id != tx.keyring.current and tx.keyring.sealed_audit(key_id, seal, head.text()):
        _store(tx, head)


class ChainVerdict(msgspec.Struct, frozen=True):
    """What a verification found: the ends of the chain, how many entries have no place yet, and the first fault."""

    head: Head
    unsealed: int
    fault: str


_read_head: Final = Statement(select(AUDIT_HEAD).where(AUDIT_HEAD.c.id == 1))
_count_unsealed: Final = Statement(select(func.count()).select_from(AUDIT).where(AUDIT.c.number.is_(None)))
_any: Final = Statement(select(AUDIT.c.id).where(AUDIT.c.number.is_not(None)).limit(1))


def verify(tx: Transaction) -> ChainVerdict:
    """Follows the chain from its first entry to the newest one."""
    row = tx.first(_read_head)
    unsealed = int(tx.first(_count_unsealed)[0])
    if row is None:
        return ChainVerdict(Head(), unsealed, "the head of the chain is missing" if tx.first(_any) else "")
    head = Head(*row[1:5])
    key_id, seal = row[5:7]
    if not tx.keyring.sealed_audit(key_id, seal, head.text()):
        return ChainVerdict(head, unsealed, "the seal of the newest entry is not one of this key file")
    number, digest = head.base, head.base_hash
    for entry in _sealed(tx, head.base):
        if fault := audit.chain_fault(entry, number + 1, digest):
            return ChainVerdict(head, unsealed, fault)
        number, digest = number + 1, entry.hash or ""
    if (number, digest) != (head.number, head.hash):
        return ChainVerdict(head, unsealed, f"the chain ends at entry {number}, and not at entry {head.number}")
    return ChainVerdict(head, unsealed, "")


def _sealed(tx: Transaction, after: int) -> Iterator[AuditEntry]:
    while rows := tx.rows(_from, after=after):
        for row in rows:
            entry = _entry(row)
            yield entry
            after = entry.number or after


# --- reading ------------------------------------------------------------------------------------------------------

FILTERS: Final = ("action", "resource", "object_id", "project_id", "user_id", "user_name", "request_id")
"""What a list can be filtered by."""


@statement
def _page(names: tuple[str, ...], marked: bool) -> Statement:
    ways = [AUDIT.c[name] == bindparam(f"with_{name}") for name in names]
    ways += [AUDIT.c.id < bindparam("marker")] if marked else []
    query = select(*_columns).where(and_(true(), *ways)).order_by(AUDIT.c.id.desc())
    return Statement(query.limit(bindparam("most", type_=None)))


def page(tx: Transaction, filters: Mapping[str, str], most: int, marker: str | None = None) -> list[AuditEntry]:
    """The newest entries that a filter selects, the newest one first; with `marker` those before that entry."""
    values = {f"with_{name}": value for name, value in filters.items()}
    found = tx.rows(_page(tuple(sorted(filters)), marker is not None), most=most, marker=marker, **values)
    return [_entry(row) for row in found]
