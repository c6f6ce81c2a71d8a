"""What the child SAs of each connection have carried since the last sample. Pure.

charon counts by child SA, and a rekey begins at zero. So what counts is by how much the counters of a child SA have
grown since they were last seen: in a listing, or in charon's event about its rekey or its end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf
from typing import Final

import msgspec

from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.state.traffic import Amounts
from linkspan.core.tunnel.sas import ChildSa

_NO_SPI: Final = frozenset({"", "00000000"})
_LISTINGS: Final = 2
"""Listings without a child SA after which it is forgotten: an event about its end may arrive after the first one."""


class CountedChild(msgspec.Struct, frozen=True):
    """The newest counters of a child SA. `absent`: listings in a row that did not have it."""

    amounts: Amounts
    absent: int = 0


class Meter(msgspec.Struct, frozen=True):
    """`children`: by their inbound SPIs. `amounts`: by connection, since the last sample. `known_since`: when all child
    SAs were listed for the first time; None before. What charon had counted until then is not known to have passed
    lately, and is left out."""

    children: Mapping[str, CountedChild] = msgspec.field(default_factory=dict)
    amounts: Mapping[str, Amounts] = msgspec.field(default_factory=dict)
    known_since: float | None = None


_set = msgspec.structs.replace


def charon_started(meter: Meter) -> Meter:
    """The meter after charon was started: it has no child SA. What was counted stays."""
    return _set(meter, children={}, known_since=-inf)


def ended(meter: Meter, child: ChildSa, at: float) -> Meter:
    """The meter after charon's event about a child SA that was rekeyed or has ended. `at`: when the event came, which
    may be long before it is handled.

    One that was never listed counts if it is younger than the first listing.
    """
    is_new = meter.known_since is not None and 0 <= child.age < at - meter.known_since - 1
    return _seen(meter, (child,), counts_new=is_new)


def _seen(meter: Meter, children: Iterable[ChildSa], *, counts_new: bool) -> Meter:
    known, amounts = dict(meter.children), dict(meter.amounts)
    for child in children:
        if child.spi_in not in _NO_SPI:
            _count(child, known, amounts, counts_new=counts_new)
    return _set(meter, children=known, amounts=amounts)


def listed(meter: Meter, children: Iterable[ChildSa], now: float) -> Meter:
    """The meter after all child SAs of charon were listed. `now`: seconds on a clock that never goes back."""
    present = list(children)
    spis = {child.spi_in for child in present}
    after = _seen(meter, present, counts_new=meter.known_since is not None)
    aged = {
        spi: child if spi in spis else _set(child, absent=child.absent + 1) for spi, child in after.children.items()
    }
    kept = {spi: child for spi, child in aged.items() if child.absent < _LISTINGS}
    return _set(after, children=kept, known_since=now if meter.known_since is None else meter.known_since)


def sampled(meter: Meter) -> Meter:
    """The meter after its amounts became a sample."""
    return _set(meter, amounts={}) if meter.amounts else meter


def _count(child: ChildSa, known: dict[str, CountedChild], amounts: dict[str, Amounts], *, counts_new: bool) -> None:
    before = known.get(child.spi_in)
    last = before.amounts if before else Amounts()
    # An event may be older than the listing that was handled before it: counters never go back.
    now = Amounts(
        max(last.in_bytes, child.bytes_in),
        max(last.out_bytes, child.bytes_out),
        max(last.in_packets, child.packets_in),
        max(last.out_packets, child.packets_out),
    )
    known[child.spi_in] = CountedChild(now)
    if now == last or not (before or counts_new):
        return
    owner = ipsec_config.owner_of(child.name)
    amounts[owner] = _sum(amounts.get(owner, Amounts()), now, last)


def _sum(amounts: Amounts, now: Amounts, last: Amounts) -> Amounts:
    return Amounts(
        amounts.in_bytes + now.in_bytes - last.in_bytes,
        amounts.out_bytes + now.out_bytes - last.out_bytes,
        amounts.in_packets + now.in_packets - last.in_packets,
        amounts.out_packets + now.out_packets - last.out_packets,
    )
