"""The attempts of peers, followed through charon's log: what failed, for whom, and when.

Of our own attempts only what charon says about certificates and fragments is followed: it takes several lines.

An IKE SA that a peer initiates has a number from its first packet and a name only once charon knows its connection. An
attempt that fails before has its cause in lines without a name. So the lines before it are remembered by number: from
which address, with which IKE version, identities and proposals. Pure; the time is a parameter.

Two lines may arrive in the wrong order: charon gives each to a thread of its own, which waits for nobody
(`vici_logger.c`). A cause is told again if what belongs to it arrives `LATE` seconds after it or earlier.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from linkspan.core import printable
from linkspan.core.diagnosis import causes
from linkspan.core.diagnosis.codes import Code, Details
from linkspan.core.ipsec import algorithms, proposals
from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.tunnel import certificate_causes, charon_events
from linkspan.core.tunnel.charon_events import LONGEST, Cause, CharonEvent, PeerRefused, Retracted
from linkspan.core.tunnel.sas import UNNAMED, vici_integer, vici_text

LIMIT = 128
"""Attempts that are remembered. Forged first packets must not fill the memory, and each costs a copy of the table."""
LATE = 1.0
"""Seconds within which a line that charon logged before another one arrives after it."""


class PeerAttempt(msgspec.Struct, frozen=True):
    """An attempt of a peer, as far as charon has logged it.

    `offered…`, `configured…`: the proposals for the IKE SA and for the child SA. `settled`: it has led to a child SA,
    or the cause of its failure is known. `failure`: that cause as charon logged it. `refusal`: the newest fault of a
    certificate. `switched_to`: the connection with which charon has gone on. `fragments`: the parts in which the newest
    large message was sent (RFC 7383), empty without one. `is_unfit`: a key did not fit the peer's signature. `is_deaf`:
    it repeats its first message after our answer.
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
    is_ours: bool = False
    fragments: str = ""
    asks_for_transport: bool = False
    is_deaf: bool = False
    refusal: Cause | None = None
    refused_at: float = 0.0
    switched_to: str = ""
    is_unfit: bool = False


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
        (r"parsed IKE_AUTH request \d+ \[ .*N\(USE_TRANSP\)", {"asks_for_transport": True}),
        (r"received retransmit of request with ID 0, retransmitting response", {"is_deaf": True}),
        (r"CHILD_SA .* established with SPIs", {"settled": True, "failure": None}),
    )
)
_BROKEN_OFF: Final[tuple[tuple[re.Pattern[str], Code, str], ...]] = (
    # Its first message has come, and the next one would come by UDP 4500.
    (re.compile(r"deleting half open IKE_SA "), "UDP_4500_BLOCKED", "theirs"),
    (re.compile(r"received DELETE for IKE_SA "), "PEER_BROKE_OFF", ""),
    # Aggressive mode: what the peer says is encrypted with a key that the other end does not have.
    (re.compile(r"queueing INFORMATIONAL_V1 request as tasks still active"), "PEER_BROKE_OFF", "key"),
)
"""The end of an attempt without a cause in the log of this end."""

_FRAGMENTS: Final = re.compile(r"splitting IKE message \(\d+ bytes\) into (\d+) fragments")

_set = msgspec.structs.replace


def read(
    attempts: PeerAttempts, name: str, message: dict[str, Any], at: float
) -> tuple[PeerAttempts, tuple[CharonEvent, ...]]:
    """The attempts after a VICI event, and the events in it. `at`: now, in seconds since the epoch."""
    if name != "log":
        return attempts, charon_events.from_event(name, message)
    number, line = vici_integer(message, "ikesa-uniqueid"), vici_text(message.get("msg", b""))
    ike = vici_text(message.get("ikesa-name", b""))
    attempt = attempts.get(number, PeerAttempt() if ike == UNNAMED else None)
    about = "" if ike == UNNAMED else ipsec_config.owner_of(ike)
    if judged := _judgement(attempt, about, line, at):
        attempt, found = judged
        return _remembered(attempts, number, attempt), _numbered(found, number)
    events = charon_events.from_event(name, message)
    if attempt is None or attempt.is_ours:
        attempts, found = _read_ours(attempts, number, attempt or PeerAttempt(is_ours=True), line, events)
        return attempts, _numbered(found, number)
    attempt, causes = _advanced(attempt, _causes(events, at), ike, line, at)
    others = tuple(event for event in events if not isinstance(event, Cause))
    told = (_told(cause, attempt, at) for cause in causes)
    return _remembered(attempts, number, attempt), (*others, *_numbered(told, number))


def _numbered(events: Iterable[CharonEvent], number: int) -> tuple[CharonEvent, ...]:
    """The events with the number of the attempt that they are about."""
    return tuple(_set(event, attempt=number) if isinstance(event, Cause | PeerRefused) else event for event in events)


def _read_ours(
    attempts: PeerAttempts, number: int, attempt: PeerAttempt, line: str, events: tuple[CharonEvent, ...]
) -> tuple[PeerAttempts, tuple[CharonEvent, ...]]:
    """The attempts after a line about one of this end."""
    if match := _FRAGMENTS.match(line):
        return _remembered(attempts, number, _set(attempt, fragments=match[1])), events
    return attempts, tuple(_with_difference(event, attempt) if isinstance(event, Cause) else event for event in events)


