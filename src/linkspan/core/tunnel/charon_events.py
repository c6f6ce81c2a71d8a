"""charon's VICI events and log lines as typed events; no other module reads them.

An event is a hint or a cause, never the truth about an SA: for that the SAs are listed. Causes come from the VICI `log`
event, since `initiate` itself says only that it failed.

`about` is the uuid of a connection where charon names a child, else the name of the IKE connection that several
connections to one peer may share (`core.ipsec.config`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Final, Literal

import msgspec

from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.tunnel.sas import UNNAMED, vici_integer, vici_text

CauseCode = Literal[
    "auth-failed",
    "no-psk",
    "ike-proposal",
    "ike-mode",
    "esp-proposal",
    "selectors",
    "no-config",
    "no-answer",
    "no-route",
    "refused",
    "rekey-failed",
    "broken-off",
]


class SaChanged(msgspec.Struct, frozen=True):
    """Something happened to the SAs that `about` names: list them. `down`: they have ended. `rekeyed`: a child has been
    rekeyed."""

    about: str
    down: bool = False
    rekeyed: bool = False


class Cause(msgspec.Struct, frozen=True):
    """The cause of a failed attempt, in one sentence; `about` is empty if charon named nothing.

    `at`: the time of the attempt, in seconds since the epoch, if it was the peer's (`core.tunnel.peer_attempts`).
    """

    about: str
    code: CauseCode
    text: str
    at: float | None = None


class PeerRefused(msgspec.Struct, frozen=True):
    """An attempt of the peer failed before charon knew which connection it was for.

    `address`: the peer's. `version`: of IKE, 0: not known. `calls_itself`, `calls_us`: the identities that it used,
    empty if it had not told them. `at` as in `Cause`.
    """

    address: str
    code: CauseCode
    text: str
    at: float
    version: int = 0
    calls_itself: str = ""
    calls_us: str = ""


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


class Initiating(msgspec.Struct, frozen=True):
    """charon initiates, on request or because a trap caught traffic."""

    about: str


class DaemonLost(msgspec.Struct, frozen=True):
    """The event stream ended: charon is gone or does not answer."""


ConnectionEvent = SaChanged | Cause | PeerRefused | PeerSeen | ProbeSent | Retransmitted | PeerTimedOut | Initiating
CharonEvent = ConnectionEvent | DaemonLost

SIGNS_OF_LIFE: Final = (PeerSeen, ProbeSent, Retransmitted)
"""Events that change only what is known of the peer's liveness, and so no report."""

EVENTS: Final = ("ike-updown", "child-updown", "ike-rekey", "child-rekey", "ike-update", "log")


_NO_ANSWER: Final = "the peer does not answer: check peer_address, routing and that UDP 500 and 4500 pass"
_SELECTORS: Final = (
    "the traffic selectors do not match: compare local and peer CIDRs and encapsulation_mode on both sides"
)
_WRONG_ID: Final = "the peer's identity is not the one configured: compare peer_id here with the peer's own identity"
_IKE_REFUSED: Final = (
    "the peer refused our IKE proposal or knows no connection for our address: compare the IKE policies "
    "and peer_address on both sides"
)
_ESP_REFUSED: Final = "the peer accepts none of our IPsec proposals: compare the IPsec policies, pfs included"

