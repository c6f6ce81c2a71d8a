"""The pairs of traffic selectors that installed child SAs carry, compared with those that a configuration wants. Pure.

A responder may narrow the selectors that it is offered (RFC 7296 2.9): to the networks, hosts, protocols or ports that
it knows, or to one pair for each child SA. So the name of an installed child tells what was offered, and only its own
selectors tell what it carries.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterable, Iterator

import msgspec

from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.ipsec.config import IkeConfig, pairs_of
from linkspan.core.ipsec.selectors import SelectorPair
from linkspan.core.state.live_facts import CARRYING
from linkspan.core.tunnel.sas import ChildSa, IkeSa


class MissingPair(msgspec.Struct, frozen=True):
    """A wanted pair that the child SAs do not carry entirely. `part`: the selectors of a child that carries a part."""

    pair: SelectorPair
    part: str = ""


class _Range(msgspec.Struct, frozen=True):
    """The addresses of a selector as numbers; `limited`: only some of their protocols or ports."""

    version: int
    first: int
    last: int
    limited: bool

    def overlaps(self, other: _Range) -> bool:
        return self.version == other.version and self.first <= other.last and other.first <= self.last

    def holds(self, other: _Range) -> bool:
        return self.version == other.version and self.first <= other.first and other.last <= self.last


_Block = tuple[_Range, _Range]
"""The traffic between the addresses of two ranges."""


def missing_pairs(config: IkeConfig, sas: Iterable[IkeSa]) -> tuple[MissingPair, ...]:
    """The pairs of a configuration that its child SAs do not carry entirely, in the configuration's order."""
    children = carrying_children(config, sas)
    if any(_is_as_configured(config, child) for child in children):
        return ()
    blocks = [block for child in children for block in _blocks(child)]
    letter_by_letter = {pair for child in children for pair in selector_pairs(child)}
    return tuple(
        MissingPair(pair, _part(pair, children))
        for pair in pairs_of(config)
        if pair not in letter_by_letter and not _covers(blocks, _block(pair))
    )


def selector_pairs(child: ChildSa) -> tuple[SelectorPair, ...]:
    """Every local selector of a child SA with every remote one."""
    return tuple(SelectorPair(left, right) for left in child.local_ts for right in child.remote_ts)


def adds_to(config: IkeConfig, other: IkeConfig, missing: Iterable[MissingPair], sas: Iterable[IkeSa]) -> bool:
    """True if children of another configuration carry something of the pairs that are missing in this one."""
    sas = tuple(sas)
    children, pairs = carrying_children(config, sas), [part.pair for part in missing]
    return any(
        any(_part(pair, [child]) for pair in pairs) and not _is_carried(child, children)
        for child in carrying_children(other, sas)
    )


def carrying_children(config: IkeConfig, sas: Iterable[IkeSa]) -> list[ChildSa]:
    """The child SAs of a configuration that carry traffic.

    One that is listed without selectors has those of its configuration, and so has one in transport mode, which
    carries what passes between the two gateways whatever the selectors say.
    """
    configured = {child.name: child for child in config.children}
    found: list[ChildSa] = []
    for child in (child for sa in sas for child in sa.children if child.state in CARRYING):
        if own := configured.get(child.name):
            as_configured = own.mode == "transport" or not (child.local_ts and child.remote_ts)
            selectors = (own.local_ts, own.remote_ts) if as_configured else (child.local_ts, child.remote_ts)
            found.append(msgspec.structs.replace(child, local_ts=selectors[0], remote_ts=selectors[1]))
    return found


def _is_carried(child: ChildSa, others: Iterable[ChildSa]) -> bool:
    """True if these other child SAs together carry everything that a child SA does."""
    others = tuple(others)
    blocks = [block for other in others for block in _blocks(other)]
    letter_by_letter = {pair for other in others for pair in selector_pairs(other)}
    return all(pair in letter_by_letter or _covers(blocks, _block(pair)) for pair in selector_pairs(child))


def _is_as_configured(config: IkeConfig, child: ChildSa) -> bool:
    """True if a child SA has the selectors of a configuration that consists of one child, letter by letter."""
    wholes = ipsec_config.whole_children(config) if config.version == 2 else config.children
    whole = wholes[0]
    return (
        len(wholes) == 1 and set(whole.local_ts) <= set(child.local_ts) and set(whole.remote_ts) <= set(child.remote_ts)
    )


def _part(pair: SelectorPair, children: Iterable[ChildSa]) -> str:
    """The first two selectors of child SAs that overlap a pair, empty without any."""
    local, remote = _block(pair)
    for child in children:
        for left in child.local_ts:
            for right in child.remote_ts:
                if _range(left).overlaps(local) and _range(right).overlaps(remote):
                    return f"{left} - {right}"
    return ""


# --- blocks of traffic --------------------------------------------------------------------------------------------


def _blocks(child: ChildSa) -> Iterator[_Block]:
    """The blocks that a child SA carries for every protocol and port."""
    for local in map(_range, child.local_ts):
        for remote in map(_range, child.remote_ts):
            if not local.limited and not remote.limited:
                yield local, remote


def _block(pair: SelectorPair) -> _Block:
    return _range(pair.local), _range(pair.remote)


def _covers(blocks: Iterable[_Block], wanted: _Block) -> bool:
    """True if blocks together hold a wanted one.

    The local addresses are cut where a block starts or ends. Between two cuts the blocks differ in their remote
    addresses only.
    """
    local, remote = wanted
    near = [block for block in blocks if block[0].overlaps(local) and block[1].overlaps(remote)]
    if any(left.holds(local) and right.holds(remote) for left, right in near):
        return True
    cuts = {local.first} | {cut for left, _ in near for cut in (left.first, left.last + 1)}
    return bool(near) and all(_covers_at(cut, near, remote) for cut in cuts if local.first <= cut <= local.last)


def _covers_at(address: int, blocks: Iterable[_Block], remote: _Range) -> bool:
    """True if blocks together hold the traffic of one local address with a range."""
    return _joined([right for left, right in blocks if left.first <= address <= left.last], remote)


def _joined(ranges: Iterable[_Range], wanted: _Range) -> bool:
    """True if ranges together hold a wanted one."""
    reached = wanted.first
    for part in sorted(ranges, key=lambda part: part.first):
        if part.first > reached:
            return False
        reached = max(reached, part.last + 1)
    return reached > wanted.last


@functools.lru_cache(maxsize=16384)
def _range(selector: str) -> _Range:
    """A selector as charon writes it: `10.1.0.0/24`, `10.1.0.3..10.1.0.9`, or one of them with `[tcp/443]`.

    One that is none of these overlaps and holds nothing.
    """
    addresses, _, limits = selector.partition("[")
    first, dots, last = addresses.partition("..")
    try:
        if dots:
            start, end = ipaddress.ip_address(first), ipaddress.ip_address(last)
        else:
            network = ipaddress.ip_network(addresses, strict=False)
            start, end = network.network_address, network.broadcast_address
    except ValueError:
        return _Range(0, 0, 0, True)
    return _Range(start.version, int(start), int(end), bool(limits))
