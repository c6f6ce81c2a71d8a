"""The attempts of peers, followed through charon's log: what failed, for whom, and when.

An IKE SA that a peer initiates has a number from its first packet and a name only once charon knows its connection. An
attempt that fails before has its cause in lines without a name. So the lines before it are remembered by number: from
which address, with which IKE version, identities and proposals. Pure; the time is a parameter.

Two lines may arrive in the wrong order: charon gives each to a thread of its own, which waits for nobody
(`vici_logger.c`). A cause is told again if what belongs to it arrives `LATE` seconds after it or earlier.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from linkspan.core.ipsec import algorithms
from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.tunnel import charon_events
from linkspan.core.tunnel.charon_events import Cause, CauseCode, CharonEvent, PeerRefused
from linkspan.core.tunnel.sas import UNNAMED, vici_integer, vici_text

LIMIT = 128
"""Attempts that are remembered. Forged first packets must not fill the memory, and each costs a copy of the table."""
MAX_TEXT = 120
"""Characters of a text that the peer chose, in a reason."""
LATE = 1.0
"""Seconds within which a line that charon logged before another one arrives after it."""


class PeerAttempt(msgspec.Struct, frozen=True):
    """An attempt of a peer, as far as charon has logged it.

    `offered…`, `configured…`: the proposals for the IKE SA and for the child SA. `settled`: it has led to a child SA,
    or the cause of its failure is known. `failure`: that cause as charon logged it.
    """

    address: str = ""
    version: int = 0
    calls_itself: str = ""
    calls_us: str = ""
    offered_ike: str = ""
    configured_ike: str = ""
    offered_child: str = ""
    configured_child: str = ""
    settled: bool = False
    failure: Cause | None = None


PeerAttempts = Mapping[int, PeerAttempt]
"""Attempts by the unique id of their IKE SA, the oldest first."""

_LINES: Final = tuple(
    (re.compile(pattern), values)
    for pattern, values in (
        (r"received packet: from (?P<address>\S+)\[\d+\] to ", {}),
        (r"parsed IKE_SA_INIT request ", {"version": 2}),
        (r"parsed (ID_PROT|AGGRESSIVE) request ", {"version": 1}),
        (r"no IKE config found for \S+\.\.\.(?P<address>[^\s,]+)", {}),
        (r"looking for .* matching [^\s\[]+\[(?P<calls_us>.*)\]\.\.\.[^\s\[]+\[(?P<calls_itself>.*)\]$", {}),
        (r"looking for .* matching [^\s\[]+\.\.\.[^\s\[]+\[(?P<calls_itself>.*)\]$", {}),
        (r"received proposals: (?P<offered_ike>IKE:.*)", {}),
        (r"configured proposals: (?P<configured_ike>IKE:.*)", {}),
        (r"received proposals: (?P<offered_child>.*)", {}),
        (r"configured proposals: (?P<configured_child>.*)", {}),
        (r"CHILD_SA .* established with SPIs", {"settled": True, "failure": None}),
    )
)
_BROKEN_OFF: Final = tuple(
    (re.compile(pattern), text)
    for pattern, text in (
        (
            r"deleting half open IKE_SA ",
            "the peer began and then fell silent: check that UDP 500 and 4500 pass, and see the peer's own log",
        ),
        (
            r"received DELETE for IKE_SA ",
            "the peer ended its attempt: compare the identities on both sides, and see the peer's own log",
        ),
        (
            # Aggressive mode: what the peer says is encrypted with a key that the other end does not have.
            r"queueing INFORMATIONAL_V1 request as tasks still active",
            "the peer ended its attempt: compare the pre-shared key and the identities on both sides",
        ),
    )
)
"""The end of an attempt without a cause in the log of this end."""

_set = msgspec.structs.replace


def read(
    attempts: PeerAttempts, name: str, message: dict[str, Any], at: float
) -> tuple[PeerAttempts, tuple[CharonEvent, ...]]:
    """The attempts after a VICI event, and the events in it. `at`: now, in seconds since the epoch."""
    events = charon_events.from_event(name, message)
    if name != "log":
        return attempts, events
    number, line = vici_integer(message, "ikesa-uniqueid"), vici_text(message.get("msg", b""))
    ike = vici_text(message.get("ikesa-name", b""))
    attempt = attempts.get(number, PeerAttempt() if ike == UNNAMED else None)
    if attempt is None:
        return attempts, events
    before, attempt = attempt, _followed(attempt, line)
    causes = [_set(event, at=at) for event in events if isinstance(event, Cause)]
    if not attempt.settled:
        causes += _broken_off(ike, line, at)
    if causes:
        attempt = _set(attempt, settled=True, failure=causes[-1])
    else:
        causes = _told_too_early(before, attempt, at)
    others = tuple(event for event in events if not isinstance(event, Cause))
    return _remembered(attempts, number, attempt), (*others, *(_told(cause, attempt, at) for cause in causes))


def _followed(attempt: PeerAttempt, line: str) -> PeerAttempt:
    """The attempt after a line of the log."""
    for pattern, values in _LINES:
        if match := pattern.match(line):
            told = {key: value for key, value in match.groupdict().items() if value}
            return _set(attempt, **values, **told)
    return attempt


def _told_too_early(before: PeerAttempt, attempt: PeerAttempt, at: float) -> list[Cause]:
    """The cause that was told without what a late line says."""
    failure = attempt.failure
    if failure and failure.at is not None and attempt != before and at <= failure.at + LATE:
        return [failure]
    return []


def _remembered(attempts: PeerAttempts, number: int, attempt: PeerAttempt) -> PeerAttempts:
    if attempts.get(number) == attempt:
        return attempts
    kept = dict(attempts)
    if number not in kept and len(kept) >= LIMIT:
        del kept[next(iter(kept))]
    kept[number] = attempt
    return kept


def _told(cause: Cause, attempt: PeerAttempt, at: float) -> Cause | PeerRefused:
    """A cause with what is known of the attempt: its time, and what differs."""
    text = _difference(cause.code, attempt) or cause.text
    if cause.about:
        return _set(cause, text=text, at=at)
    return PeerRefused(attempt.address, cause.code, text, at, attempt.version, attempt.calls_itself, attempt.calls_us)


def _difference(code: CauseCode, attempt: PeerAttempt) -> str:
    """The proposals of both ends in words; empty if they are not the cause, or not both known."""
    match code:
        case "ike-proposal":
            policy, offered, configured = "IKE", attempt.offered_ike, attempt.configured_ike
        case "esp-proposal":
            policy, offered, configured = "IPsec", attempt.offered_child, attempt.configured_child
        case _:
            return ""
    if not (offered and configured):
        return ""
    theirs, ours = bounded(algorithms.api_names(offered)), algorithms.api_names(configured)
    return f"the peer's {policy} proposal does not match: it offers {theirs}; here it is {ours}"


def _broken_off(ike: str, line: str, at: float) -> list[Cause]:
    about = "" if ike == UNNAMED else ipsec_config.owner_of(ike)
    return [Cause(about, "broken-off", text, at) for pattern, text in _BROKEN_OFF if pattern.match(line)]


def bounded(text: str) -> str:
    """A text that the peer chose, printable and no longer than `MAX_TEXT`."""
    printable = "".join(character if character.isprintable() else "?" for character in text)
    return printable if len(printable) <= MAX_TEXT else f"{printable[:MAX_TEXT]}…"
