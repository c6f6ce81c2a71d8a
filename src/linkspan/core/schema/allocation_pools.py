"""The allocation pools of a subnet as clients write them: ranges of addresses, each with its first and last one.

This module checks the form. `core.checks.address_pool` checks whether the ranges fit their subnet.
"""

from __future__ import annotations

from typing import Any, Final

from linkspan.core.errors import invalid
from linkspan.core.schema.attribute_types import AttributeType, Column, IpAddress, Schema, check_keys, closed

MAX_POOLS: Final = 64
_ADDRESS: Final = IpAddress()


class AllocationPools(AttributeType, frozen=True):
    """A list of `{start, end}`."""

    @property
    def column(self) -> Column:
        return "json"

    def convert(self, name: str, value: Any) -> list[dict[str, str]]:
        if not isinstance(value, list):
            raise invalid(name, f"'{value}' is not a list of {{start, end}}")
        if len(value) > MAX_POOLS:
            raise invalid(name, f"at most {MAX_POOLS} are allowed, got {len(value)}")
        pools = []
        for pool in value:
            check_keys(name, pool, ("start", "end"))
            if len(pool) < 2:
                raise invalid(name, "a pool needs a start and an end")
            pools.append({end: _ADDRESS.convert(name, pool[end]) for end in ("start", "end")})
        return pools

    def schema(self) -> Schema:
        items = closed(start=_ADDRESS.schema(), end=_ADDRESS.schema())
        return {"type": "array", "items": items, "maxItems": MAX_POOLS}

    def shown(self) -> Schema:
        return {"type": "array", "items": closed(start=_ADDRESS.shown(), end=_ADDRESS.shown())}
