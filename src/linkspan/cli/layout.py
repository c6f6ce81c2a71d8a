"""Lays text out for people: aligned, wrapped to the width of a terminal, in colours where these are wanted.

Everything that comes from a server goes through here as `harmless` text. In a pipe no line is wrapped and nothing is
coloured. `NO_COLOR` (no-color.org) turns colours off.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import click
import msgspec

from linkspan.core.printable import one_line

NARROWEST: Final = 20
"""Columns that a wrapped text has at least."""
MARKS: Final = {"ok": "✓", "failed": "✗", "waiting": "…", "unknown": "·"}
STYLES: Final = {"ok": "green", "failed": "red", "waiting": "yellow", "unknown": "bright_black"}


class Screen(msgspec.Struct, frozen=True):
    """The place that text is laid out for. `width`, `height`: in cells, 0 for no limit."""

    width: int = 0
    height: int = 0
    coloured: bool = False

    def paint(self, text: str, style: str, *, bold: bool = False) -> str:
        """A text in a colour, if there are colours."""
        return click.style(text, fg=style or None, bold=bold) if self.coloured and (style or bold) else text


def screen() -> Screen:
    """The screen of standard output."""
    if not sys.stdout.isatty():
        return Screen()
    width, height = shutil.get_terminal_size()
    return Screen(width, height, not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb")


class Part(msgspec.Struct, frozen=True):
    """A line of a list. `state`: a key of `MARKS`, whose mark it begins with."""

    state: str
    label: str
    text: str


def parts(items: Sequence[Part], on: Screen) -> Iterator[str]:
    """Lines of a list: mark, label and text, the texts below each other."""
    column = max((cells(one_line(item.label)) for item in items), default=0)
    for item in items:
        style = STYLES.get(item.state, "")
        label = padded(one_line(item.label), column)
        first = f"  {on.paint(MARKS.get(item.state, ' '), style)} {on.paint(label, '', bold=item.state == 'failed')}  "
        yield from hanging(first, column + 6, item.text, on)


def hanging(first: str, indent: int, text: str, on: Screen) -> Iterator[str]:
    """A text behind what its first line begins with, which takes `indent` cells; further lines are indented."""
    before = first
    for line in wrapped(one_line(text), max(on.width - indent, NARROWEST) if on.width else 0):
        yield (before + line).rstrip()
        before = " " * indent


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], on: Screen, styles: Iterable[str] = ()) -> list[str]:
    """Rows under the names of their columns. `styles`: the colour of each row's second cell, if it has one."""
    harmless = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(cells, column)) for column in zip(columns, *harmless, strict=True)]
    lines = [on.paint(_row(columns, widths), "", bold=True)]
    for row, style in zip(harmless, [*styles] or [""] * len(harmless), strict=True):
        line = _row(row, widths)
        if style and on.coloured:
            start = len(padded(row[0], widths[0])) + 2
            line = line[:start] + on.paint(row[1], style) + line[start + len(row[1]) :]
        lines.append(line)
    return lines


def _row(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(padded(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip()


def wrapped(text: str, width: int) -> list[str]:
    """A text in lines of so many cells; 0: in one."""
    if not width or cells(text) <= width:
        return [text]
    lines = [""]
    for word in text.split(" "):
        rest = word
        if lines[-1] and cells(lines[-1]) + 1 + cells(rest) > width:
            lines.append("")
        while cells(rest) > width - cells(lines[-1]) and not lines[-1]:
            piece = _fitting(rest, width)
            lines[-1], rest = piece, rest[len(piece) :]
            lines.append("")
        lines[-1] = f"{lines[-1]} {rest}" if lines[-1] else rest
    return [line for line in lines if line]


def _fitting(text: str, width: int) -> str:
    end = min(len(text), width)
    while end > 1 and cells(text[:end]) > width:
        end -= 1
    return text[:end]


def padded(text: str, width: int) -> str:
    """A text with blanks to so many cells."""
    return text + " " * (width - cells(text))


def cells(text: str) -> int:
    """The cells of a terminal that a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def duration(seconds: float) -> str:
    """Seconds in their largest sensible unit: 12 s, 5 min, 3 h, 2 d."""
    whole = max(0, int(seconds))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if whole >= 2 * size:
            return f"{whole // size} {unit}"
    return f"{whole} s"


def amount(count: int) -> str:
    """Bytes in their largest sensible unit, with three digits: 840 B, 1.23 MB."""
    value, units = float(count), ["B", "kB", "MB", "GB", "TB", "PB"]
    while value >= 999.5 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{value:.0f} {units[0]}" if count < 1000 or value >= 99.95 else f"{value:.3g} {units[0]}"
