"""`linkspan connection compare NAME --peer FILE`: a connection against its peer's configuration, in a file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

import click

from linkspan.cli import layout, render
from linkspan.cli.client import CliError
from linkspan.cli.commands import cloud_options, create_client
from linkspan.cli.layout import Screen
from linkspan.cli.resolve import find_id, member_path
from linkspan.core.peer_side.parsers import formats
from linkspan.core.peer_side.parsers.reading import MOST_BYTES, Unreadable, decoded
from linkspan.core.printable import one_line
from linkspan.core.schema.resources import CONNECTION

_HEADS: Final = {
    "cannot": ("red", "the tunnel cannot come up"),
    "impaired": ("yellow", "it comes up, but"),
    "unknown": ("cyan", "the text does not say"),
    "differs": ("", "only differs"),
}
_LABELS: Final = (("here", "ours"), ("the peer", "theirs"), ("do here", "here"), ("or at the peer", "there"))


def comparison_lines(compared: dict[str, Any], on: Screen) -> Iterator[str]:
    """A comparison for people: whether it fits, and each difference with its line and what to do."""
    name = one_line(compared["name"] or compared["connection_id"])
    verdict = on.paint("fits", "green", bold=True) if compared["fits"] else on.paint("does not fit", "red", bold=True)
    peer = f"'{one_line(compared['peer_connection'])}' ({one_line(compared['format'])})"
    yield f"{on.paint(name, '', bold=True)}  {verdict}  with {peer}"
    for difference in compared["differences"]:
        yield from _difference(difference, on)
    for ignored in compared["ignored"]:
        yield from layout.hanging("  note  ", 8, f"line {ignored['line']}: {ignored['text']}", on)


def _difference(difference: dict[str, Any], on: Screen) -> Iterator[str]:
    style, head = _HEADS.get(difference["severity"], ("", difference["severity"]))
    where = f", line {difference['line']}" if difference["line"] else ""
    code = f" ({difference['code']})" if difference["code"] else ""
    label = f"{one_line(head)}: "
    yield ""
    yield from layout.hanging(
        f"  {on.paint(label, style, bold=True)}", len(label) + 2, f"{difference['field']}{where}{code}", on
    )
    yield from layout.hanging("  ", 2, difference["text"], on)
    for title, key in _LABELS:
        if difference[key]:
            yield from layout.hanging(f"  {on.paint(f'{title:<14}', 'cyan')}  ", 18, difference[key], on)


def _run(
    cloud: str | None,
    state: Path,
    wanted: str,
    peer: BinaryIO,
    peer_format: str | None,
    name: str | None,
    as_json: bool,
) -> None:
    try:
        text = decoded(peer.read(MOST_BYTES + 1))
    except Unreadable as error:
        raise CliError(f"{peer.name}: {error}") from None
    client = create_client(cloud, state)
    path = f"{member_path(CONNECTION, find_id(client, CONNECTION, wanted))}/compare"
    values = {"configuration": text, "format": peer_format, "connection": name}
    body = {"compare": {key: value for key, value in values.items() if value is not None}}
    compared: dict[str, Any] = client.request("POST", path, body)["compare"]
    if as_json:
        render.print_json(compared)
    else:
        click.echo("\n".join(comparison_lines(compared, layout.screen())))
    if not compared["fits"]:
        sys.exit(1)


def command() -> click.Command:
    """Builds the command `compare`."""
    parameters = [
        click.Argument(["wanted"], metavar="NAME|ID"),
        click.Option(
            ["--peer"],
            type=click.File("rb"),
            required=True,
            metavar="FILE",
            help="the peer's configuration, its keys beside it if they are to be compared; - for standard input",
        ),
        click.Option(
            ["--format", "peer_format"],
            type=click.Choice(formats.NAMES),
            help="the format of the file (default: found in it)",
        ),
        click.Option(
            ["--name"],
            metavar="CONNECTION",
            help="the connection in the file (default: the one for our gateway's address)",
        ),
        click.Option(["--json", "as_json"], is_flag=True, help="print the answer as JSON"),
        *cloud_options(),
    ]
    return click.Command(
        "compare",
        callback=_run,
        params=parameters,
        help=(
            "Compare a connection with the configuration of its peer, and say what does not fit before the first "
            "packet. Nothing of the file is kept. Exits with 1 if it does not fit."
        ),
        short_help="what does not fit between a connection and its peer's configuration",
    )
