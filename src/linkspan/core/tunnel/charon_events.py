"""charon's VICI events and log lines as typed events; no other module reads them.

An event is a hint or a cause, never the truth about an SA: for that the SAs are listed. Causes come from the VICI `log`
event, since `initiate` itself says only that it failed.

`about` is the uuid of a connection where charon names a child, else the name of the IKE connection that several
connections to one peer may share (`core.ipsec.config`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from linkspan.core import printable
from linkspan.core.addresses import canonical_host
from linkspan.core.diagnosis import causes
from linkspan.core.diagnosis.codes import NOTHING, Code, Details
from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.tunnel.sas import UNNAMED, ChildSa, child_sa, vici_integer, vici_text


class SaChanged(msgspec.Struct, frozen=True):
    """Something happened to the SAs that `about` names: list them. `down`: they have ended. `rekeyed`: a child has been
    rekeyed. `ike_rekeyed`: the IKE SA has."""

    about: str
    down: bool = False
    rekeyed: bool = False
    ike_rekeyed: bool = False


class Cause(msgspec.Struct, frozen=True):
    """The cause of a failed attempt, in one sentence; `about` is empty if charon named nothing.

    `at`: the time of the attempt, in seconds since the epoch, if it was the peer's (`core.tunnel.peer_attempts`).
    `attempt`: the unique id of its IKE SA, 0: not known.
    """

    about: str
    code: Code
    text: str
    at: float | None = None
    details: Details = NOTHING
    attempt: int = 0


class Retracted(msgspec.Struct, frozen=True):
    """A cause was none: charon has gone on with another connection. `text`: the cause's."""

    about: str
    text: str


class PeerRefused(msgspec.Struct, frozen=True):
    """An attempt of the peer failed before charon knew which connection it was for.

    `address`: the peer's. `version`: of IKE, 0: not known. `calls_itself`, `calls_us`: the identities that it used,
    empty if it had not told them. Others as in `Cause`.
    """

    address: str
    code: Code
    text: str
    at: float
    version: int = 0
    calls_itself: str = ""
    calls_us: str = ""
    details: Details = NOTHING
    attempt: int = 0


class PeerSeen(msgspec.Struct, frozen=True):
    """An authenticated packet of the peer in the IKE SA with this unique id (0: not known, as below)."""

    about: str
    sa: int = 0


class ProbeSent(msgspec.Struct, frozen=True):
    """A DPD probe was sent."""

    about: str
    sa: int = 0


class Retransmitted(msgspec.Struct, frozen=True):
    """A request was retransmitted."""

    about: str
    sa: int = 0


class PeerTimedOut(msgspec.Struct, frozen=True):
    """charon itself has declared the peer dead (IKEv1 only), and deletes the IKE SA."""

    about: str
    sa: int = 0


class RekeyFailed(msgspec.Struct, frozen=True):
    """The peer has refused to rekey a child that is up; the line before it says why, in the words of an attempt."""

    about: str


class Initiating(msgspec.Struct, frozen=True):
    """charon initiates, on request or because a trap caught traffic."""

    about: str


class ChildInstalled(msgspec.Struct, frozen=True):
    """charon can send by the child with this unique id: it sends by it from now on, of all with equal selectors.

    The responder of a rekey can do so once its peer has deleted the old child, and has the new one listed before.
    """

    about: str
    unique_id: int


class ChildCounted(msgspec.Struct, frozen=True):
    """A child SA was rekeyed or has ended, with these counters. `at`: when the agent heard of it, on its own clock."""

    child: ChildSa
    at: float = 0.0


class RekeyBegun(msgspec.Struct, frozen=True):
    """This end is about to rekey a child SA. charon removes the old outbound SA without counting once more."""


class RoundTrip(msgspec.Struct, frozen=True):
    """The peer has answered a DPD probe after so many seconds (`core.tunnel.round_trips`)."""

    about: str
    seconds: float


class SasDisowned(msgspec.Struct, frozen=True):
    """A message in plaintext, as of a peer that has lost its SAs (INVALID_IKE_SPI, INVALID_SPI): anybody can send it.
    `address`: the sender's."""

    address: str


class DaemonLost(msgspec.Struct, frozen=True):
    """The event stream ended: charon is gone or does not answer."""


TunnelHint = (
    SaChanged
    | Cause
    | Retracted
    | PeerRefused
    | PeerSeen
    | ProbeSent
    | Retransmitted
    | PeerTimedOut
    | Initiating
    | RekeyFailed
)
"""What a tunnel's state machine takes."""
ConnectionEvent = TunnelHint | ChildInstalled | SasDisowned
CharonEvent = ConnectionEvent | ChildCounted | RekeyBegun | RoundTrip | DaemonLost

SIGNS_OF_LIFE: Final = (PeerSeen, ProbeSent, Retransmitted, SasDisowned)
"""Events that change only what is known of the peer's liveness, and so no report."""

EVENTS: Final = ("ike-updown", "child-updown", "ike-rekey", "child-rekey", "ike-update", "log")


