"""Addresses and identities of a configuration, compared as IKE daemons do."""

from __future__ import annotations

import ipaddress
from typing import Final, Literal

from linkspan.core.addresses import Address, as_network, canonical_host
from linkspan.core.ipsec import identities

Match = Literal["yes", "no", "perhaps"]
_INSIDE: Final = tuple(
    ipaddress.ip_network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
)
"""Networks whose addresses are translated on the way (RFC 1918, RFC 6598)."""


def as_address(text: str) -> Address | None:
    """The address of a text; None if it is a name or something else."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def is_translated(text: str) -> bool:
    """True for an address that only a NAT makes reachable from elsewhere."""
    address = as_address(text)
    return address is not None and any(address.version == network.version and address in network for network in _INSIDE)


def has_address(stated: str, address: str) -> Match:
    """True to a list of addresses, networks, ranges and names, separated by commas; an empty one has all of them.

    `address`: an address or a name. A name may have any address.
    """
    if not stated:
        return "yes"
    found = {_has(part, address) for part in stated.split(",")}
    return next((match for match in ("yes", "perhaps") if match in found), "no")


def _has(part: str, text: str) -> Match:
    if canonical_host(part) == canonical_host(text):
        return "yes"
    address = as_address(text)
    first, dash, last = part.partition("-")
    if network := as_network(part):
        return "perhaps" if address is None else _match(address.version == network.version and address in network)
    ends = as_address(first), as_address(last)
    if dash and ends[0] and ends[1]:
        inside = address is not None and ends[0].version == address.version
        return _match(inside and int(ends[0]) <= int(address or 0) <= int(ends[1]))
    return "no" if as_address(part) and address else "perhaps"


def _match(yes: bool) -> Match:
    return "yes" if yes else "no"


def is_identity(pattern: str, identity: str) -> bool:
    """True if an identity, in the API's text, is what a configuration expects. Wildcards count as in charon: `*` at the
    start of a name, or in place of a value of a distinguished name. An empty pattern is any identity."""
    if not pattern:
        return True
    expected, actual = identities.stored(pattern), identities.stored(identity)
    if "*" not in pattern:
        return expected.charon() == actual.charon()
    kind, _, text = pattern.partition(":")
    if actual.kind in ("fqdn", "email") and text.startswith("*"):
        return kind == actual.kind and actual.text.endswith(text[1:].lower())
    return actual.kind == "dn" and _matches_parts(pattern, actual.text)


def _matches_parts(pattern: str, name: str) -> bool:
    wanted, parts = ([part.strip() for part in text.split(",")] for text in (pattern.removeprefix("asn1dn:"), name))
    return len(wanted) == len(parts) and all(
        one == other or (one.endswith("=*") and one[:-1] == other[: len(one) - 1])
        for one, other in zip(wanted, parts, strict=True)
    )
