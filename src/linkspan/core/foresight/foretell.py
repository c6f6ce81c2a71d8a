"""Foretells what a change of the desired state does to each connection of a gateway. Pure.

The gateway before the change and after it are given to `core.tunnel.reconcile`, by which the agent changes it, and the
tunnels that result are compared. So what is foretold and what is done have one source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from linkspan.core.foresight import settled, words
from linkspan.core.foresight.effects import GatewayState, Outlook, Running
from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.ipsec import succession
from linkspan.core.ipsec.selectors import SelectorPair, named_pairs
from linkspan.core.state.credentials import TrustAnchor
from linkspan.core.state.desired import Connection
from linkspan.core.tunnel import fallback, listing
from linkspan.core.tunnel.tunnel import Tunnel, Tunnels, may_initiate

RENEGOTIATION: Final = 1.0
"""Seconds of an interruption: the deletes, and the exchanges of a new IKE SA."""

RevokesMore = Callable[[TrustAnchor, TrustAnchor], bool]
"""True if the second of two states of a trust anchor revokes certificates that the first did not."""


def foretell(
    before: GatewayState, after: GatewayState, running: Running, revokes_more: RevokesMore = lambda _old, _new: False
) -> dict[str, Outlook]:
    """The effect of a change on each connection of either state, by uuid."""
    tunnels, plan = settled.settled(before, running)
    gone = frozenset(tunnels.keys() - after.connections.keys())
    then = settled.after(after, gone, tunnels, plan, running).tunnels
    taken = _newly_superseded(before, after, running)
    outlooks: dict[str, Outlook] = {}
    for id in sorted(tunnels.keys() | then.keys()):
        old, new = before.connections.get(id), after.connections.get(id)
        changed = words.differences(old, new) if old and new else ()
        outlook = _superseded(id, then, taken) or _outlook(tunnels.get(id), then.get(id), changed, running)
        if outlook.effect == "nothing" and id in running.up and _rechecked(old, new, revokes_more):
            outlook = Outlook("rekey", words.RECHECKED)
        outlooks[id] = Outlook(outlook.effect, outlook.reason, outlook.seconds, outlook.by, changed)
    return outlooks


def _outlook(old: Tunnel | None, new: Tunnel | None, changed: tuple[str, ...], running: Running) -> Outlook:
    if new is None:
        assert old is not None
        was = old.config is not None
        return Outlook("goes down", words.DELETED) if was else Outlook("nothing", words.WAS_DOWN)
    if new.config is None:
        was = old is not None and old.config is not None
        return Outlook("goes down" if was else "nothing", words.absence(new))
    if not running.has_node:
        return Outlook("nothing" if old else "comes up", words.NO_NODE)
    if old is None or old.config is None or not old.up:
        if old and old.config and ipsec_config.same_version(old.config, new.config):
            return Outlook("nothing", words.at_once(changed))
        return Outlook("comes up", words.attempt(new, old))
    return _edited(old, new, changed)


def _edited(old: Tunnel, new: Tunnel, changed: tuple[str, ...]) -> Outlook:
    """The effect on a connection that is up and is to be up afterwards."""
    assert old.config
    assert new.config
    if new.up:
        if reason := words.part_closed(old, new):
            return Outlook("interruption", reason)
        return Outlook("nothing", words.at_once(changed))
    if new.previous and new.previous.up:
        ends_at = listing.distrusted_at(new, new.config, 0.0)
        return Outlook("make-before-break", words.replacement(old, new, changed, ends_at))
    waits = not may_initiate(new)
    elsewhere = not fallback.same_peer(old.config, new.config)
    return Outlook("interruption", words.interruption(changed, elsewhere, waits), None if waits else RENEGOTIATION)


def _newly_superseded(
    before: GatewayState, after: GatewayState, running: Running
) -> dict[str, dict[SelectorPair, str]]:
    """The pairs that newer connections will carry after the change and did not before, by uuid of the older one."""
    old, new = (succession.successors(_able(state, running)) for state in (before, after))
    return {
        id: fresh
        for id, pairs in new.items()
        if id in before.connections
        and (fresh := {pair: by for pair, by in pairs.items() if old.get(id, {}).get(pair) != by})
    }


def _able(state: GatewayState, running: Running) -> Iterable[Connection]:
    """The connections that the node can run: others supersede none."""
    for connection in settled.effective(state).values():
        if not ipsec_config.unsupported(connection, running.backend, running.capabilities):
            yield connection


def _superseded(id: str, after: Tunnels, taken: Mapping[str, Mapping[SelectorPair, str]]) -> Outlook | None:
    """The effect on a connection whose traffic newer ones take over; None if they do not."""
    if id not in taken:
        return None
    connection = after[id].connection
    newer = tuple(sorted(set(taken[id].values())))
    titles = ", ".join(succession.title(after[other].connection) for other in newer)
    total, count = len(named_pairs(connection)), len(taken[id])
    part = "" if count == total else f"for {count} of {total} pairs of networks "
    return Outlook("superseded", f"{part}by {titles}, once that is up", by=newer)


def _rechecked(old: Connection | None, new: Connection | None, revokes_more: RevokesMore) -> bool:
    """True if the peer of a connection is to be authenticated anew."""
    if not (old and new and old.certificates and new.certificates):
        return False
    return revokes_more(old.certificates.anchor, new.certificates.anchor)