LONGEST: Final = 120
"""Characters of a value that the peer chose, in a sentence."""

_TABLE: Final[tuple[tuple[str, Code, str], ...]] = (
    # "error" is the word of IKEv1, where a wrong key makes messages unreadable, and so is not refused.
    (r"received AUTHENTICATION_FAILED error notify", "AUTHENTICATION_REFUSED", "identities"),
    (r"received AUTHENTICATION_FAILED notify", "AUTHENTICATION_REFUSED", ""),
    (
        r"tried \d+ shared keys? for .*, but MAC mismatched|calculated HASH does not match HASH payload",
        "PSK_MISMATCH",
        "",
    ),
    # IKEv1 main mode encrypts with a key that depends on the pre-shared one.
    (r"could not decrypt payloads", "PSK_MISMATCH", "decryption"),
    (r"no shared key found for '(?P<ours>.*?)'(\[.*\])? - '(?P<peer>.*?)'(\[.*\])?$", "PSK_MISSING", ""),
    (r"no shared key found for", "PSK_MISSING", ""),
    (r"received INVALID_KE_PAYLOAD error notify", "PSK_MISSING_AT_PEER", ""),
    (r"IDir '(?P<peer>.*)' does not match to '(?P<ours>.*)'", "PEER_ID_MISMATCH", ""),
    (r"constraint check failed: identity '(?P<ours>.*)' required", "PEER_ID_MISMATCH", "bare"),
    (r"no matching peer config found|no peer config found", "PEER_ID_MISMATCH", "bare"),
    (
        r"found \d+ matching configs?, but none allows (?P<peer>pre-shared key|\S+ signature) authentication using ",
        "EXCHANGE_MODE_MISMATCH",
        "",
    ),
    (r"parsed \S+ (response|request) \d+ \[ (HASH )?N\(INVAL_MAJOR\)", "IKE_VERSION_MISMATCH", "bare"),
    (r"IKE version 1 not supported", "IKE_VERSION_UNSUPPORTED_HERE", ""),
    # charon says NO_PROPOSAL_CHOSEN of both phases in the same words: the message that has it tells them apart. In
    # IKEv1 only what belongs to phase 2 is hashed.
    (r"parsed INFORMATIONAL_V1 request \d+ \[ HASH N\(NO_PROP\)", "ESP_PROPOSAL_MISMATCH", "refused"),
    (r"parsed IKE_AUTH response \d+ \[ .*N\(NO_PROP\)", "ESP_PROPOSAL_MISMATCH", "refused"),
    (r"received NO_PROPOSAL_CHOSEN notify, no CHILD_SA built", "ESP_PROPOSAL_MISMATCH", "refused"),
    (r"parsed INFORMATIONAL_V1 request \d+ \[ N\(NO_PROP\)", "IKE_REFUSED", "bare"),
    (r"parsed IKE_SA_INIT response \d+ \[ .*N\(NO_PROP\)", "IKE_REFUSED", "bare"),
    (
        r"no acceptable proposal found|no matching proposal found, sending NO_PROPOSAL_CHOSEN",
        "ESP_PROPOSAL_MISMATCH",
        "bare",
    ),
    (r"no proposal found|received proposals unacceptable", "IKE_PROPOSAL_MISMATCH", "bare"),
    (
        r"traffic selectors (?P<peer>.* === .*) unacceptable|no matching CHILD_SA config found for (?P<peer_1>.*)",
        "SELECTORS_UNACCEPTABLE",
        "bare",
    ),
    (
        (
            r"received (TS_UNACCEPTABLE|SINGLE_PAIR_REQUIRED) notify|received INVALID_ID_INFORMATION error notify"
            # IKEv1 in transport mode takes hosts only, and charon does not even ask the peer for networks.
            r"|traffic selector missing in configuration"
        ),
        "SELECTORS_UNACCEPTABLE",
        "bare",
    ),
    # Before strongSwan 5.9.12, which routes also without an address in the local network.
    (r"error installing route with policy", "SELECTORS_UNACCEPTABLE", "address"),
    (r"no IKE config found for \S+\.\.\.(?P<peer>[^\s,]+)", "UNKNOWN_SOURCE", ""),
    (r"giving up after \d+ retransmits", "PEER_NO_REPLY", ""),
    (r"retransmit \d+ of request with message ID 0\b", "PEER_NO_REPLY", ""),
    # The first message that goes by UDP 4500, where an end is behind address translation or feigns to be.
    (r"retransmit \d+ of request with message ID 1\b", "UDP_4500_BLOCKED", ""),
    (r"sending retransmit \d+ of request message ID 0, seq [12]\b", "PEER_NO_REPLY", ""),
    # And the first one that is encrypted, with a key that depends on the pre-shared one.
    (r"sending retransmit \d+ of request message ID 0, seq 3\b", "ENCRYPTED_UNANSWERED", ""),
    (r"received (?P<peer>[A-Z0-9_]+) notify, no CHILD_SA built", "CHILD_REFUSED", ""),
)
_CAUSES: Final = tuple((re.compile(pattern), code, variant) for pattern, code, variant in _TABLE)
_SIGNS: Final[tuple[tuple[re.Pattern[str], Callable[[str, int], ConnectionEvent]], ...]] = (
    (
        # Only what could be made with the keys of an authenticated IKE SA: not IKE_AUTH, nor IKEv1 without its hash.
        re.compile(
            r"parsed ((INFORMATIONAL|CREATE_CHILD_SA) (request|response)|(INFORMATIONAL_V1|QUICK_MODE) .* \[ HASH )"
        ),
        PeerSeen,
    ),
    (re.compile(r"sending DPD request"), ProbeSent),
    (re.compile(r"(sending )?retransmit \d+ of request"), Retransmitted),
    (re.compile(r"DPD check timed out"), PeerTimedOut),
    (re.compile(r"CHILD_SA rekeying failed"), lambda about, _: RekeyFailed(about)),
    (re.compile(r"initiating (Main Mode |Aggressive Mode )?IKE_SA "), lambda about, _: Initiating(about)),
)
_INSTALLED: Final = re.compile(r"(?:outbound )?CHILD_SA (\S+)\{(\d+)\} established ")
"""A rekeyed child has a line for each direction."""
_REKEYS: Final = re.compile(r"establishing CHILD_SA \S+\{\d+\} reqid \d+")
"""Only a child that is rekeyed has a reqid by then."""


