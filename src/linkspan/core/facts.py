"""charon's words as typed facts: the one place that reads VICI events and log lines.

A fact is a hint or a cause, never the truth about an SA: whoever needs the truth lists the SAs. Causes come from the
VICI `log` event, since `initiate` itself says only that it failed (dataplane: why a tunnel is down).

`about` is the uuid of a connection where charon names a child, else the name of the IKE connection that several
connections to one peer may share (`core.ike`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec

from linkspan.core import ike

Code = Literal[
    "auth-failed",
    "no-psk",
    "ike-proposal",
    "esp-proposal",
    "selectors",
    "no-config",
    "no-answer",
    "no-route",
    "refused",
    "rekey-failed",
]


class SaChanged(msgspec.Struct, frozen=True):
    """Something happened to the SAs of what this is about: list them."""

    about: str


class Cause(msgspec.Struct, frozen=True):
    """Why an attempt did not work, in one sentence; `about` is empty if charon named nothing."""

    about: str
    code: Code
    text: str


class Alive(msgspec.Struct, frozen=True):
    """The peer gave an authenticated sign of life in the IKE SA with this number (0: not told, as below)."""

    about: str
    sa: int = 0


class Probed(msgspec.Struct, frozen=True):
    """The peer was asked for a sign of life (dead peer detection)."""

    about: str
    sa: int = 0


class Unanswered(msgspec.Struct, frozen=True):
    """A request to the peer had to be sent again."""

    about: str
    sa: int = 0


class Expired(msgspec.Struct, frozen=True):
    """charon itself has given the peer up (IKEv1 only), and ends the IKE SA."""

    about: str
    sa: int = 0


class Begun(msgspec.Struct, frozen=True):
    """charon initiates, because it was told to or because a trap met traffic."""

    about: str


class DaemonLost(msgspec.Struct, frozen=True):
    """The event stream ended: charon is gone or does not answer."""


About = SaChanged | Cause | Alive | Probed | Unanswered | Expired | Begun
Fact = About | DaemonLost

EVENTS: Final = ("ike-updown", "child-updown", "ike-rekey", "child-rekey", "ike-update", "log")


class ChildSa(msgspec.Struct, frozen=True):
    """A child SA as charon lists it."""

    name: str
    unique_id: int
    state: str
    spi_in: str
    spi_out: str
    bytes_in: int
    bytes_out: int
    packets_in: int
    packets_out: int
    idle_in: int
    """Seconds since the last inbound packet; -1 if there was none."""
    encryption: str = ""
    bits: int = 0
    """Of the encryption key, 0 if charon does not tell."""
    integrity: str = ""
    group: str = ""
    """Of its own key exchange; empty if it had none (`core.pfs`)."""


class IkeSa(msgspec.Struct, frozen=True):
    """An IKE SA as charon lists it, with its children."""

    name: str
    unique_id: int
    state: str
    initiator: bool
    local_address: str
    remote_address: str
    age: int
    children: tuple[ChildSa, ...]

    @property
    def established(self) -> bool:
        return self.state == "ESTABLISHED"

    @property
    def installed(self) -> frozenset[str]:
        """Names of the children that carry traffic."""
        return frozenset(child.name for child in self.children if child.state in ("INSTALLED", "REKEYING", "REKEYED"))


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _int(section: dict[str, Any], key: str, default: int = 0, base: int = 10) -> int:
    return int(_text(section[key]), base) if key in section else default


def ike_sas(messages: list[dict[str, Any]]) -> tuple[IkeSa, ...]:
    """The answer of VICI `list-sas` (strongswan: src/libcharon/plugins/vici/README.md)."""
    return tuple(_ike_sa(name, section) for message in messages for name, section in message.items())


def _ike_sa(name: str, section: dict[str, Any]) -> IkeSa:
    return IkeSa(
        name=name,
        unique_id=_int(section, "uniqueid"),
        state=_text(section.get("state", b"")),
        initiator=_text(section.get("initiator", b"no")) == "yes",
        local_address=_text(section.get("local-host", b"")),
        remote_address=_text(section.get("remote-host", b"")),
        age=_int(section, "established"),
        children=tuple(_child_sa(child) for child in section.get("child-sas", {}).values()),
    )


def _child_sa(section: dict[str, Any]) -> ChildSa:
    return ChildSa(
        name=_text(section.get("name", b"")),
        unique_id=_int(section, "uniqueid"),
        state=_text(section.get("state", b"")),
        spi_in=_text(section.get("spi-in", b"")),
        spi_out=_text(section.get("spi-out", b"")),
        bytes_in=_int(section, "bytes-in"),
        bytes_out=_int(section, "bytes-out"),
        packets_in=_int(section, "packets-in"),
        packets_out=_int(section, "packets-out"),
        idle_in=_int(section, "use-in", -1),
        encryption=_text(section.get("encr-alg", b"")),
        bits=_int(section, "encr-keysize"),
        integrity=_text(section.get("integ-alg", b"")),
        group=_text(section.get("dh-group", b"")),
    )


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

_TABLE: Final[tuple[tuple[str, Code, str], ...]] = (
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
        "no-config",
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
            r"received TS_UNACCEPTABLE notify|traffic selectors .* unacceptable|no matching CHILD_SA config found"
            r"|received INVALID_ID_INFORMATION error notify"
            # IKEv1 in transport mode takes hosts only, and charon does not even ask the peer for networks.
            r"|traffic selector missing in configuration"
        ),
        "selectors",
        _SELECTORS,
    ),
    (
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
    (r"CHILD_SA rekeying failed", "rekey-failed", "the peer refuses to renew the keys of the tunnel"),
    (
        r"received [A-Z0-9_]+ notify, no CHILD_SA built",
        "refused",
        "the peer refused the connection",
    ),
)
_CAUSES: Final = tuple((re.compile(pattern), code, text) for pattern, code, text in _TABLE)
_SIGNS: Final[tuple[tuple[re.Pattern[str], Callable[[str, int], About]], ...]] = (
    (
        # Only what could be made with the keys of an authenticated IKE SA: not IKE_AUTH, nor IKEv1 without its hash.
        re.compile(
            r"parsed ((INFORMATIONAL|CREATE_CHILD_SA) (request|response)|(INFORMATIONAL_V1|QUICK_MODE) .* \[ HASH )"
        ),
        Alive,
    ),
    (re.compile(r"sending DPD request"), Probed),
    (re.compile(r"(sending )?retransmit \d+ of request"), Unanswered),
    (re.compile(r"DPD check timed out"), Expired),
    (re.compile(r"initiating (Main Mode |Aggressive Mode )?IKE_SA "), lambda about, _: Begun(about)),
)
_UNNAMED: Final = "(unnamed)"
"""What charon calls an IKE SA before it knows the connection."""


def from_event(name: str, message: dict[str, Any]) -> tuple[Fact, ...]:
    """The facts in one VICI event; none if it says nothing that matters."""
    if name == "log":
        name, line = _text(message.get("ikesa-name", b"")), _text(message.get("msg", b""))
        return from_log(name, line, _int(message, "ikesa-uniqueid"))
    return tuple(
        SaChanged(about)
        for key, value in message.items()
        if isinstance(value, dict) and key != _UNNAMED
        for about in sorted(_children(value)) or (key,)
    )


def _children(section: dict[str, Any]) -> set[str]:
    """The connections whose children an event is about; a rekeyed child is told as an old and a new one."""
    found = section.get("child-sas", {}).values()
    names = [_text(child.get("new", child).get("name", b"")) for child in found if isinstance(child, dict)]
    return {ike.subject(name) for name in names if name}


def from_log(ike_name: str, line: str, number: int = 0) -> tuple[Fact, ...]:
    """The facts in one line of charon's log, said of the IKE SA with this name and number; the worst comes last."""
    connection = "" if ike_name == _UNNAMED else ike.subject(ike_name)
    found: list[Fact] = [sign(connection, number) for pattern, sign in _SIGNS if connection and pattern.match(line)]
    for pattern, code, text in _CAUSES:
        if pattern.search(line):
            found.append(Cause(connection, code, text))
            break
    return tuple(found)
