"""The order in which charon has installed child SAs: it sends through the last one. Pure; times in seconds.

A unique id says when a child was begun. Of two rekeys at the same time, the one that was begun first may end last; and
the responder of a rekey sends by the new child only once its peer has deleted the old one. charon logs a line when it
can send by a child (`charon_events.ChildInstalled`). A child without such a line was installed before the agent
listened, or while it did not read the log; its unique id is its place.

The order of two lines within SAME seconds is not known: charon gives each to a thread of its own (`vici_logger.c`).
"""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterable, Mapping

import msgspec

from linkspan.core.tunnel.sas import IkeSa

SAME: float = 1.0
"""Seconds within which charon's log does not show which of two children was installed last."""
LIMIT = 256
"""Children that are remembered; others have their unique ids as their places."""

_set = msgspec.structs.replace


class Place(msgspec.Struct, frozen=True):
    """The place of a child. `highest`: the highest unique id of all children that were installed by then. `number`:
    counts the lines of the log. `seen_at`: when the line of this child was read."""

    unique_id: int
    highest: int
    number: int = 0
    seen_at: float | None = None

    def is_after(self, other: Place) -> bool:
        """True if this child was installed after the other one, as far as is known."""
        return (self.highest, self.number) > (other.highest, other.number)

    def is_beside(self, other: Place) -> bool:
        """True if both were installed so close together that the order is not known."""
        return None not in (self.seen_at, other.seen_at) and abs((self.seen_at or 0) - (other.seen_at or 0)) < SAME


NOWHERE = Place(0, 0)
"""The place of a child that is not listed."""


class InstallOrder(msgspec.Struct, frozen=True):
    """The order of the children of one charon. `highest`: their highest unique id. `number`: lines that were read.
    `seen`: places that the unique ids alone do not give."""

    highest: int = 0
    number: int = 0
    seen: Mapping[int, Place] = {}

    def place(self, unique_id: int) -> Place:
        """The place of a child."""
        return self.seen.get(unique_id) or Place(unique_id, unique_id)


def installed(order: InstallOrder, unique_id: int, now: float) -> InstallOrder:
    """The order after charon has logged that it can send by a child."""
    place = Place(unique_id, max(order.highest, unique_id), order.number + 1, now)
    kept = {id: other for id, other in order.seen.items() if id != unique_id and _is_needed(other, now)}
    newest = itertools.islice(kept.items(), max(0, len(kept) - LIMIT + 1), None)
    return InstallOrder(place.highest, place.number, {**dict(newest), unique_id: place})


def listed(order: InstallOrder, highest: int) -> InstallOrder:
    """The order after a listing of children with this highest unique id."""
    return _set(order, highest=highest) if highest > order.highest else order


class Installed(msgspec.Struct, frozen=True):
    """The installed children of one name. `first`: the one since which there has always been one; `last`: the newest
    one."""

    first: Place
    last: Place


InstalledChildren = tuple[tuple[str, Installed], ...]
"""By the name of the children."""


def installed_children(
    before: InstalledChildren, sas: Iterable[IkeSa], names: Container[str], order: InstallOrder
) -> InstalledChildren:
    """The installed children of these names after a listing."""
    known, found = dict(before), dict[str, Installed]()
    for child in (child for sa in sas for child in sa.children):
        if child.name in names and child.carries:
            place = order.place(child.unique_id)
            other = found.get(child.name) or Installed(known[child.name].first if child.name in known else place, place)
            found[child.name] = Installed(earlier(place, other.first), later(place, other.last))
    return tuple(sorted(found.items(), key=lambda item: item[0]))


def later(one: Place, other: Place) -> Place:
    """The later one of two places."""
    return one if one.is_after(other) else other


def earlier(one: Place, other: Place) -> Place:
    """The earlier one of two places."""
    return other if one.is_after(other) else one


def _is_needed(place: Place, now: float) -> bool:
    """True if a place differs from that of its unique id, or its time still counts."""
    return place.highest != place.unique_id or now - (place.seen_at or now) < SAME
