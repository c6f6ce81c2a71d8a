"""SAs as charon lists them, as typed values."""

from __future__ import annotations

from typing import Any

import msgspec

from linkspan.core.state.live_facts import CARRYING

UNNAMED = "(unnamed)"
"""charon's name of an IKE SA before it knows the connection."""


class ChildSa(msgspec.Struct, frozen=True):
    """A child SA as charon lists it. `local_ts`, `remote_ts`: its traffic selectors, in charon's notation."""

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
    """Of its own key exchange; empty if it had none (`core.tunnel.pfs_check`)."""
    idle_out: int = -1
    """Seconds since the last outbound packet; -1 if there was none."""
    life_left: int = -1
    """Seconds until charon deletes it if nobody rekeys it; -1 without such a time."""
    local_ts: tuple[str, ...] = ()
    remote_ts: tuple[str, ...] = ()
    age: int = -1
    """Seconds since it was installed, by its creation or by a rekey; -1 if charon does not tell."""

    @property
    def carries(self) -> bool:
        """True if it is installed and carries traffic."""
        return self.state in CARRYING

    def is_younger_than(self, seconds: float) -> bool:
        """True if it was installed less than so many seconds ago, False also if charon does not tell."""
        return 0 <= self.age < seconds


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
    ppk: bool = False
    """A post-quantum key is part of its keys (RFC 8784)."""
    answered: bool = False
    """The peer has answered: charon knows the SPI of both ends."""

    @property
    def established(self) -> bool:
        return self.state == "ESTABLISHED"

    @property
    def installed(self) -> frozenset[str]:
        """Names of the children that carry traffic."""
        return frozenset(child.name for child in self.children if child.carries)


def vici_text(value: Any) -> str:
    """A VICI value as text."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def vici_integer(section: dict[str, Any], key: str, default: int = 0) -> int:
    """A number in a VICI section; `default` if it is absent."""
    return int(vici_text(section[key])) if key in section else default


def ike_sas(messages: list[dict[str, Any]]) -> tuple[IkeSa, ...]:
    """The answer of VICI `list-sas` (strongswan: src/libcharon/plugins/vici/README.md)."""
    return tuple(_ike_sa(name, section) for message in messages for name, section in message.items())


def _ike_sa(name: str, section: dict[str, Any]) -> IkeSa:
    return IkeSa(
        name=name,
        unique_id=vici_integer(section, "uniqueid"),
        state=vici_text(section.get("state", b"")),
        initiator=vici_text(section.get("initiator", b"no")) == "yes",
        local_address=vici_text(section.get("local-host", b"")),
        remote_address=vici_text(section.get("remote-host", b"")),
        age=vici_integer(section, "established"),
        children=tuple(child_sa(child) for child in section.get("child-sas", {}).values()),
        ppk=vici_text(section.get("ppk", b"no")) == "yes",
        answered=bool(vici_text(section.get("responder-spi", b"")).strip("0")),
    )


def child_sa(section: dict[str, Any]) -> ChildSa:
    """A child SA in a listing or an event. Raises ValueError."""
    return ChildSa(
        name=vici_text(section.get("name", b"")),
        unique_id=vici_integer(section, "uniqueid"),
        state=vici_text(section.get("state", b"")),
        spi_in=vici_text(section.get("spi-in", b"")),
        spi_out=vici_text(section.get("spi-out", b"")),
        bytes_in=vici_integer(section, "bytes-in"),
        bytes_out=vici_integer(section, "bytes-out"),
        packets_in=vici_integer(section, "packets-in"),
        packets_out=vici_integer(section, "packets-out"),
        idle_in=vici_integer(section, "use-in", -1),
        encryption=vici_text(section.get("encr-alg", b"")),
        bits=vici_integer(section, "encr-keysize"),
        integrity=vici_text(section.get("integ-alg", b"")),
        group=vici_text(section.get("dh-group", b"")),
        idle_out=vici_integer(section, "use-out", -1),
        life_left=vici_integer(section, "life-time", -1),
        local_ts=tuple(map(vici_text, section.get("local-ts", ()))),
        remote_ts=tuple(map(vici_text, section.get("remote-ts", ()))),
        age=vici_integer(section, "install-time", -1),
    )
