"""Stray SAs: what charon lists although no desired version of an enabled connection needs it. Pure.

Unloading an IKE connection does not end its IKE SAs, and an IKE SA keeps the configuration that it was negotiated with:
inside it the peer can create children of connections that were deleted, disabled or edited. So the SAs that charon
lists are compared with what is needed, not only what it has loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.tunnel.actions import DeleteChildSa, DeleteIkeSa
from linkspan.core.tunnel.sas import UNNAMED, IkeSa

PATIENCE = 10.0
"""Seconds that the peer has to answer the deletion of a stray child. Then its IKE SA is deleted, for which charon needs
no answer."""
REPEATS = 3
"""Number of times that new stray children of one name are found after which their IKE SA is deleted: the peer creates
them again and again. Those that are found together count once: a child that was rekeyed is listed beside its successor
for some seconds, and each end may have created one."""
UNDECIDED = 1.0
"""Seconds for which an IKE SA stays while this end waits for the answer to its authentication: the peer may have it
already, and is told of a deletion only once it is up here too."""
MEMORY = 600.0
"""Seconds after which a request no longer counts towards `REPEATS`."""

CONNECTING = "CONNECTING"
"""charon's state of an IKE SA that is negotiated."""
DELETING = "DELETING"
"""charon's state of an SA while it waits for the peer's answer to its deletion."""
Deletion = DeleteIkeSa | DeleteChildSa
Requests = Mapping[tuple[int, str], Mapping[int, float]]
"""Times at which the deletion of stray children was requested, by unique id. Keys: the IKE SA and the child's name; an
empty one for the IKE SA itself, and when it was first found undecided."""


class Needed(msgspec.Struct, frozen=True):
    """What may be listed: `children` and `ike_connections` by name, and everything of the connections in `spared`."""

    children: frozenset[str]
    ike_connections: frozenset[str]
    spared: frozenset[str] = frozenset()

    def needs(self, child: str) -> bool:
        """True if a child of this name is no stray."""
        return child in self.children or ipsec_config.owner_of(child) in self.spared


class Stray(msgspec.Struct, frozen=True):
    """An IKE SA with its stray children only. `entire`: nothing that is needed is in it."""

    sa: IkeSa
    entire: bool


def strays(sas: Iterable[IkeSa], needed: Needed) -> tuple[Stray, ...]:
    """The IKE SAs with stray children, and those without children whose IKE connection is not needed.

    An IKE SA stays for a child that is needed, also if its own connection is gone. One that charon has not named yet
    belongs to no connection. Children that are being deleted are strays if their IKE SA has no others: then nobody
    notices that the peer is dead, and never answers.
    """
    found: list[Stray] = []
    for sa in sas:
        is_unwatched = all(child.state == DELETING for child in sa.children)
        children = tuple(child for child in sa.children if is_unwatched or not needed.needs(child.name))
        entire = not any(needed.needs(child.name) for child in sa.children)
        is_idle = not sa.children and sa.name != UNNAMED and sa.name not in needed.ike_connections
        if children or is_idle:
            found.append(Stray(msgspec.structs.replace(sa, children=children), entire))
    return tuple(found)


def deletions(found: Iterable[Stray], requests: Requests, now: float) -> tuple[tuple[Deletion, ...], Requests]:
    """The deletions of strays to request now, and all requests afterwards.

    A child's deletion is requested once. The IKE SA, which carries others, is deleted if the peer does not answer, or
    if the child comes again and again. One that is undecided stays for a while.
    """
    actions: list[Deletion] = []
    after = {key: dict(times) for key, times in requests.items() if now < max(times.values()) + MEMORY}
    for stray in found:
        sa = stray.sa
        if _is_undecided(sa):
            after.setdefault((sa.unique_id, ""), {}).setdefault(sa.unique_id, now)
            if _is_awaited(sa, after, now):
                continue
        fresh: list[Deletion] = []
        hopeless = stray.entire
        for child in sa.children:
            times = after.setdefault((sa.unique_id, child.name), {})
            if child.unique_id not in times:
                times[child.unique_id] = now
                fresh += [] if child.state == DELETING else [DeleteChildSa(child.unique_id)]
            hopeless |= len(set(times.values())) >= REPEATS or now >= times[child.unique_id] + PATIENCE
        actions += [DeleteIkeSa(sa.unique_id)] if hopeless else fresh
    return tuple(actions), after


def awaits_answer(found: Iterable[Stray], requests: Requests, now: float) -> bool:
    """True while one of these strays stays because it is undecided."""
    return any(_is_awaited(stray.sa, requests, now) for stray in found)


def _is_awaited(sa: IkeSa, requests: Requests, now: float) -> bool:
    since = requests.get((sa.unique_id, ""), {}).get(sa.unique_id)
    return _is_undecided(sa) and since is not None and now < since + UNDECIDED


def _is_undecided(sa: IkeSa) -> bool:
    return sa.state == CONNECTING and sa.initiator and sa.answered


def is_retained(sas: Iterable[IkeSa], loaded: Iterable[str], needed: Needed) -> bool:
    """True if an IKE connection that leaves has to stay loaded for its IKE SAs.

    `loaded`: names of its children. It stays while an IKE SA carries something that is needed, if it has nothing else:
    should its own connection come back, replacing it in place lets the peer use that IKE SA for it again.
    """
    carries = any(needed.needs(child.name) for sa in sas for child in sa.children)
    return carries and all(needed.needs(name) for name in loaded)


def owners(found: Iterable[Stray]) -> frozenset[str]:
    """The uuids of the connections that strays belong to."""
    return frozenset(ipsec_config.owner_of(child.name) for stray in found for child in stray.sa.children)
