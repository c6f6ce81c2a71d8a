"""Dead peer detection (RFC 3706, RFC 7296 2.4): when the peer of a connection is dead, and what follows.

charon sends the probes; this module decides, in the same way for IKEv1 and IKEv2. Liveness is kept for each IKE SA that
carries the connection, because a restarted peer may answer in a new IKE SA and never again in the previous one. A
connection *gives up* an IKE SA at its own deadline; the IKE SA is deleted when every connection in it has given it up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.state.desired import Connection
from linkspan.core.tunnel.sas import IkeSa

WaitMode = Literal["", "peer", "trap"]
"""The event that a connection with a dead peer waits for before it initiates: none, the peer's own attempt, traffic."""

DEAD_FOR_ANOTHER = "the peer is dead for another connection, whose dpd action is restart-by-peer"
"""The reason of a connection that is down because of another connection's DPD action."""
_WAITS: dict[WaitMode, str] = {
    "": "",
    "peer": "; dpd action clear: waits for the peer",
    "trap": "; dpd action hold: waits for traffic",
}


class LastSeen(msgspec.Struct, frozen=True):
    """Time of the last authenticated packet in one IKE SA, seconds, and whether a probe has been sent since."""

    at: float
    probed: bool = False


class DpdState(msgspec.Struct, frozen=True, kw_only=True):
    """Liveness of a connection's peer. Keys are unique ids of the IKE SAs that carry the connection."""

    last_seen: Mapping[int, LastSeen] = msgspec.field(default_factory=dict)
    given_up: frozenset[int] = frozenset()
    waits_for: WaitMode = ""


_set = msgspec.structs.replace


def peer_seen(state: DpdState, unique_id: int, now: float) -> DpdState:
    """The state after an authenticated packet in an IKE SA (0: in any of them)."""
    last_seen = {id: LastSeen(now) if unique_id in (0, id) else seen for id, seen in state.last_seen.items()}
    return _set(state, last_seen=last_seen, given_up=state.given_up - {unique_id})


def probe_sent(state: DpdState, unique_id: int) -> DpdState:
    """The state after a probe in an IKE SA (0: in any of them)."""
    last_seen = {id: _set(seen, probed=True) if unique_id in (0, id) else seen for id, seen in state.last_seen.items()}
    return _set(state, last_seen=last_seen)


def forget_probes(state: DpdState) -> DpdState:
    """The state without probes, since answers may have been missed: the next probe counts."""
    return _set(state, last_seen={id: _set(seen, probed=False) for id, seen in state.last_seen.items()})


def resume(state: DpdState) -> DpdState:
    """The state after an act of the peer or the user: the connection waits for nothing."""
    return _set(state, waits_for="") if state.waits_for else state


def deadline(state: DpdState, timeout: float) -> float | None:
    """Time by which the first unanswered probe must be answered; None without one."""
    return min((seen.at + timeout for seen in state.last_seen.values() if seen.probed), default=None)


def check_liveness(
    state: DpdState, sas: tuple[IkeSa, ...], children: frozenset[str], timeout: float, now: float
) -> tuple[DpdState, frozenset[int]]:
    """The state after a listing of the IKE SAs, and the unique ids of those whose peer is dead now.

    Only IKE SAs with one of these `children` count. A new IKE SA is a sign that the peer lives, and so is inbound ESP
    of any child of the IKE SA.
    """
    last_seen: dict[int, LastSeen] = {}
    dead: set[int] = set()
    for sa in sas:
        if sa.unique_id in state.given_up or not sa.installed & children:
            continue
        seen = state.last_seen.get(sa.unique_id, LastSeen(now))
        if seen.probed and now >= seen.at + timeout:
            idle = min((child.idle_in for child in sa.children if child.idle_in >= 0), default=timeout)
            if idle >= timeout:
                dead.add(sa.unique_id)
                continue
            seen = LastSeen(now - idle, probed=True)
        last_seen[sa.unique_id] = seen
    listed = {sa.unique_id for sa in sas}
    return _set(state, last_seen=last_seen, given_up=(state.given_up & listed) | dead), frozenset(dead)


def mark_dead(state: DpdState, unique_ids: frozenset[int], waits_for: WaitMode) -> DpdState:
    """The state after these IKE SAs are given up."""
    last_seen = {id: seen for id, seen in state.last_seen.items() if id not in unique_ids}
    return _set(state, last_seen=last_seen, given_up=state.given_up | unique_ids, waits_for=waits_for)


def wait_mode(connection: Connection, traps: bool) -> WaitMode:
    """The event that the connection waits for once its peer is dead. `traps`: traffic can make charon initiate here.

    Without traps, hold acts as restart. A response-only connection never initiates, so it has nothing to wait for.
    """
    if connection.initiator == "response-only":
        return ""
    match connection.dpd.action:
        case "clear":
            return "peer"
        case "hold" if traps:
            return "trap"
    return ""


def reason(connection: Connection, waits_for: WaitMode) -> str:
    """The reason of a connection whose peer is dead."""
    text = f"the peer did not answer for {connection.dpd.timeout} s (dead peer detection)"
    if connection.initiator == "response-only":
        return f"{text}; waits for the peer to initiate (initiator is response-only)"
    return text + _WAITS[waits_for]


def all_gave_up(sa: IkeSa, states: Mapping[str, tuple[Connection, DpdState]]) -> bool:
    """True if every connection in an IKE SA has given it up. Keys of `states` are uuids of connections.

    A connection without dead peer detection has no vote: it shares the fate of the others. Nor has one whose children
    are being deleted: it does not watch this IKE SA any more, and a dead peer never answers the deletion.
    """
    owners = {ipsec_config.owner_of(name) for name in sa.installed}
    return all(
        sa.unique_id in state.given_up or connection.dpd.action == "disabled"
        for connection, state in (states[owner] for owner in owners & states.keys())
    )
