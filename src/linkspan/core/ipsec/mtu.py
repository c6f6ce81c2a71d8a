"""The effective MTU of a connection: the configured one, or less where ESP, AH or the path requires it.

The arithmetic is the kernel's (net/xfrm/xfrm_state.c, xfrm_state_mtu), for both backends: outer header, header of ESP
or AH, padding to the cipher's block size with a two-octet trailer, and integrity check value (RFC 4303 2, RFC 4302 2).
Without NAT the kernel sends ESP without UDP; behind a NAT it subtracts the eight bytes of the UDP header itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from linkspan.core.ipsec import algorithms
from linkspan.core.ipsec.selectors import SelectorPair, holds_gateways, pairs
from linkspan.core.state.desired import Connection, IpsecPolicy
from linkspan.core.state.observed import Backend

TUN: Final = 1400
"""The MTU of charon's TUN device in user space, bytes. It drops larger packets without an ICMP error."""

_IP: Final = {4: 20, 6: 40}
_TCP: Final = 20
_UDP: Final = 8
_ESP: Final = 8
_AH: Final = 12
_TRAILER: Final = 2
_CHECK: Final = {"sha1": 12, "sha256": 16, "sha384": 24, "sha512": 32, "aes-xcbc": 12, "aes-cmac": 12}


class PairMtu(msgspec.Struct, frozen=True, order=True):
    """The MTU of a selector pair, bytes. `mtu`: the MTU that ICMP errors report to hosts.

    `route`: the MTU of the route that enforces it; 0 where the tunnel itself does not allow more.
    """

    pair: SelectorPair
    mtu: int
    route: int = 0

    @property
    def mss(self) -> int:
        """The maximum TCP segment size that fits (RFC 9293 3.7.1)."""
        return self.mtu - headers(self.pair)


class _Overhead(msgspec.Struct, frozen=True):
    """Bytes around a payload; payload and trailer together are padded to a multiple of `block`."""

    around: int
    block: int
    trailer: int

    def fits(self, outer: int) -> int:
        """The largest payload in a packet of `outer` bytes."""
        return self.without_padding(outer - self.around - self.trailer)

    def without_padding(self, payload: int) -> int:
        """The largest payload up to `payload` that needs no padding."""
        return (payload + self.trailer) // self.block * self.block - self.trailer


def headers(pair: SelectorPair) -> int:
    """Bytes of the IP and TCP headers without options, in packets of a pair."""
    return _IP[_version(pair.local)] + _TCP


def effective_mtu(connection: Connection, backend: Backend, outside: int) -> int:
    """The largest packet of a connection, bytes. `outside`: the MTU of the gateway's outside interface."""
    return _mtu_and_route(connection, backend, outside)[0]


def pair_mtus(connection: Connection, backend: Backend, outside: int) -> frozenset[PairMtu]:
    """The selector pairs of a connection with their MTUs, without a pair that would match the tunnel's own packets."""
    mtu, route = _mtu_and_route(connection, backend, outside)
    return frozenset(PairMtu(pair, mtu, route) for pair in pairs(connection) if not _contains_tunnel(connection, pair))


def merged(mtus: Iterable[PairMtu]) -> frozenset[PairMtu]:
    """Each pair once; where connections share a pair, the lower MTU applies."""
    lowest: dict[SelectorPair, PairMtu] = {}
    for item in mtus:
        other = lowest.setdefault(item.pair, item)
        if item.mtu < other.mtu:
            lowest[item.pair] = item
    return frozenset(lowest.values())


def _mtu_and_route(connection: Connection, backend: Backend, outside: int) -> tuple[int, int]:
    """The MTU that is reported to hosts, and the MTU of the route that enforces it (0: no route is needed)."""
    version = _version(connection.local_address)
    overhead = _overhead(connection.ipsec, version, in_udp=backend == "user-space")
    if connection.ipsec.encapsulation_mode == "transport":
        # The original IP header stays outside ESP, and the MTU of the route applies to the packet after ESP.
        header = _IP[version]
        limit = overhead.fits(outside - header) + header
        if connection.mtu >= limit:
            return limit, 0
        payload = overhead.without_padding(connection.mtu - header)
        return payload + header, payload + overhead.trailer + overhead.around + header
    tunnel_limit = TUN if backend == "user-space" else overhead.fits(outside)
    mtu = min(connection.mtu, overhead.fits(outside), tunnel_limit)
    return mtu, mtu if mtu < tunnel_limit else 0


def _overhead(policy: IpsecPolicy, version: int, in_udp: bool) -> _Overhead:
    outer = _IP[version] if policy.encapsulation_mode == "tunnel" else 0
    outer += _UDP if in_udp else 0
    if policy.transform_protocol == "ah":
        # The header's length is a multiple of 4 octets under IPv4, of 8 under IPv6 (RFC 4302 2.2).
        unit = 4 if version == 4 else 8
        return _Overhead(outer + -(-(_AH + _CHECK[policy.auth_algorithm]) // unit) * unit, 1, 0)
    encryption = policy.encryption_algorithm
    vector, block = _cipher(encryption)
    check = int(encryption.rpartition("-")[2]) if algorithms.is_aead(encryption) else _CHECK[policy.auth_algorithm]
    return _Overhead(outer + _ESP + vector + check, block, _TRAILER)


def _cipher(encryption: str) -> tuple[int, int]:
    """Bytes of initialization vector and block: CBC (RFC 3602, RFC 2451), CTR, CCM and GCM (RFC 3686, 4309, 4106)."""
    if encryption == "3des":
        return 8, 8
    return (8, 4) if encryption.count("-") > 1 else (16, 16)


def _contains_tunnel(connection: Connection, pair: SelectorPair) -> bool:
    """True if a pair also matches IKE and ESP between the gateways, so that the tunnel would carry itself."""
    return connection.ipsec.encapsulation_mode == "tunnel" and holds_gateways(pair, connection)


def _version(text: str) -> int:
    return 6 if ":" in text else 4
