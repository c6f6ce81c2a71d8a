"""Attempts of a peer that failed here: the connections that one was meant for, and its cause in words. Pure.

charon does not say which connection a refused first packet was meant for. Its address says it, since a responder finds
its configurations by addresses first; of several connections to that address, those are left out that the attempt
cannot have been meant for.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

import msgspec

from linkspan.core.diagnosis.codes import NOTHING, Code, Details
from linkspan.core.state.desired import Connection
from linkspan.core.tunnel.cause_context import VERSIONS, is_called
from linkspan.core.tunnel.charon_events import Cause, PeerRefused

REPEATED = 5.0
"""Seconds within which an equal failure does not change the reason: forged packets must not cause a report each."""

MAY_BE_MEANT = 4
"""Connections that a call from an unknown address may have been meant for, at most: those that wait for their peers."""


class FailedAttempt(msgspec.Struct, frozen=True):
    """The newest attempt of the peer that failed: the cause in words, its time in seconds since the epoch, its code."""

    text: str
    at: float
    code: Code
    details: Details = NOTHING


def concerned(event: PeerRefused, connections: Iterable[Connection]) -> list[Connection]:
    """The connections that a refused attempt may have been meant for: those that are switched off hear no calls."""
    connections = tuple(connection for connection in connections if connection.enabled)
    found = [connection for connection in connections if connection.peer_address == event.address]
    if event.code == "UNKNOWN_SOURCE":
        return _unexpected(event, found) if found else _waiting(connections)
    found = [one for one in found if event.version in (0, VERSIONS[one.ike.ike_version])]
    return [one for one in found if is_called(one.peer_id, event.calls_itself)] or found


def _unexpected(event: PeerRefused, found: Iterable[Connection]) -> list[Connection]:
    """charon knows the address and looks for the version too. Which one that was may arrive later."""
    return [one for one in found if event.version and VERSIONS[one.ike.ike_version] != event.version]


def _waiting(connections: Iterable[Connection]) -> list[Connection]:
    """Those that wait for a peer, which may call from another address than the one that they expect."""
    waiting = [one for one in connections if one.initiator == "response-only"]
    return waiting if len(waiting) <= MAY_BE_MEANT else []


def newest(before: FailedAttempt | None, cause: Cause, at: float) -> FailedAttempt:
    """The newest failed attempt; the one before if it is equal and has just been."""
    if before and before.text == cause.text and 0 <= at - before.at < REPEATED:
        return before
    return FailedAttempt(cause.text, at, cause.code, cause.details)


def reason(attempt: FailedAttempt, other: str) -> str:
    """The reason of a tunnel that is not up after an attempt of its peer; `other`: its reason apart from that."""
    time = dt.datetime.fromtimestamp(attempt.at, dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    if other:
        return f"{other}; the peer's own attempt failed at {time}: {attempt.text}"
    return f"{attempt.text}; the peer's last attempt was at {time}"
