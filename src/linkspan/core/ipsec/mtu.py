"""How large a packet of a connection may be: what was asked for, less what ESP or AH and the path do not allow.

Pure arithmetic over bytes, that of the kernel (net/xfrm/xfrm_state.c, xfrm_state_mtu) for both backends: the outer
header, the header of ESP or AH, padding to the cipher's block with two octets behind it, and the check value
(RFC 4303 2, RFC 4302 2). Between two gateways without a NAT the kernel's ESP goes without UDP; behind a NAT the kernel
takes another eight bytes away by itself.
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
"""What charon's TUN device takes in user space; it drops what is larger and tells nobody."""

_IP: Final = {4: 20, 6: 40}
_TCP: Final = 20
_UDP: Final = 8
_ESP: Final = 8
_AH: Final = 12
_TRAILER: Final = 2
_CHECK: Final = {"sha1": 12, "sha256": 16, "sha384": 24, "sha512": 32, "aes-xcbc": 12, "aes-cmac": 12}


class PairMtu(msgspec.Struct, frozen=True, order=True):
    """How large the packets of one pair of selectors may be; `mtu` is what hosts are told.

    `route`: the MTU of the route that makes it so, 0 where the tunnel by itself allows no more.
    """

    pair: SelectorPair
    mtu: int
    route: int = 0

    @property
    def mss(self) -> int:
        """The largest TCP segment that fits (RFC 9293 3.7.1)."""
        return self.mtu - headers(self.pair)


class _Overhead(msgspec.Struct, frozen=True):
    """Bytes around a payload, which is padded to `block` together with the trailer."""

    around: int
    block: int
    trailer: int

    def fits(self, outer: int) -> int:
        """The largest payload inside a packet of that many bytes."""
        return self.whole(outer - self.around - self.trailer)

    def whole(self, payload: int) -> int:
        """The largest payload, no larger than this, that fills its blocks."""
        return (payload + self.trailer) // self.block * self.block - self.trailer


def headers(pair: SelectorPair) -> int:
    """Bytes of the IP and TCP headers without options in packets of a pair."""
    return _IP[_version(pair.local)] + _TCP


def effective_mtu(connection: Connection, backend: Backend, outside: int) -> int:
    """The largest packet of a connection, bytes. `outside` is the MTU of the gateway's outside leg."""
    return _told(connection, backend, outside)[0]


def pair_mtus(connection: Connection, backend: Backend, outside: int) -> frozenset[PairMtu]:
    """Every pair of a connection with its MTU. A pair that would catch the tunnel's own packets is left out."""
    mtu, route = _told(connection, backend, outside)
    return frozenset(PairMtu(pair, mtu, route) for pair in pairs(connection) if not _catches(connection, pair))


def merged(paths: Iterable[PairMtu]) -> frozenset[PairMtu]:
    """Paths with each pair once; where connections share one, the lower MTU counts."""
    lowest: dict[SelectorPair, PairMtu] = {}
    for path in paths:
        other = lowest.setdefault(path.pair, path)
        if path.mtu < other.mtu:
            lowest[path.pair] = path
    return frozenset(lowest.values())


def _told(connection: Connection, backend: Backend, outside: int) -> tuple[int, int]:
    """The MTU that hosts are told, and that of the route which makes it so (0: none is needed)."""
    version = _version(connection.local_address)
    overhead = _overhead(connection.ipsec, version, in_udp=backend == "user-space")
    if connection.ipsec.encapsulation_mode == "transport":
        # The packet's own header stays outside, and the route's MTU counts under ESP, in whole blocks.
        header = _IP[version]
        limit = overhead.fits(outside - header) + header
        if connection.mtu >= limit:
            return limit, 0
        payload = overhead.whole(connection.mtu - header)
        return payload + header, payload + overhead.trailer + overhead.around + header
    by_itself = TUN if backend == "user-space" else overhead.fits(outside)
    mtu = min(connection.mtu, overhead.fits(outside), by_itself)
    return mtu, mtu if mtu < by_itself else 0


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
    """Initialization vector and block in bytes: CBC (RFC 3602, RFC 2451); CTR, CCM and GCM (RFC 3686, 4309, 4106)."""
    if encryption == "3des":
        return 8, 8
    return (8, 4) if encryption.count("-") > 1 else (16, 16)


def _catches(connection: Connection, pair: SelectorPair) -> bool:
    """Whether IKE and ESP between the gateways are of the pair too, so that the tunnel would go into itself."""
    return connection.ipsec.encapsulation_mode == "tunnel" and holds_gateways(pair, connection)


def _version(text: str) -> int:
    return 6 if ":" in text else 4
