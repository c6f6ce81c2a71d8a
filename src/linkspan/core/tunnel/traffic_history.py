"""The traffic of an hour, in as few bytes as it needs. Pure; time is a parameter.

All connections of a gateway are sampled at the same times, which are kept once. Of a connection only the samples are
kept in which something passed, as variable-length integers: a connection at rest takes no memory, a busy one some 6 KB.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

import msgspec

from linkspan.core.state.traffic import KEPT, Amounts, TrafficSample

_TIMES: Final = struct.Struct("<dd")
_UNIT: Final = 0.01
"""Milliseconds: the resolution of a round trip."""
_NUMBERS: Final = 6
"""Numbers of an entry: samples since the entry before it, four amounts, and the round trip in units plus one, or 0."""
_FRESH: Final = 6
"""Samples for which a round trip counts as the newest one."""


class SampleTimes(msgspec.Struct, frozen=True):
    """When the samples of a gateway have begun and ended: seconds on a clock that never goes back.

    `first`: the number of the oldest one. Numbers go on for ever.
    """

    first: int = 0
    packed: bytes = b""

    @property
    def next(self) -> int:
        """The number of the next sample."""
        return self.first + len(self.packed) // _TIMES.size


def taken(times: SampleTimes, begin: float, end: float) -> SampleTimes:
    """The times with those of one more sample, without those that are too old to be kept."""
    packed = times.packed + _TIMES.pack(begin, end)
    surplus = max(0, len(packed) // _TIMES.size - KEPT)
    return SampleTimes(times.first + surplus, packed[surplus * _TIMES.size :])


class TrafficHistory(msgspec.Struct, frozen=True):
    """The traffic of a connection. `since`: the number of its first sample. `base`, `last`: the numbers of the samples
    before the first entry and of the last one; `size`: bytes of the last entry. `rtt_ms`: the newest round trip, in the
    sample `timed`."""

    since: int
    base: int
    last: int
    packed: bytes = b""
    size: int = 0
    rtt_ms: float | None = None
    timed: int = 0


_set = msgspec.structs.replace
_NOTHING: Final = Amounts()


def begun(number: int) -> TrafficHistory:
    """The history of a connection whose first sample has this number."""
    return TrafficHistory(number, number - 1, number - 1)


def added(
    history: TrafficHistory, number: int, oldest: int, amounts: Amounts, rtt_ms: float | None = None
) -> TrafficHistory:
    """The history with the sample of this number. `oldest`: the number of the oldest one that is kept."""
    if amounts == _NOTHING and rtt_ms is None:
        return history
    trip = 0 if rtt_ms is None else round(rtt_ms / _UNIT) + 1
    entry = _encoded((number - history.last, *msgspec.structs.astuple(amounts), trip))
    base, packed = history.base, history.packed
    while packed:
        numbers, end = _decoded(packed, 0)
        if base + numbers[0] >= oldest:
            break
        base, packed = base + numbers[0], packed[end:]
    after = _set(history, base=base, last=number, packed=packed + entry, size=len(entry))
    return after if rtt_ms is None else _set(after, rtt_ms=rtt_ms, timed=number)


def samples(history: TrafficHistory, times: SampleTimes, offset: float, since: float) -> Iterator[TrafficSample]:
    """The samples that end after a time, the oldest first, with the gaps between them.

    `offset`: what a clock that shows times has more than that of the samples; `since` is a time by the former.
    """
    entries = dict(_entries(history))
    last_end: float | None = None
    for number, (begin, end) in enumerate(_TIMES.iter_unpack(times.packed), times.first):
        if number < history.since:
            continue
        if last_end is not None and begin > last_end and _shown(begin + offset) > since:
            yield TrafficSample(_shown(begin + offset), _shown(begin - last_end))
        if _shown(end + offset) > since:
            yield _sample(begin, end, offset, entries.get(number))
        last_end = end


def newest(history: TrafficHistory, times: SampleTimes, offset: float) -> TrafficSample | None:
    """The newest sample, with the newest round trip of the last minute; None if there is no sample."""
    number = times.next - 1
    if number < max(times.first, history.since):
        return None
    begin, end = _TIMES.unpack(times.packed[-_TIMES.size :])
    entry = _decoded(history.packed, len(history.packed) - history.size)[0] if history.last == number else None
    sample = _sample(begin, end, offset, entry)
    if history.rtt_ms is not None and number - history.timed < _FRESH:
        sample = _set(sample, rtt_ms=history.rtt_ms)
    return sample


def _sample(begin: float, end: float, offset: float, entry: tuple[int, ...] | None) -> TrafficSample:
    _, in_bytes, out_bytes, in_packets, out_packets, trip = entry or (0,) * _NUMBERS
    rtt_ms = round((trip - 1) * _UNIT, 2) if trip else None
    return TrafficSample(
        _shown(end + offset), _shown(end - begin), in_bytes, out_bytes, in_packets, out_packets, rtt_ms
    )


def _shown(seconds: float) -> float:
    return round(seconds, 3)


def _entries(history: TrafficHistory) -> Iterator[tuple[int, tuple[int, ...]]]:
    number, at = history.base, 0
    while at < len(history.packed):
        numbers, at = _decoded(history.packed, at)
        number += numbers[0]
        yield number, numbers


def _encoded(numbers: tuple[int, ...]) -> bytes:
    """Numbers of seven bits a byte, the lowest first; the highest bit says that more follow."""
    found = bytearray()
    for number in numbers:
        rest = number
        while rest > 0x7F:
            found.append(rest & 0x7F | 0x80)
            rest >>= 7
        found.append(rest)
    return bytes(found)


def _decoded(packed: bytes, at: int) -> tuple[tuple[int, ...], int]:
    """The numbers of the entry that begins at this place, and the place after it."""
    numbers: list[int] = []
    for _ in range(_NUMBERS):
        number = shift = 0
        while packed[at] > 0x7F:
            number |= (packed[at] & 0x7F) << shift
            shift += 7
            at += 1
        numbers.append(number | packed[at] << shift)
        at += 1
    return tuple(numbers), at
