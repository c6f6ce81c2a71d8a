"""An earlier configuration of a connection, brought back: the plan of a rollback, and its writes.

Policies are shared. One that has other values now is changed back only if no other connection uses it; otherwise the
connection gets one that has the wanted values: an equal one of its project, or a new one. Everything is written first
and then checked as an update is, since no order of single updates is always right.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from linkspan.api.http.caller import Caller
from linkspan.api.resources.collection import Hooks, find, read_again
from linkspan.api.resources.connection_credentials import REFERENCES
from linkspan.api.resources.vpn import Connections, Policies
from linkspan.core.authorization import policy
from linkspan.core.checks import cross_resource
from linkspan.core.errors import ApiError
from linkspan.core.schema import configurations, node_relevance
from linkspan.core.schema.configurations import PARTS, Configuration, ReferencedPart
from linkspan.core.schema.list_query import Query
from linkspan.core.schema.resources import CONNECTION, IKE_POLICY, IPSEC_POLICY
from linkspan.core.secret import Secret
from linkspan.store.database.errors import Conflict
from linkspan.store.rows import connection_revisions, dependencies, reading
from linkspan.store.rows.row import Row
from linkspan.store.transaction import Transaction, Values

_BY: Final = {"ikepolicy_id": "ike_policy", "ipsecpolicy_id": "ipsec_policy"}
_LONGEST_NAME: Final = 255


class Settled(msgspec.Struct, frozen=True):
    """The object that a connection is to reference. `edit`: the values to write to it first; `note`: a sentence for the
    user, empty if the object is the one of that time."""

    row: Row | None
    edit: Mapping[str, Any] = {}
    note: str = ""


class RolledBack(msgspec.Struct, frozen=True):
    """What a rollback did: the connection, the fields that have changed, and sentences on what stands in for what."""

    row: Row
    fields: tuple[str, ...]
    notes: tuple[str, ...]


class Rollback:
    """Brings configurations back. `hooks`: of the VPN resources, by name; `quotas`: the defaults."""

    def __init__(self, hooks: Mapping[str, Hooks], quotas: Mapping[str, int]) -> None:
        self._hooks = hooks
        self._quotas = quotas

    def restore(self, tx: Transaction, caller: Caller, row: Row, wanted: Configuration) -> RolledBack:
        """Gives a connection, which is locked, an earlier configuration. Raises ApiError."""
        number, id = wanted.number, row["id"]
        before = connection_revisions.present(tx, id)
        former_ike = reading.get(tx, IKE_POLICY, row["ikepolicy_id"])
        settled = {part.reference: self._settle(tx, caller, row, part, wanted) for part in PARTS}
        values = self._values(tx, caller, row, wanted)
        values |= {name: None if of.row is None else of.row["id"] for name, of in settled.items()}
        values = node_relevance.differences(row, values)
        edits = {name: of for name, of in settled.items() if of.edit}
        if not values and not edits:
            raise ApiError("RollbackConflict", f"Nothing would change: revision {number} is what the connection has")
        policy.require_values(caller, "update", CONNECTION, row, values)
        if values:
            # Before any write: the policies' edits would be revisions of their own.
            connection_revisions.keep(tx, [id])
        for part in PARTS:
            if part.reference in edits:
                self._policies(part).rewrite(tx, _row(edits[part.reference]), dict(edits[part.reference].edit))
        self._rewrite(tx, caller, row, values, former_ike)
        after = connection_revisions.present(tx, id)
        notes = tuple(of.note for of in settled.values() if of.note)
        return RolledBack(read_again(tx, CONNECTION, id), configurations.differences(before, after), notes)

    def _rewrite(self, tx: Transaction, caller: Caller, row: Row, values: Values, former_ike: Row | None) -> None:
        ids = {name: values.get(name, row[name]) for name in _BY}
        ike = read_again(tx, IKE_POLICY, ids["ikepolicy_id"])
        ipsec = read_again(tx, IPSEC_POLICY, ids["ipsecpolicy_id"])
        cross_resource.check_policy_pair(ike, ipsec)
        connections = self._hooks[CONNECTION.name]
        assert isinstance(connections, Connections)
        connections.rewrite(tx, caller, row, values, former_ike)

    def _policies(self, part: ReferencedPart) -> Policies:
        hooks = self._hooks[part.resource.name]
        assert isinstance(hooks, Policies)
        return hooks

    # --- the connection's own attributes ------------------------------------------------------------------------

    def _values(self, tx: Transaction, caller: Caller, row: Row, wanted: Configuration) -> Values:
        """The attributes of a kept configuration, converted as an update's, as the settings may have changed."""
        secrets, fault = connection_revisions.secrets(tx, row["id"], wanted.number)
        if fault:
            raise ApiError("RollbackConflict", f"Revision {wanted.number} cannot be brought back: {fault}")
        raw = {name: value for name, value in wanted.values.items() if name not in _BY}
        _check_references(tx, caller, raw, wanted.number)
        raw |= {name: secret.reveal() for name, secret in secrets.items() if secret is not None}
        values = self._hooks[CONNECTION.name].attributes.for_update(raw, row)
        absent: dict[str, Secret | None] = {name: None for name, secret in secrets.items() if secret is None}
        return values | absent

    # --- what it references -------------------------------------------------------------------------------------

    def _settle(
        self, tx: Transaction, caller: Caller, row: Row, part: ReferencedPart, wanted: Configuration
    ) -> Settled:
        """Finds or makes the object of that time, or one with its values."""
        id = wanted.values[part.reference]
        if id is None:
            return Settled(None)
        values = wanted.parts[part.reference]
        names = tuple(attribute.name for attribute in part.attributes)
        there = find(tx, part.resource, id, caller)
        if there is not None and _equal(there, values, names):
            return Settled(there)
        if there is not None and id == row[part.reference] and self._is_own(tx, caller, row, part, there):
            return Settled(there, {name: values[name] for name in names if there[name] != values[name]})
        title = f"{part.resource.label} {there['name'] or id if there else values['name'] or id}"
        why = "is used by others too and stays as it is" if there else "is gone"
        equal = self._equal_one(tx, caller, row, part, values, names)
        if equal is not None:
            return Settled(equal, note=f"{title} {why}: {equal['name'] or equal['id']} has the same values")
        name = f"{values['name']} of revision {wanted.number}".strip()[-_LONGEST_NAME:]
        made = {"project_id": row["project_id"], "name": name, "description": "", **{n: values[n] for n in names}}
        policy.require(caller, "create", part.resource, made)
        hooks = self._hooks[part.resource.name]
        created = hooks.create(tx, caller, made, made)
        hooks.after_create(tx, [created], self._quotas)
        return Settled(created, note=f"{title} {why}: '{name}' was made with its values of revision {wanted.number}")

    def _is_own(self, tx: Transaction, caller: Caller, row: Row, part: ReferencedPart, there: Row) -> bool:
        """True if a policy may be changed back: no other connection has it, and the caller may."""
        if part.reference not in _BY or not policy.allows(caller, "update", part.resource, there):
            return False
        return dependencies.connections_using(tx, **{_BY[part.reference]: there["id"]}) == [row["id"]]

    def _equal_one(
        self,
        tx: Transaction,
        caller: Caller,
        row: Row,
        part: ReferencedPart,
        values: Mapping[str, Any],
        names: tuple[str, ...],
    ) -> Row | None:
        """An object of the connection's project with these values."""
        if policy.scope(caller, "get", part.resource) == "nothing":
            return None
        filters = {a.name: (values[a.name],) for a in part.attributes if a.filterable}
        query = Query(filters=filters | {"project_id": (row["project_id"],)}, sort=(("id", False),))
        found = reading.iterate(tx, part.resource, query)
        return next((each for each in list(found) if _equal(each, values, names)), None)


def lock_policies(tx: Transaction, row: Row) -> None:
    """Locks the policies of a connection before the connection itself, as their own edits do."""
    for reference, resource in (("ikepolicy_id", IKE_POLICY), ("ipsecpolicy_id", IPSEC_POLICY)):
        reading.get(tx, resource, row[reference], lock=True)


def require_same_policies(seen: Row, locked: Row) -> None:
    """Raises `Conflict` if a connection has got other policies before it was locked."""
    if any(seen[name] != locked[name] for name in _BY):
        raise Conflict("the connection has got another policy meanwhile")


def _equal(row: Row, values: Mapping[str, Any], names: tuple[str, ...]) -> bool:
    return all(row[name] == values[name] for name in names)


def _row(settled: Settled) -> Row:
    assert settled.row is not None
    return settled.row


def _check_references(tx: Transaction, caller: Caller, values: Mapping[str, Any], number: int) -> None:
    """Raises ApiError if a certificate or trust anchor of a kept configuration is gone."""
    for name, resource in REFERENCES.items():
        if values[name] is not None and find(tx, resource, values[name], caller) is None:
            text = f"Revision {number} cannot be brought back: {resource.label} {values[name]} of it is gone"
            raise ApiError("RollbackConflict", text)
