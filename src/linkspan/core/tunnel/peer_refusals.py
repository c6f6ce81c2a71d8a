"""Attempts of a peer that failed here: the connections that one was meant for, and its cause in words. Pure.

charon does not say which connection a refused first packet was meant for. Its address says it, since a responder finds
its configurations by addresses first; of several connections to that address, those are left out that the attempt
cannot have been meant for.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

import msgspec

from linkspan.core.ipsec import identities
from linkspan.core.state.desired import Connection
from linkspan.core.tunnel.charon_events import PeerRefused
from linkspan.core.tunnel.peer_attempts import bounded

REPEATED = 5.0
"""Seconds within which an equal failure does not change the reason: forged packets must not cause a report each."""
_VERSIONS = {"v1": 1, "v2": 2}


class FailedAttempt(msgspec.Struct, frozen=True):
    """The newest attempt of the peer that failed: the cause in words, and its time in seconds since the epoch."""

    text: str
    at: float


def concerned(event: PeerRefused, connections: Iterable[Connection]) -> list[Connection]:
    """The connections that a refused attempt may have been meant for."""
    found = [connection for connection in connections if connection.peer_address == event.address]
    if event.code == "no-config":
        # charon knows the address and looks for the version too. Which one that was may arrive later.
        return [one for one in found if event.version and _VERSIONS[one.ike.ike_version] != event.version]
    found = [one for one in found if event.version in (0, _VERSIONS[one.ike.ike_version])]
    return [one for one in found if _is_called(one.peer_id, event.calls_itself)] or found


def words(event: PeerRefused, connection: Connection) -> str:
    """The cause of a refused attempt, as the connection's reason says it."""
    if event.code == "no-config" and event.version:
        return (
            f"the peer uses IKEv{event.version}, and ike_version here is {connection.ike.ike_version}: "
            "set the same on both sides"
        )
    if not event.calls_itself:
        return event.text
    if not _is_called(connection.peer_id, event.calls_itself):
        return (
            f"the peer calls itself '{bounded(event.calls_itself)}', and peer_id here is '{connection.peer_id}': "
            "set the same on both sides"
        )
    us = connection.local_id or connection.local_address
    if event.calls_us and not _is_called(us, event.calls_us):
        return f"the peer calls us '{bounded(event.calls_us)}', and local_id here is '{us}': set the same on both sides"
    return event.text


def newest(before: FailedAttempt | None, text: str, at: float) -> FailedAttempt:
    """The newest failed attempt; the one before if it is equal and has just been."""
    if before and before.text == text and 0 <= at - before.at < REPEATED:
        return before
    return FailedAttempt(text, at)


def reason(attempt: FailedAttempt, other: str) -> str:
    """The reason of a tunnel that is not up after an attempt of its peer; `other`: its reason apart from that."""
    time = dt.datetime.fromtimestamp(attempt.at, dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    if other:
        return f"{other}; the peer's own attempt failed at {time}: {attempt.text}"
    return f"{attempt.text}; the peer's last attempt was at {time}"


def _is_called(identity: str, name: str) -> bool:
    """True if charon's text of an identity is this one of ours. Case does not count in names (RFC 4343)."""
    return identities.parse(identity).text.lower() == name.lower()
