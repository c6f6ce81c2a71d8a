"""Peers configured by name: the address that a gateway uses, and when the name is queried again. Pure.

charon is configured with addresses only. Names are resolved beside the gateway's work, so a slow name server delays
nothing. An address in use stays while the record has it, whatever the order of the answers, and also without an answer:
a tunnel that is up needs no name server.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

import msgspec

from linkspan.core.addresses import Address, canonical_host
from linkspan.core.ipsec import identities
from linkspan.core.ipsec.peer_addresses import peer_address_fault
from linkspan.core.state.desired import Connection

INTERVAL = 30.0
"""Seconds between queries of a name while its tunnels are up."""
SOON = 5.0
"""Seconds between queries while one of them is not up."""


class Resolution(msgspec.Struct, frozen=True):
    """The answer of a gateway's resolver: addresses in the order of preference, or the reason why there are none."""

    name: str
    addresses: tuple[str, ...] = ()
    error: str = ""


class PeerName(msgspec.Struct, frozen=True, kw_only=True):
    """A name and its resolution. `address`: the one in use, empty without one; `record`: the newest addresses.

    `queried_at`: time of the last query, None before the first; `answered`: true after the first answer.
    """

    text: str
    address: str = ""
    record: tuple[str, ...] = ()
    queried_at: float | None = None
    answered: bool = False
    error: str = ""

    @property
    def unresolved(self) -> str:
        """The reason why the name has no address, in one sentence."""
        if not self.answered:
            return f"the peer's name {self.text} is being resolved in the gateway"
        return f"the peer's name {self.text} cannot be resolved in the gateway: {self.error}"


_set = msgspec.structs.replace


def peer_name_of(connection: Connection) -> str:
    """The name of a connection's peer in its canonical text; empty if the peer is an address."""
    return canonical_host(connection.peer_address) if identities.is_peer_name(connection.peer_address) else ""


def next_query_at(name: PeerName, all_up: bool) -> float:
    """The time of the next query. `all_up`: every tunnel that uses the name is up."""
    return 0.0 if name.queried_at is None else name.queried_at + (INTERVAL if all_up else SOON)


def query_sent(name: PeerName, now: float) -> PeerName:
    """The name after a query, `now` in seconds on the clock of `next_query_at`."""
    return _set(name, queried_at=now)


def with_resolution(name: PeerName, resolution: Resolution) -> PeerName:
    """The name after an answer. Without addresses in it, the previous record stays."""
    return _set(name, answered=True, record=resolution.addresses or name.record, error=resolution.error)


def choose_address(name: PeerName, own: Iterable[str]) -> PeerName:
    """The name with the address to use from a gateway with these addresses: IPv4 first, where it has both.

    A record without a usable address changes nothing but the error.
    """
    ours = [ipaddress.ip_interface(address).ip for address in own]
    versions = sorted({address.version for address in ours})
    possible = [text for text in name.record if not _fault(text, ours)]
    usable = [text for version in versions for text in possible if ipaddress.ip_address(text).version == version]
    if name.address in usable or not name.record:
        return name
    if not possible:
        return _set(name, error=f"its address {name.record[0]} {_fault(name.record[0], ours)}")
    if not usable:
        kind = "IPv6" if 4 in versions else "IPv4"
        return _set(name, error=f"it has {kind} addresses only, and the gateway has none of that version")
    return _set(name, address=usable[0])


def _fault(text: str, ours: list[Address]) -> str:
    """The reason why an address cannot be the peer's, from a gateway with these addresses; empty if it can."""
    return "is the gateway's own" if ipaddress.ip_address(text) in ours else peer_address_fault(text)


def with_address(connection: Connection, address: str, own: Iterable[str]) -> Connection:
    """The connection with this address in place of the peer's name, and a local address of the same IP version."""
    version = ipaddress.ip_address(address).version
    hosts = [ipaddress.ip_interface(interface).ip for interface in own]
    ours = [str(host) for host in hosts if host.version == version]
    keep = connection.local_address in ours or not ours
    local_address = connection.local_address if keep else ours[0]
    return _set(connection, peer_address=address, peer_name=connection.peer_address, local_address=local_address)
