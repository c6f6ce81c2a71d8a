"""Prints objects: as JSON, as aligned plain text in a pipe, or as a coloured table on a terminal.

Secrets are hidden in every format unless --show-secrets is given. Characters that could command a terminal, or make a
text look like another one, are named in their places, whoever the server is. No value is truncated: on a terminal a
long value is wrapped, in a pipe it stays on its line.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import click

from linkspan.core.printable import harmless, harmless_json
from linkspan.core.schema.resources import Resource

HIDDEN: Final = "***"
COLOURS: Final = {
    "ACTIVE": "green",
    "PENDING": "yellow",
    "DOWN": "red",
    "ERROR": "red",
    "up": "green",
    "lost": "red",
}


def hide_secrets(resource: Resource, item: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the object with its secrets replaced by ***; a secret that is not set stays null."""
    secret = {attribute.name for attribute in resource.attributes if attribute.secret}
    return {key: HIDDEN if key in secret and value else value for key, value in item.items()}


def print_json(value: Any) -> None:
    """Prints a value as JSON."""
    click.echo(harmless_json(json.dumps(value, indent=2, ensure_ascii=False)))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Prints rows under their column names."""
    cells = [[format_value(value) for value in row] for row in rows]
    if sys.stdout.isatty():
        _pretty(columns, cells)
        return
    cells = [[cell.replace("\n", "; ") for cell in row] for row in cells]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    for row in [list(columns), *cells]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_details(item: Mapping[str, Any]) -> None:
    """Prints one object, one attribute per line."""
    print_table(("attribute", "value"), item.items())


def _pretty(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for row in cells:
        table.add_row(*(Text(cell, style=status_colour(cell), overflow="fold") for cell in row))
    Console().print(table)


def status_colour(word: str) -> str:
    """Returns the colour of a status, an empty string for other text."""
    return COLOURS.get(word.partition("_")[0], "")


def format_value(value: Any) -> str:
    """Formats a value as a cell: lists joined, objects as key=value, null as an empty string."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return ", ".join(f"{format_value(key)}={format_value(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return (
            "\n".join(map(format_value, value))
            if any(isinstance(item, Mapping) for item in value)
            else ", ".join(map(format_value, value))
        )
    return harmless(str(value), "\n\t")


def format_age(then: str | None, now: datetime | None = None) -> str:
    """Formats the time since an ISO 8601 time (UTC) in its largest sensible unit: 12s, 5m, 3h, 2d."""
    if not then:
        return ""
    moment = datetime.fromisoformat(then)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    seconds = max(0, int(((now or datetime.now(UTC)) - moment).total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
