"""Names of peers: which address a gateway uses for one, and when to ask for it again. Pure, and time comes in.

charon is given addresses only. So a name is resolved beside the gateways' work, and what a name server does or does
not say holds up nothing. An address in use stays as long as the record has it, whatever the order of the answers, and
also when nobody answers: a tunnel that is up needs no name server.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

import msgspec

from linkspan.core.ipsec import identities
from linkspan.core.state.desired import Connection

INTERVAL = 30.0
"""Seconds after which a name is asked for again while its tunnels are up."""
SOON = 5.0
"""The same while one of them is not."""


class Resolution(msgspec.Struct, frozen=True):
    """What a gateway's resolver says of a name: its addresses in the order of preference, or why there are none."""

    name: str
    addresses: tuple[str, ...] = ()
    error: str = ""


class PeerName(msgspec.Struct, frozen=True, kw_only=True):
    """A name as its gateway knows it. `address` is the one in use, "" if none; `found` the newest record.

    `asked_at`: when it was last asked for, None if never; `answered`: whether anything was said of it yet.
    """

    text: str
    address: str = ""
    found: tuple[str, ...] = ()
    asked_at: float | None = None
    answered: bool = False
    error: str = ""

    @property
    def unresolved(self) -> str:
        """Why it has no address, in one sentence."""
        if not self.answered:
            return f"the peer's name {self.text} is being resolved in the gateway"
        return f"the peer's name {self.text} cannot be resolved in the gateway: {self.error}"


_set = msgspec.structs.replace


def peer_name_of(connection: Connection) -> str:
    """The name that a connection's peer goes by, in the form in which names are compared; "" if it is an address."""
    return connection.peer_address.lower() if identities.is_peer_name(connection.peer_address) else ""


def next_query_at(name: PeerName, calm: bool) -> float:
    """When to ask for it again. `calm`: everything that uses it is up."""
    return 0.0 if name.asked_at is None else name.asked_at + (INTERVAL if calm else SOON)


def query_sent(name: PeerName, now: float) -> PeerName:
    """A name that was asked for now, in seconds on the clock of `ask_at`."""
    return _set(name, asked_at=now)


def with_resolution(name: PeerName, answer: Resolution) -> PeerName:
    """A name after an answer. Without addresses what was known stays."""
    return _set(name, answered=True, found=answer.addresses or name.found, error=answer.error)


def choose_address(name: PeerName, own: Iterable[str]) -> PeerName:
    """The name with the address to use from a gateway with these addresses: IPv4 first, where it has both.

    A record that it can do nothing with is as good as none: what was known stays.
    """
    versions = sorted({ipaddress.ip_interface(address).version for address in own})
    usable = [one for version in versions for one in name.found if ipaddress.ip_address(one).version == version]
    if name.address in usable or not name.found:
        return name
    if not usable:
        kind = "IPv6" if 4 in versions else "IPv4"
        return _set(name, error=f"it has {kind} addresses only, and the gateway has none of that version")
    return _set(name, address=usable[0])


def with_address(connection: Connection, address: str, own: Iterable[str]) -> Connection:
    """The connection with this address in the place of the peer's name, and our own of the same IP version."""
    version = ipaddress.ip_address(address).version
    hosts = [ipaddress.ip_interface(one).ip for one in own]
    ours = [str(host) for host in hosts if host.version == version]
    keep = connection.local_address in ours or not ours
    return _set(connection, peer_address=address, local_address=connection.local_address if keep else ours[0])
