"""(desired, what charon holds) -> what to load and retire, and what the guard has to cover before and after.

Names carry a digest of what charon was told (`core.ike`), so comparing names compares configurations. A connection that
runs but is neither desired nor named gone stays: absence never deletes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from linkspan.core import ike, rollout
from linkspan.core.desired import Connection
from linkspan.core.observed import Backend
from linkspan.core.rollout import Life


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """`lives` are the connections after it; `retire` are names to end and unload; `load` and `keep` are uuids."""

    lives: dict[str, Life]
    retire: tuple[str, ...]
    load: tuple[str, ...]
    keep: tuple[str, ...]


def life(connection: Connection, backend: Backend) -> Life:
    """A connection as its gateway will run it: with a configuration, disabled, or with the reason why it cannot."""
    if not connection.enabled:
        return rollout.born(connection, None, "")
    error = ike.unsupported(connection, backend)
    return rollout.born(connection, None if error else ike.build(connection), error)


def reconcile(
    lives: Mapping[str, Life],
    desired: Mapping[str, Connection],
    gone: Iterable[str],
    loaded: frozenset[str],
    backend: Backend,
) -> Plan:
    """What makes charon hold exactly the desired connections, touching none that is as desired."""
    after: dict[str, Life] = {}
    for id, connection in desired.items():
        old = lives.get(id)
        if old is not None and old.connection is connection:
            after[id] = old
            continue
        new = life(connection, backend)
        same = old is not None and old.config is not None and new.config is not None
        if old is not None and same and old.config == new.config:
            new = rollout.again(old, connection)
        after[id] = new
    wanted = {id: life.config.name for id, life in after.items() if life.config}
    stay = frozenset(wanted.values())
    ours = after.keys() | frozenset(gone)
    retire = tuple(sorted(name for name in loaded - stay if ike.connection_id(name) in ours))
    load = tuple(id for id, name in wanted.items() if name not in loaded)
    keep = tuple(id for id, name in wanted.items() if name in loaded and not after[id].applied)
    return Plan(lives=after, retire=retire, load=load, keep=keep)
