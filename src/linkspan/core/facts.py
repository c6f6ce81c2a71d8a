"""charon's words as typed facts: the one place that reads VICI events and log lines.

A fact is a hint or a cause, never the truth about an SA: whoever needs the truth lists the SAs. Causes come from the
VICI `log` event, since `initiate` itself says only that it failed (dataplane: why a tunnel is down).
"""

from __future__ import annotations

import re
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
    "dpd-timeout",
    "no-route",
    "refused",
]


class SaChanged(msgspec.Struct, frozen=True):
    """Something happened to the SAs of the connection with this uuid: list them."""

    connection_id: str


class Cause(msgspec.Struct, frozen=True):
    """Why an attempt of this connection did not work, in one sentence; the id is empty if charon named none."""

    connection_id: str
    code: Code
    text: str


class Alive(msgspec.Struct, frozen=True):
    """The peer of this connection gave an authenticated answer."""

    connection_id: str


class Unanswered(msgspec.Struct, frozen=True):
    """A request to the peer of this connection had to be sent again."""

    connection_id: str


class DaemonLost(msgspec.Struct, frozen=True):
    """The event stream ended: charon is gone or does not answer."""


Fact = SaChanged | Cause | Alive | Unanswered | DaemonLost

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
    )


_TABLE: Final[tuple[tuple[str, Code, str], ...]] = (
    (
        r"received AUTHENTICATION_FAILED notify|received AUTHENTICATION_FAILED error notify",
        "auth-failed",
        "the peer refused our authentication: compare the pre-shared key and the identities on both sides",
    ),
    (
        r"MAC mismatched|tried \d+ shared keys? for .* but MAC mismatched",
        "auth-failed",
        "the peer's authentication is wrong: compare the pre-shared key on both sides",
    ),
    (
        r"no shared key found for",
        "no-psk",
        "no pre-shared key for the identities that the peer uses: compare peer_id and local_id on both sides",
    ),
    (
        (
            r"no matching peer config found|peer requested EAP, config unacceptable"
            r"|constraint check failed: identity"
        ),
        "auth-failed",
        "the peer's identity is not the one configured: compare peer_id here with the peer's own identity",
    ),
    (
        (
            r"received NO_PROPOSAL_CHOSEN (error )?notify, no CHILD_SA built|no acceptable proposal found"
            r"|received NO_PROPOSAL_CHOSEN notify, no CHILD_SA"
        ),
        "esp-proposal",
        "the peer accepts none of our IPsec proposals: compare the IPsec policies, pfs included",
    ),
    (
        r"received NO_PROPOSAL_CHOSEN (error )?notify|NO_PROPOSAL_CHOSEN error notify",
        "ike-proposal",
        (
            "the peer refused our IKE proposal or knows no connection for our address: compare the IKE policies "
            "and peer_address on both sides"
        ),
    ),
    (
        r"no proposal found|received proposals unacceptable|received proposals inacceptable",
        "ike-proposal",
        "the peer's IKE proposal does not match: compare the IKE policies on both sides",
    ),
    (
        r"received TS_UNACCEPTABLE notify|traffic selectors .* (un|in)acceptable|no matching CHILD_SA config found",
        "selectors",
        "the traffic selectors do not match: compare local and peer CIDRs on both sides",
    ),
    (
        r"no IKE config found for",
        "no-config",
        "a peer called that no connection here expects: compare peer_address and the IKE version",
    ),
    (
        r"giving up after \d+ retransmits|peer not responding",
        "no-answer",
        "the peer does not answer: check peer_address, routing and that UDP 500 and 4500 pass",
    ),
    (
        r"retransmit \d+ of request with message ID 0",
        "no-answer",
        "the peer does not answer: check peer_address, routing and that UDP 500 and 4500 pass",
    ),
    (
        r"unable to resolve|resolving '.*' failed|could not be resolved|name resolution failed",
        "no-route",
        "the peer's name cannot be resolved in the gateway",
    ),
    (
        r"error sending .*(Network is unreachable|No route to host)|sendto\(\) failed|no route found",
        "no-route",
        "the gateway has no route to the peer: check the external network and peer_address",
    ),
    (
        r"received INVALID_ID_INFORMATION|INVALID_ID_INFORMATION error notify",
        "selectors",
        "the traffic selectors do not match: compare local and peer CIDRs on both sides",
    ),
    (
        r"received (?P<notify>[A-Z0-9_]+) (error )?notify, no CHILD_SA built",
        "refused",
        "the peer refused the connection",
    ),
)
_CAUSES: Final = tuple((re.compile(pattern), code, text) for pattern, code, text in _TABLE)
_UNANSWERED = re.compile(r"retransmit \d+ of request")
_ALIVE = re.compile(r"parsed (INFORMATIONAL|INFORMATIONAL_V1|IKE_AUTH|CREATE_CHILD_SA) response")


def from_event(name: str, message: dict[str, Any]) -> tuple[Fact, ...]:
    """The facts in one VICI event; none if it says nothing that matters."""
    if name == "log":
        return from_log(_text(message.get("ikesa-name", b"")), _text(message.get("msg", b"")))
    names = [key for key, value in message.items() if isinstance(value, dict)]
    return tuple(SaChanged(ike.connection_id(key)) for key in names)


def from_log(ike_name: str, line: str) -> tuple[Fact, ...]:
    """The facts in one line of charon's log."""
    connection = ike.connection_id(ike_name)
    if connection and _ALIVE.match(line):
        return (Alive(connection),)
    silence = (Unanswered(connection),) if connection and _UNANSWERED.match(line) else ()
    for pattern, code, text in _CAUSES:
        if pattern.search(line):
            return (*silence, Cause(connection, code, text))
    return silence
