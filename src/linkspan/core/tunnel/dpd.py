"""Dead peer detection (RFC 3706, RFC 7296 2.4): when a peer is dead for a connection, and what follows. Pure.

charon asks, this decides, in the same way for IKEv1 and IKEv2. Signs of life are kept for each IKE SA that carries the
connection: a peer that was restarted may answer in a new one and never again in the one before. An IKE SA that is dead
is *given up* by its connection at the connection's own deadline; it ends when every connection in it has given it up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.state.desired import Connection
from linkspan.core.tunnel.sas import IkeSa

WaitMode = Literal["", "peer", "trap"]
"""What a connection waits for after its peer was declared dead, before it initiates: nothing, its peer, its traffic."""

DEAD_FOR_ANOTHER = "the peer gave no sign of life to another connection, whose dpd action is restart-by-peer"
"""Why a connection is down that was taken along."""
_WAITS: dict[WaitMode, str] = {
    "": "",
    "peer": "; dpd action clear: waits for the peer",
    "trap": "; dpd action hold: waits for traffic",
}


class LastSeen(msgspec.Struct, frozen=True):
    """The last authenticated sign of life in one IKE SA, in seconds, and whether a question is out since."""

    at: float
    asked: bool = False


class DpdState(msgspec.Struct, frozen=True, kw_only=True):
    """What a connection knows of its peer's life; keys are numbers of IKE SAs that carry it."""

    signs: Mapping[int, LastSeen] = msgspec.field(default_factory=dict)
    given_up: frozenset[int] = frozenset()
    rest: WaitMode = ""


_set = msgspec.structs.replace


def peer_seen(watch: DpdState, number: int, now: float) -> DpdState:
    """The peer gave an authenticated sign in an IKE SA (0: in whichever), which nobody gives up any more."""
    heard = {one: LastSeen(now) if number in (0, one) else sign for one, sign in watch.signs.items()}
    return _set(watch, signs=heard, given_up=watch.given_up - {number})


def probe_sent(watch: DpdState, number: int) -> DpdState:
    """A question to the peer is out in an IKE SA (0: in whichever)."""
    signs = {one: _set(sign, asked=True) if number in (0, one) else sign for one, sign in watch.signs.items()}
    return _set(watch, signs=signs)


def forget_probes(watch: DpdState) -> DpdState:
    """Answers may have been missed: no question counts any more until the next one."""
    return _set(watch, signs={one: _set(sign, asked=False) for one, sign in watch.signs.items()})


def resume(watch: DpdState) -> DpdState:
    """The peer or the user has acted: the connection rests no more."""
    return _set(watch, rest="") if watch.rest else watch


def deadline(watch: DpdState, timeout: float) -> float | None:
    """When the first unanswered question has to be answered; None if there is none."""
    return min((sign.at + timeout for sign in watch.signs.values() if sign.asked), default=None)


def check_liveness(
    watch: DpdState, sas: tuple[IkeSa, ...], names: frozenset[str], timeout: float, now: float
) -> tuple[DpdState, frozenset[int]]:
    """What is known after a look at the IKE SAs, and which of them are dead now; `names` are the children that count.

    An IKE SA that was not seen before is a sign of life, and so is inbound ESP of any of its children.
    """
    signs: dict[int, LastSeen] = {}
    dead: set[int] = set()
    for sa in sas:
        if sa.unique_id in watch.given_up or not sa.installed & names:
            continue
        sign = watch.signs.get(sa.unique_id, LastSeen(now))
        if sign.asked and now >= sign.at + timeout:
            idle = min((child.idle_in for child in sa.children if child.idle_in >= 0), default=timeout)
            if idle >= timeout:
                dead.add(sa.unique_id)
                continue
            sign = LastSeen(now - idle, asked=True)
        signs[sa.unique_id] = sign
    there = {sa.unique_id for sa in sas}
    return _set(watch, signs=signs, given_up=(watch.given_up & there) | dead), frozenset(dead)


def mark_dead(watch: DpdState, numbers: frozenset[int], rest: WaitMode) -> DpdState:
    """These IKE SAs are given up, and it waits for what `rest` says."""
    signs = {one: sign for one, sign in watch.signs.items() if one not in numbers}
    return _set(watch, signs=signs, given_up=watch.given_up | numbers, rest=rest)


def wait_mode(connection: Connection, traps: bool) -> WaitMode:
    """What the connection waits for once its peer is dead; `traps`: whether traffic can make charon initiate here.

    Where it cannot, hold acts as restart. What is response-only never initiates and needs nothing to wait for.
    """
    if connection.initiator == "response-only":
        return ""
    match connection.dpd.action:
        case "clear":
            return "peer"
        case "hold" if traps:
            return "trap"
    return ""


def reason(connection: Connection, waits: WaitMode) -> str:
    """Why the connection is down, for its user."""
    text = f"the peer gave no sign of life for {connection.dpd.timeout} s (dead peer detection)"
    if connection.initiator == "response-only":
        return f"{text}; waits for the peer to initiate (initiator is response-only)"
    return text + _WAITS[waits]


def all_gave_up(sa: IkeSa, watches: Mapping[str, tuple[Connection, DpdState]]) -> bool:
    """Whether nobody waits for the peer in this IKE SA any more; keys of `watches` are uuids of connections.

    A connection without dead peer detection has no say: it goes with those that have.
    """
    owners = {ipsec_config.owner_of(child.name) for child in sa.children}
    return all(
        sa.unique_id in watch.given_up or connection.dpd.action == "disabled"
        for connection, watch in (watches[owner] for owner in owners & watches.keys())
    )