def _judgement(
    attempt: PeerAttempt | None, about: str, line: str, at: float
) -> tuple[PeerAttempt, tuple[CharonEvent, ...]] | None:
    """The attempt after a line about the peer's authentication by a certificate, and its cause; None after another."""
    if certificate_causes.is_unfit(line):
        return _set(attempt or PeerAttempt(is_ours=True), is_unfit=True), ()
    fault = certificate_causes.read(about, line, at)
    if attempt and attempt.is_unfit and not attempt.refusal and certificate_causes.is_refusal(line):
        fault = certificate_causes.unfit(about, line)
    if fault or certificate_causes.switched_to(line):
        return _judged(attempt or PeerAttempt(is_ours=True), fault, line, at)
    return None


def _causes(events: Iterable[CharonEvent], at: float) -> list[Cause]:
    return [_set(event, at=at) for event in events if isinstance(event, Cause)]


def _advanced(
    before: PeerAttempt, causes: list[Cause], ike: str, line: str, at: float
) -> tuple[PeerAttempt, list[Cause]]:
    """The attempt after a line of the log with these causes, and the causes that it tells."""
    attempt = _followed(before, line)
    if not attempt.settled:
        causes = causes + _broken_off(ike, line, at)
    if causes:
        return _set(attempt, settled=True, failure=causes[-1]), causes
    return attempt, _told_too_early(before, attempt, at)


def _judged(
    attempt: PeerAttempt, fault: Cause | None, line: str, at: float
) -> tuple[PeerAttempt, tuple[CharonEvent, ...]]:
    """The attempt after a line about a certificate, and its cause, if it is one: the line that closes a refusal is
    none, and nothing is that was said before charon went on with another connection."""
    if fault is None:
        before = attempt.refusal
        attempt = _set(attempt, switched_to=certificate_causes.switched_to(line), settled=False, failure=None)
        return attempt, (Retracted(before.about, before.text),) if before else ()
    is_recent = attempt.refusal is not None and at <= attempt.refused_at + LATE
    is_over = attempt.switched_to and fault.about != ipsec_config.owner_of(attempt.switched_to)
    if is_over or (is_recent and fault.code == certificate_causes.CLOSING):
        return attempt, ()
    told = fault if attempt.is_ours else _set(fault, at=at)
    return _set(attempt, settled=True, failure=told, refusal=told, refused_at=at), (_told(told, attempt, at),)


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
    cause = _with_difference(cause, attempt)
    if cause.about:
        return _set(cause, at=None if attempt.is_ours else at)
    return PeerRefused(
        attempt.address,
        cause.code,
        cause.text,
        at,
        attempt.version,
        attempt.calls_itself,
        attempt.calls_us,
        cause.details,
    )


def _with_difference(cause: Cause, attempt: PeerAttempt) -> Cause:
    """The cause with the proposals of both ends, and what differs between them, if that is the cause and known."""
    match cause.code:
        case "IKE_PROPOSAL_MISMATCH":
            offered, configured, refined = attempt.offered_ike, attempt.configured_ike, _IKE_DIFFERENCES
        case "ESP_PROPOSAL_MISMATCH":
            offered, configured, refined = attempt.offered_child, attempt.configured_child, _ESP_DIFFERENCES
        case "UDP_4500_BLOCKED" if attempt.is_deaf:
            return _set(cause, code="PEER_BROKE_OFF", text=causes.sentence("PEER_BROKE_OFF", "deaf"))
        case "SELECTORS_UNACCEPTABLE" if attempt.asks_for_transport and not cause.details.peer.strip(" ="):
            text = causes.sentence("ENCAPSULATION_MODE_MISMATCH")
            return _set(cause, code="ENCAPSULATION_MODE_MISMATCH", text=text)
        case "UDP_4500_BLOCKED" if attempt.fragments:
            text = causes.sentence("IKE_FRAGMENTS_LOST", ours=attempt.fragments)
            return _set(cause, code="IKE_FRAGMENTS_LOST", text=text)
        case _:
            return cause
    if not (offered and configured):
        return cause
    peer, ours = bounded(algorithms.api_names(offered)), algorithms.api_names(configured)
    kinds = proposals.differences(offered, configured)
    code = refined[next(iter(kinds))] if len(kinds) == 1 else cause.code
    details = Details(ours, peer, cause.details.line)
    return _set(cause, code=code, text=causes.sentence(code, peer=peer, ours=ours), details=details)


_IKE_DIFFERENCES: Final[Mapping[proposals.Kind, Code]] = {
    "protocol": "IKE_PROPOSAL_MISMATCH",
    "encryption": "IKE_PROPOSAL_MISMATCH_ENCRYPTION",
    "integrity": "IKE_PROPOSAL_MISMATCH_INTEGRITY",
    "prf": "IKE_PROPOSAL_MISMATCH_PRF",
    "group": "IKE_PROPOSAL_MISMATCH_DH",
}
_ESP_DIFFERENCES: Final[Mapping[proposals.Kind, Code]] = {
    "protocol": "ESP_PROPOSAL_MISMATCH_PROTOCOL",
    "encryption": "ESP_PROPOSAL_MISMATCH_ENCRYPTION",
    "integrity": "ESP_PROPOSAL_MISMATCH_INTEGRITY",
    "prf": "ESP_PROPOSAL_MISMATCH",
    "group": "PFS_MISMATCH",
}


def _broken_off(ike: str, line: str, at: float) -> list[Cause]:
    about = "" if ike == UNNAMED else ipsec_config.owner_of(ike)
    return [
        Cause(about, code, causes.sentence(code, variant), at, Details(line=bounded(line)))
        for pattern, code, variant in _BROKEN_OFF
        if pattern.match(line)
    ]


def bounded(text: str) -> str:
    """A text that the peer chose, printable and of a length for reasons."""
    return printable.bounded(text, LONGEST)
