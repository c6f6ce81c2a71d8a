"""Compares the pairs of networks of both ends, as charon narrows traffic selectors."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from linkspan.core.ipsec.selectors import pairs
from linkspan.core.peer_side.differences import Difference, of_cause
from linkspan.core.peer_side.parsers.values import DYNAMIC
from linkspan.core.peer_side.site_config import SiteConfig
from linkspan.core.state.desired import Connection

_SHOWN: Final = 5
"""Pairs in a finding."""


class _Range(NamedTuple):
    """The addresses of a selector; `limit`: its protocol and ports, empty for all."""

    version: int
    first: int
    last: int
    limit: str


class _Pair(NamedTuple):
    local: _Range
    remote: _Range
    text: str


def networks(ours: Connection, theirs: SiteConfig, *, narrows_v1: bool) -> Iterator[Difference]:
    """The pairs of networks. What the peer adds is only narrowed; what it lacks is missing. Of IKEv1 pairs have to be
    equal, unless the peer narrows them all the same (`narrows_v1`)."""
    own = [_pair(pair.local, pair.remote, ours) for pair in sorted(pairs(ours))]
    peers = [_pair(remote, local, ours) for local, remote in theirs.pairs]
    line = theirs.lines.get("pairs")
    if not peers:
        if theirs.protocol is None and theirs.name:
            yield of_cause("cidrs", "SELECTORS_UNACCEPTABLE", ours=_text(own), variant="ours", line=line)
        return
    same = {(pair.local, pair.remote) for pair in peers}
    rest = [pair for pair in own if (pair.local, pair.remote) not in same]
    exact = ours.ike.ike_version == "v1" and not narrows_v1
    touched = [] if exact else [pair for pair in rest if any(_meet(pair, other) for other in peers)]
    whole = [] if exact else [pair for pair in touched if any(_within(pair, other) for other in peers)]
    missing = [pair for pair in rest if pair not in whole]
    if len(rest) == len(own) and not touched:
        yield of_cause("cidrs", "SELECTORS_UNACCEPTABLE", ours=_text(own), theirs=_text(peers), line=line)
    elif missing:
        yield of_cause(
            "cidrs",
            "SELECTORS_NARROWED",
            ours=_text(own),
            theirs=_text(peers),
            line=line,
            severity="impaired",
            addition=f": it lacks {_text(missing)}",
        )
    elif extra := [pair for pair in peers if not any((pair.local, pair.remote) == (o.local, o.remote) for o in own)]:
        text = "the peer has more networks than this connection: what is not here does not pass"
        yield Difference(
            field="cidrs",
            severity="differs",
            code="",
            text=text,
            ours=_text(own),
            theirs=_text(extra),
            line=line,
            here="add the networks, if they are to pass",
        )


def _pair(local: str, remote: str, ours: Connection) -> _Pair:
    """A pair as this end sees it."""
    local = local.replace(DYNAMIC, ours.local_address) if local.startswith(DYNAMIC) else local
    remote = remote.replace(DYNAMIC, ours.peer_address) if remote.startswith(DYNAMIC) else remote
    return _Pair(_range(local), _range(remote), f"{local} === {remote}")


def _range(text: str) -> _Range:
    address, _, limit = text.partition("[")
    limit = limit.rstrip("]").strip()
    limit = "" if limit in ("any", "0", "%any", "any/any", "/") else limit
    first, dash, last = address.partition("-")
    try:
        if dash:
            start, end = ipaddress.ip_address(first), ipaddress.ip_address(last)
            return _Range(start.version, int(start), int(end), limit)
        network = ipaddress.ip_network(address, strict=False)
    except ValueError:
        # A name, whose address is not known here.
        return _Range(0, 0, 0, address)
    return _Range(network.version, int(network[0]), int(network[-1]), limit)


def _meet(one: _Pair, other: _Pair) -> bool:
    return all(
        left.version == right.version and left.first <= right.last and right.first <= left.last
        for left, right in ((one.local, other.local), (one.remote, other.remote))
    )


def _within(inner: _Pair, outer: _Pair) -> bool:
    return all(
        left.version == right.version
        and right.first <= left.first
        and left.last <= right.last
        and right.limit in ("", left.limit)
        for left, right in ((inner.local, outer.local), (inner.remote, outer.remote))
    )


def _text(found: Sequence[_Pair]) -> str:
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ", ".join(pair.text for pair in found[:_SHOWN]) + more
