"""`linkspan connection traffic NAME`: what a connection has carried in the last hour, as its agent remembers it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import click

from linkspan.cli import layout, render
from linkspan.cli.client import CliError
from linkspan.cli.commands import cloud_options, create_client, format_option
from linkspan.cli.layout import Screen
from linkspan.cli.resolve import find_id, member_path
from linkspan.cli.timeline import Since
from linkspan.core.printable import one_line
from linkspan.core.schema.resources import CONNECTION

LONGEST: Final = 60
"""Columns of a sparkline at most."""
_BARS: Final = "▁▂▃▄▅▆▇█"
_GAP: Final = " "
_LABEL: Final = 6
_Rates = Sequence[float | None]


def traffic_lines(traffic: dict[str, Any], on: Screen) -> Iterator[str]:
    """Traffic, for people: of each direction a line from its oldest sample to its newest, and the figures."""
    name, node = (one_line(traffic[key] or "") for key in ("name", "node"))
    at = traffic["at"]
    begin = datetime.fromtimestamp(at[0] - traffic["seconds"][0]).astimezone() if at else None
    since = f"  {begin:%H:%M:%S} to {datetime.fromtimestamp(at[-1]).astimezone():%H:%M:%S}" if begin else ""
    yield f"{on.paint(name or traffic['connection_id'], '', bold=True)}  on {node}{since}"
    for way in ("in", "out"):
        yield from _way(traffic, way, on)
    trips = [trip for trip in traffic["rtt_ms"] if trip is not None]
    if trips:
        yield f"  {'rtt':<{_LABEL}}{trips[-1]:g} ms, from {min(trips):g} to {max(trips):g} ms"


def _way(traffic: dict[str, Any], way: str, on: Screen) -> Iterator[str]:
    pairs = zip(traffic[f"{way}_bytes"], traffic["seconds"], strict=True)
    rates = [None if count is None or not seconds else 8 * count / seconds for count, seconds in pairs]
    known = [rate for rate in rates if rate is not None]
    if not known:
        return
    count, packets = (sum(value or 0 for value in traffic[f"{way}_{unit}"]) for unit in ("bytes", "packets"))
    width = min(LONGEST, max(layout.NARROWEST, on.width - _LABEL - 2)) if on.width else LONGEST
    yield f"  {way:<{_LABEL}}{on.paint(sparkline(rates, width), 'cyan')}"
    text = f"now {_rate(known[-1])}, most {_rate(max(known))}, {layout.amount(count)} in {packets} packets"
    yield from layout.hanging(" " * (_LABEL + 2), _LABEL + 2, text, on)


def sparkline(rates: _Rates, width: int) -> str:
    """Rates as bars, as many as there are columns at most: each the highest one of its time. A blank is a gap."""
    count = min(width, len(rates))
    parts = [rates[len(rates) * place // count : len(rates) * (place + 1) // count] for place in range(count)]
    tops = [max((rate for rate in part if rate is not None), default=None) for part in parts]
    most = max((top for top in tops if top is not None), default=0.0) or 1.0
    return "".join(_GAP if top is None else _BARS[min(7, int(8 * top / most))] for top in tops)


def _rate(bits: float) -> str:
    return layout.amount(round(bits)).removesuffix("B") + "bit/s"


def command() -> click.Command:
    """Builds the command `connection traffic`."""

    def run(cloud: str | None, state: Path, wanted: str, since: str | None, format_: str) -> None:
        client = create_client(cloud, state)
        path = f"{member_path(CONNECTION, find_id(client, CONNECTION, wanted))}/traffic"
        query = [("since", since)] if since else []
        traffic: dict[str, Any] = client.request("GET", path, query=query)["traffic"]
        if format_ == "json":
            render.print_json(traffic)
        elif not traffic["fault"]:
            click.echo("\n".join(traffic_lines(traffic, layout.screen())))
        if traffic["fault"]:
            raise CliError(f"there is no traffic to show: {traffic['fault']}")

    parameters = [
        click.Argument(["wanted"], metavar="NAME|ID"),
        click.Option(
            ["--since"],
            type=Since(),
            metavar="TIME|AGO",
            help="only what was carried since then: a time, or 90s, 15m, 1h (default: all of the last hour)",
        ),
        format_option(),
        *cloud_options(),
    ]
    return click.Command(
        "traffic",
        callback=run,
        params=parameters,
        help="Show what a connection has carried in the last hour, and the round trip to its peer.",
        short_help="what a connection has carried in the last hour",
    )