_DISOWNED: Final = re.compile(r"received unencrypted informational: from (\S+)\[\d+\] to ")


def without_repeats(happened: Iterable[ConnectionEvent]) -> list[ConnectionEvent]:
    """Events that were received together, without the signs of life that a later equal one makes superfluous.

    An IKE SA of a thousand connections has one with each packet, and each is for all of them.
    """
    kept: dict[object, ConnectionEvent] = {}
    for number, event in enumerate(happened):
        key = event if isinstance(event, SIGNS_OF_LIFE) else number
        kept.pop(key, None)
        kept[key] = event
    return list(kept.values())


def from_event(name: str, message: dict[str, Any]) -> tuple[CharonEvent, ...]:
    """The typed events in one VICI event."""
    if name == "log":
        name, line = vici_text(message.get("ikesa-name", b"")), vici_text(message.get("msg", b""))
        return from_log(name, line, vici_integer(message, "ikesa-uniqueid"))
    down, rekeyed = name.endswith("-updown") and "up" not in message, name == "child-rekey"
    changed = (
        SaChanged(about, down, rekeyed, name == "ike-rekey")
        for key, value in message.items()
        if isinstance(value, dict) and key != UNNAMED
        for about in sorted(_owners(value)) or (key,)
    )
    return (*(_counted(message) if down or rekeyed else ()), *changed)


def _counted(message: dict[str, Any]) -> list[ChildCounted]:
    """The children of which an event says that they are over, with their counters."""
    sections = (section for section in message.values() if isinstance(section, dict))
    ends = [child.get("old", child) for section in sections for child in _children(section)]
    return [ChildCounted(child_sa(child)) for child in ends if "spi-in" in child]


def _children(section: dict[str, Any]) -> list[dict[str, Any]]:
    """The children that an event is about; a rekeyed one has an old and a new section."""
    return [child for child in section.get("child-sas", {}).values() if isinstance(child, dict)]


def _owners(section: dict[str, Any]) -> set[str]:
    """The connections whose children an event is about."""
    names = [vici_text(child.get("new", child).get("name", b"")) for child in _children(section)]
    return {ipsec_config.owner_of(name) for name in names if name}


def from_log(ike_name: str, line: str, number: int = 0) -> tuple[CharonEvent, ...]:
    """The events in one line of charon's log about the IKE SA with this name and unique id; a cause comes last."""
    connection = "" if ike_name == UNNAMED else ipsec_config.owner_of(ike_name)
    found: list[CharonEvent] = [
        sign(connection, number) for pattern, sign in _SIGNS if connection and pattern.match(line)
    ]
    if connection and (installed := _INSTALLED.match(line)):
        return (*found, ChildInstalled(ipsec_config.owner_of(installed[1]), int(installed[2])))
    if connection and _REKEYS.match(line):
        return (*found, RekeyBegun())
    if disowned := _DISOWNED.match(line):
        return (SasDisowned(canonical_host(disowned[1])),)
    for pattern, code, variant in _CAUSES:
        if match := pattern.search(line):
            found.append(_cause(connection, code, variant, match))
            break
    return tuple(found)


def _cause(about: str, code: Code, variant: str, match: re.Match[str]) -> Cause:
    """A cause with the values that the line names: text from a peer is bounded and printable."""
    values = {
        name.partition("_")[0]: printable.bounded(value, LONGEST) for name, value in match.groupdict().items() if value
    }
    ours, peer, line = values.get("ours", ""), values.get("peer", ""), printable.bounded(match.string, 2 * LONGEST)
    text = causes.sentence(code, variant, ours=ours, peer=peer)
    return Cause(about, code, text, details=Details(ours, peer, line))
