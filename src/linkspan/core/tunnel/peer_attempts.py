"""The attempts of peers, followed through charon's log: what failed, for whom, and when.

An IKE SA that a peer initiates has a number from its first packet and a name only once charon knows its connection. An
attempt that fails before has its cause in lines without a name. So the lines before it are remembered by number: from
which address, with which IKE version, identities and proposals. Pure; the time is a parameter.
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


class PeerAttempt(msgspec.Struct, frozen=True):
    """An attempt of a peer, as far as charon has logged it; `settled`: it has led to
    a child SA, or the cause of its failure is known."""

    address: str = ""
    version: int = 0
    calls_itself: str = ""
    calls_us: str = ""
    offered: str = ""
    configured: str = ""
    settled: bool = False


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
        (r"received proposals: (?P<offered>.*)", {}),
        (r"configured proposals: (?P<configured>.*)", {}),
        (r"CHILD_SA .* established with SPIs", {"settled": True}),
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
    attempt = _followed(attempt, line)
    events = tuple(_told(event, attempt, at) if isinstance(event, Cause) else event for event in events)
    if not attempt.settled:
        events += _broken_off(ike, attempt, line, at)
    if any(isinstance(event, Cause | PeerRefused) for event in events):
        attempt = _set(attempt, settled=True)
    return _remembered(attempts, number, attempt), events


def _followed(attempt: PeerAttempt, line: str) -> PeerAttempt:
    """The attempt after a line of the log."""
    for pattern, values in _LINES:
        if match := pattern.match(line):
            told = {key: value for key, value in match.groupdict().items() if value}
            return _set(attempt, **values, **told)
    return attempt


def _remembered(attempts: PeerAttempts, number: int, attempt: PeerAttempt) -> PeerAttempts:
    if attempts.get(number) == attempt:
        return attempts
    kept = dict(attempts)
    if number not in kept and len(kept) >= LIMIT:
        del kept[next(iter(kept))]
    kept[number] = attempt
    return kept


def _told(cause: Cause, attempt: PeerAttempt, at: float) -> Cause | PeerRefused:
    """A cause with what is known of the attempt: its time, and the proposals that differ."""
    text = cause.text
    if cause.code in ("ike-proposal", "esp-proposal") and attempt.offered and attempt.configured:
        offered, configured = (algorithms.api_names(text) for text in (attempt.offered, attempt.configured))
        policy = "IKE" if cause.code == "ike-proposal" else "IPsec"
        text = f"the peer's {policy} proposal does not match: it offers {bounded(offered)}; here it is {configured}"
    return _failure(cause.about, attempt, cause.code, text, at)


def _broken_off(ike: str, attempt: PeerAttempt, line: str, at: float) -> tuple[CharonEvent, ...]:
    about = "" if ike == UNNAMED else ipsec_config.owner_of(ike)
    return tuple(
        _failure(about, attempt, "broken-off", text, at) for pattern, text in _BROKEN_OFF if pattern.match(line)
    )


def _failure(about: str, attempt: PeerAttempt, code: CauseCode, text: str, at: float) -> Cause | PeerRefused:
    if about:
        return Cause(about, code, text, at)
    return PeerRefused(attempt.address, code, text, at, attempt.version, attempt.calls_itself, attempt.calls_us)


def bounded(text: str) -> str:
    """A text that the peer chose, printable and no longer than `MAX_TEXT`."""
    printable = "".join(character if character.isprintable() else "?" for character in text)
    return printable if len(printable) <= MAX_TEXT else f"{printable[:MAX_TEXT]}…"