_TABLE: Final[tuple[tuple[str, CauseCode, str], ...]] = (
    (
        r"received AUTHENTICATION_FAILED (error )?notify",
        "auth-failed",
        "the peer refused our authentication: compare the pre-shared key and the identities on both sides",
    ),
    (
        r"tried \d+ shared keys? for .*, but MAC mismatched|calculated HASH does not match HASH payload",
        "auth-failed",
        "the peer's authentication is wrong: compare the pre-shared key on both sides",
    ),
    (
        # IKEv1 main mode encrypts with a key that depends on the pre-shared one.
        r"could not decrypt payloads",
        "auth-failed",
        "the peer's messages cannot be decrypted: compare the pre-shared key on both sides",
    ),
    (
        r"no shared key found for",
        "no-psk",
        "no pre-shared key for the identities that the peer uses: compare peer_id and local_id on both sides",
    ),
    (
        r"received INVALID_KE_PAYLOAD error notify",
        "no-psk",
        "the peer has no pre-shared key for us: compare peer_id and local_id on both sides",
    ),
    (
        r"no matching peer config found|no peer config found|IDir '.*' does not match to",
        "auth-failed",
        _WRONG_ID,
    ),
    (
        r"found \d+ matching configs?, but none allows pre-shared key authentication using (Main|Aggressive) Mode",
        "ike-mode",
        "the peer uses the other negotiation mode: compare phase1_negotiation_mode on both sides",
    ),
    # IKEv1 says NO_PROPOSAL_CHOSEN of both phases in the same words; only what belongs to phase 2 is hashed.
    (r"parsed INFORMATIONAL_V1 request \d+ \[ HASH N\(NO_PROP\)", "esp-proposal", _ESP_REFUSED),
    (r"parsed INFORMATIONAL_V1 request \d+ \[ N\(NO_PROP\)", "ike-proposal", _IKE_REFUSED),
    (r"received NO_PROPOSAL_CHOSEN notify, no CHILD_SA built", "esp-proposal", _ESP_REFUSED),
    (r"received NO_PROPOSAL_CHOSEN notify error", "ike-proposal", _IKE_REFUSED),
    (
        r"no acceptable proposal found|no matching proposal found, sending NO_PROPOSAL_CHOSEN",
        "esp-proposal",
        "the peer's IPsec proposal does not match: compare the IPsec policies on both sides, pfs included",
    ),
    (
        r"no proposal found|received proposals unacceptable",
        "ike-proposal",
        "the peer's IKE proposal does not match: compare the IKE policies on both sides",
    ),
    (
        (
            r"received (TS_UNACCEPTABLE|SINGLE_PAIR_REQUIRED) notify|traffic selectors .* unacceptable"
            r"|no matching CHILD_SA config found|received INVALID_ID_INFORMATION error notify"
            # IKEv1 in transport mode takes hosts only, and charon does not even ask the peer for networks.
            r"|traffic selector missing in configuration"
        ),
        "selectors",
        _SELECTORS,
    ),
    (
        # Before strongSwan 5.9.12, which routes also without an address in the local network.
        r"error installing route with policy",
        "selectors",
        "user-space ESP needs an address of the gateway inside each local network: attach the subnet to its router",
    ),
    (
        r"no IKE config found for",
        "no-config",
        "a peer called that no connection here expects: compare peer_address and the IKE version",
    ),
    (r"giving up after \d+ retransmits", "no-answer", _NO_ANSWER),
    (r"retransmit \d+ of request (with )?message ID 0\b", "no-answer", _NO_ANSWER),
    (
        r"error writing to socket: (Network is unreachable|No route to host)",
        "no-route",
        "the gateway has no route to the peer: check the external network and peer_address",
    ),
    # Of a child that is up; the line before it says why, in the words of an attempt.
    (r"CHILD_SA rekeying failed", "rekey-failed", "the peer refuses to rekey the tunnel"),
    (
        r"received [A-Z0-9_]+ notify, no CHILD_SA built",
        "refused",
        "the peer refused the connection",
    ),
)
_CAUSES: Final = tuple((re.compile(pattern), code, text) for pattern, code, text in _TABLE)
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
    (re.compile(r"initiating (Main Mode |Aggressive Mode )?IKE_SA "), lambda about, _: Initiating(about)),
)


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
    return tuple(
        SaChanged(about, down, rekeyed)
        for key, value in message.items()
        if isinstance(value, dict) and key != UNNAMED
        for about in sorted(_children(value)) or (key,)
    )


def _children(section: dict[str, Any]) -> set[str]:
    """The connections whose children an event is about; a rekeyed child is listed as an old and a new one."""
    found = section.get("child-sas", {}).values()
    names = [vici_text(child.get("new", child).get("name", b"")) for child in found if isinstance(child, dict)]
    return {ipsec_config.owner_of(name) for name in names if name}


def from_log(ike_name: str, line: str, number: int = 0) -> tuple[CharonEvent, ...]:
    """The events in one line of charon's log about the IKE SA with this name and unique id; a cause comes last."""
    connection = "" if ike_name == UNNAMED else ipsec_config.owner_of(ike_name)
    found: list[CharonEvent] = [
        sign(connection, number) for pattern, sign in _SIGNS if connection and pattern.match(line)
    ]
    for pattern, code, text in _CAUSES:
        if pattern.search(line):
            found.append(Cause(connection, code, text))
            break
    return tuple(found)
