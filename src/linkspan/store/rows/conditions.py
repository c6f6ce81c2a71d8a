"""Conditions of list queries as SQL: see `core.schema.conditions`. Each operand has slots for its values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, not_, or_

from linkspan.core.schema.conditions import FIXED_IPS, Operands
from linkspan.core.schema.resources import NETWORK
from linkspan.store.database.statements import Parameters, fill_slots, in_slots, json_texts, slot_count, slots
from linkspan.store.database.tables import ADDRESS, TABLES

Counts = tuple[tuple[str, int], ...]
"""(operand, slots) pairs: the shape of the conditions of a query."""
_network = TABLES[NETWORK.name].alias("condition_network")


def shape(operands: Operands) -> Counts:
    """The shape of conditions, by which statements are kept."""
    return tuple((name, slot_count(list(operands[name]))) for name in sorted(operands))


def parameters(operands: Operands) -> Parameters:
    """The parameters of conditions."""
    values: Parameters = {}
    for name, given in operands.items():
        texts = [_pattern(text) for text in given] if name.endswith("_substr") else list(given)
        values |= fill_slots(_parameter(name), texts)
    return values


def clauses(table: Any, counts: Counts) -> list[ColumnElement[bool]]:
    """The conditions on the rows of a resource's table: all of them have to hold."""
    given = dict(counts)
    found: list[ColumnElement[bool]] = []
    if "shared" in given:
        shared = in_slots(_network.c.shared, _parameter("shared"), given["shared"])
        found.append(exists().where(_network.c.id == table.c.network_id, shared).correlate(table))
    found += _on_tags(table, given)
    if address := _on_address(given):
        found.append(exists().where(ADDRESS.c.port_id == table.c.id, *address).correlate(table))
    return found


def _on_tags(table: Any, given: Mapping[str, int]) -> Iterator[ColumnElement[bool]]:
    """What the tags of an object have to fulfil."""
    for name, count in given.items():
        if name not in ("tags", "tags-any", "not-tags", "not-tags-any"):
            continue
        has = [_has_tag(table, slot) for slot in slots(_parameter(name), count)]
        which = or_(*has) if name.endswith("-any") else and_(*has)
        yield not_(which) if name.startswith("not-") else which


def _has_tag(table: Any, tag: ColumnElement[str]) -> ColumnElement[bool]:
    tags = json_texts(table.c.tags)
    return exists().where(tags == tag).correlate(table)


def _on_address(given: Mapping[str, int]) -> list[ColumnElement[bool]]:
    """What one address of a port has to fulfil."""
    found: list[ColumnElement[bool]] = []
    for key in FIXED_IPS:
        operand = f"fixed_ips.{key}"
        if operand not in given:
            continue
        parameter, count = _parameter(operand), given[operand]
        if key == "ip_address_substr":
            found.append(or_(*(ADDRESS.c.ip_address.like(slot, escape="\\") for slot in slots(parameter, count))))
        else:
            found.append(in_slots(ADDRESS.c[key], parameter, count))
    return found


def _pattern(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def _parameter(operand: str) -> str:
    """A prefix for the names of parameters that no filter on a column has."""
    return f"on_{operand.replace('.', '_').replace('-', '_')}"
