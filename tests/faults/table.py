"""The table of faults: a row for each end of each case."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

COLUMNS: Final = ("fault", "IKE", "near", "far", "end", "judgement", "seconds", "code", "right")
PROPERTY: Final = "fault"
LATE: Final = "!"
"""Behind the seconds of a code that is right and came later than its fault promises."""


class Row(NamedTuple):
    """The last words of an end in a case. `right`: the codes that would have been."""

    fault: str
    version: str
    role: str
    kind: str
    end: str
    judgement: str
    seconds: str
    code: str
    right: str

    @property
    def case(self) -> tuple[str, ...]:
        """The case that it belongs to."""
        return self[:4]


def lines(columns: Sequence[str], rows: Iterable[Row]) -> Iterator[str]:
    """The lines of the table, in columns."""
    ordered = [columns, *sorted(rows)]
    widths = [max(len(row[number]) for row in ordered) for number in range(len(columns))]
    for row in ordered:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
