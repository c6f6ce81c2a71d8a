"""The two ends of a connection, in the form in which charon and DNS compare them."""

from __future__ import annotations

import functools
import ipaddress

import msgspec

from linkspan.core.addresses import Address, canonical_host
from linkspan.core.ipsec import identities
from linkspan.core.state.desired import Connection


class Ends(msgspec.Struct, frozen=True):
    """Identities and addresses of a connection, each the local one first."""

    identities: tuple[str, str]
    addresses: tuple[str, str]


def ends_of(connection: Connection) -> Ends:
    """The ends of a connection. The default of the local identity is the gateway's address."""
    local_id = connection.local_id or connection.local_address
    return Ends(
        (canonical_identity(local_id), canonical_identity(connection.peer_id)),
        (canonical_host(connection.local_address), canonical_host(connection.peer_address)),
    )


# Sized for all peers of a large installation: parsing an identity takes as long as all other work on it.
@functools.lru_cache(maxsize=65_536)
def canonical_identity(text: str) -> str:
    """The form of an identity in which equal ones are equal texts."""
    return identities.stored(text).charon()


@functools.lru_cache(maxsize=4096)
def host(text: str) -> Address | None:
    """The address of a text, None if it is a DNS name."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
