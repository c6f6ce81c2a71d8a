"""Dead peer detection (RFC 3706, RFC 7296 2.4): when a peer is dead for a connection, and what follows. Pure.

charon asks, this decides, in the same way for IKEv1 and IKEv2. Signs of life are kept for each IKE SA that carries the
connection: a peer that was restarted may answer in a new one and never again in the one before. An IKE SA that is dead
is *given up* by its connection at the connection's own deadline; it ends when every connection in it has given it up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from linkspan.core import ike
from linkspan.core.desired import Connection
from linkspan.core.facts import IkeSa

Rest = Literal["", "peer", "trap"]
"""What a connection waits for after its peer was declared dead, before it initiates: nothing, its peer, its traffic."""

ABANDONED = "the peer gave no sign of life to another connection, whose dpd action is restart-by-peer"
"""Why a connection is down that was taken along."""
_WAITS: dict[Rest, str] = {
    "": "",
    "peer": "; dpd action clear: waits for the peer",
    "trap": "; dpd action hold: waits for traffic",
}


class Sign(msgspec.Struct, frozen=True):
    """The last authenticated sign of life in one IKE SA, in seconds, and whether a question is out since."""

    at: float
    asked: bool = False


class Watch(msgspec.Struct, frozen=True, kw_only=True):
    """What a connection knows of its peer's life; keys are numbers of IKE SAs that carry it."""

    signs: Mapping[int, Sign] = msgspec.field(default_factory=dict)
    given_up: frozenset[int] = frozenset()
    rest: Rest = ""


_set = msgspec.structs.replace


def alive(watch: Watch, number: int, now: float) -> Watch:
    """The peer gave an authenticated sign in an IKE SA (0: in whichever), which nobody gives up any more."""
    heard = {one: Sign(now) if number in (0, one) else sign for one, sign in watch.signs.items()}
    return _set(watch, signs=heard, given_up=watch.given_up - {number})


def asked(watch: Watch, number: int) -> Watch:
    """A question to the peer is out in an IKE SA (0: in whichever)."""
    signs = {one: _set(sign, asked=True) if number in (0, one) else sign for one, sign in watch.signs.items()}
    return _set(watch, signs=signs)


def unheard(watch: Watch) -> Watch:
    """Answers may have been missed: no question counts any more until the next one."""
    return _set(watch, signs={one: _set(sign, asked=False) for one, sign in watch.signs.items()})


def awake(watch: Watch) -> Watch:
    """The peer or the user has acted: the connection rests no more."""
    return _set(watch, rest="") if watch.rest else watch


def deadline(watch: Watch, timeout: float) -> float | None:
    """When the first unanswered question has to be answered; None if there is none."""
    return min((sign.at + timeout for sign in watch.signs.values() if sign.asked), default=None)


def look(
    watch: Watch, sas: tuple[IkeSa, ...], names: frozenset[str], timeout: float, now: float
) -> tuple[Watch, frozenset[int]]:
    """What is known after a look at the IKE SAs, and which of them are dead now; `names` are the children that count.

    An IKE SA that was not seen before is a sign of life, and so is inbound ESP of any of its children.
    """
    signs: dict[int, Sign] = {}
    dead: set[int] = set()
    for sa in sas:
        if sa.unique_id in watch.given_up or not sa.installed & names:
            continue
        sign = watch.signs.get(sa.unique_id, Sign(now))
        if sign.asked and now >= sign.at + timeout:
            idle = min((child.idle_in for child in sa.children if child.idle_in >= 0), default=timeout)
            if idle >= timeout:
                dead.add(sa.unique_id)
                continue
            sign = Sign(now - idle, asked=True)
        signs[sa.unique_id] = sign
    there = {sa.unique_id for sa in sas}
    return _set(watch, signs=signs, given_up=(watch.given_up & there) | dead), frozenset(dead)


def buried(watch: Watch, numbers: frozenset[int], rest: Rest) -> Watch:
    """These IKE SAs are given up, and it waits for what `rest` says."""
    signs = {one: sign for one, sign in watch.signs.items() if one not in numbers}
    return _set(watch, signs=signs, given_up=watch.given_up | numbers, rest=rest)


def rest(connection: Connection, traps: bool) -> Rest:
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


def reason(connection: Connection, waits: Rest) -> str:
    """Why the connection is down, for its user."""
    text = f"the peer gave no sign of life for {connection.dpd.timeout} s (dead peer detection)"
    if connection.initiator == "response-only":
        return f"{text}; waits for the peer to initiate (initiator is response-only)"
    return text + _WAITS[waits]


def deserted(sa: IkeSa, watches: Mapping[str, tuple[Connection, Watch]]) -> bool:
    """Whether nobody waits for the peer in this IKE SA any more; keys of `watches` are uuids of connections.

    A connection without dead peer detection has no say: it goes with those that have.
    """
    owners = {ike.subject(child.name) for child in sa.children}
    return all(
        sa.unique_id in watch.given_up or connection.dpd.action == "disabled"
        for connection, watch in (watches[owner] for owner in owners & watches.keys())
    )
