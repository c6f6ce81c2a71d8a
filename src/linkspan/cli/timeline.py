"""`linkspan connection events NAME`, and the part of `linkspan status` that says what has changed: the timeline."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import click

from linkspan.cli import layout, render
from linkspan.cli.client import ApiError, Client, CliError
from linkspan.cli.commands import cloud_options, create_client, format_option
from linkspan.cli.layout import Screen
from linkspan.cli.resolve import find_id, member_path
from linkspan.core.printable import harmless_json, one_line
from linkspan.core.schema.resources import CONNECTION
from linkspan.core.state.timeline import KINDS, MEANINGS, OWN

ALL: Final = "/v2.0/linkspan/events"
SHOWN: Final = 50
"""Events that are printed if no number is asked for."""
PAUSE: Final = 1.0
"""Seconds before a stream that has ended is opened again."""
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_AGO: Final = re.compile(r"([0-9]{1,6})([smhd])")
_DONE: Final = {"create": "created", "update": "updated", "delete": "deleted"}
_STYLES: Final = {"up": "green", "down": "red", "cause": "red", "dpd": "red", "notice": "yellow", "lost": "yellow"}

_Query = list[tuple[str, Any]]


class Since(click.ParamType[str]):
    """A time, or how long ago it was: 90s, 15m, 1h, 2d. Converts to ISO 8601."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Converts what was typed."""
        if match := _AGO.fullmatch(value):
            ago = timedelta(seconds=int(match[1]) * _UNITS[match[2]])
            return (datetime.now(UTC) - ago).isoformat(timespec="seconds").replace("+00:00", "Z")
        try:
            # Without an offset it is in the time of this machine.
            return datetime.fromisoformat(value).astimezone(UTC).isoformat().replace("+00:00", "Z")
        except (ValueError, OverflowError, OSError):
            self.fail(f"'{value}' is neither a time such as 2026-11-29T14:00 nor a duration such as 15m, 1h, 2d")


def events(client: Client, path: str, query: _Query, most: int | None) -> Iterator[dict[str, Any]]:
    """Yields the events of a query, page by page, as many as `most`; None: all."""
    left = most
    while left is None or left > 0:
        limit = [] if left is None else [("limit", left)]
        answer = client.request("GET", path, query=[*query, *limit])
        page = answer["events"]
        yield from page
        left = None if left is None else left - len(page)
        following = [link["href"] for link in answer.get("events_links", ())]
        if not following:
            return
        query = [pair for pair in parse_qsl(urlsplit(following[0]).query) if pair[0] != "limit"]


def follow(client: Client, path: str, query: _Query, after: str) -> Iterator[dict[str, Any]]:
    """Yields what follows an event, for ever. Where the API is away, it goes on when that is back."""
    while True:
        try:
            for line in client.lines(path, [*query, ("after", after)]):
                name, _, value = line.partition(": ")
                if name == "id":
                    after = value
                elif name == "data":
                    yield json.loads(value)
        except ApiError:
            raise
        except CliError as error:
            click.echo(f"{one_line(str(error))}; trying again", err=True)
        time.sleep(PAUSE)


def event_line(event: dict[str, Any], on: Screen, *, named: bool = False) -> Iterator[str]:
    """An event for people. `named`: with the name of its connection."""
    at = datetime.fromisoformat(event["at"]).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    kind = str(event["kind"])
    name = f"{one_line(event['connection_name'] or event['connection_id'])}  " if named else ""
    begin = f"{at}  {name}{on.paint(f'{kind:<8}', _STYLES.get(kind, ''), bold=True)}  "
    yield from layout.hanging(begin, len(at) + len(name) + 12, _text(event), on)


def _text(event: dict[str, Any]) -> str:
    edit = event["revision"]
    if edit:
        what = "" if edit["resource"] == OWN else f"{edit['resource'].replace('_', ' ')} "
        done = _DONE.get(edit["action"], edit["action"].replace("_", " "))
        who = f" by {edit['user_name']}" if edit["user_name"] else ""
        fields = f": {', '.join(edit['fields'])}" if edit["fields"] else ""
        return f"{what}{done}{who}{fields}"
    if event["kind"] == "move":
        return f"the gateway is on node {event['node']}" if event["node"] else "the gateway waits for a node"
    if event["kind"] == "notice" and not event["status_code"]:
        return event["reason"] or "as desired again"
    code = f" ({event['status_code']})" if event["status_code"] else ""
    return f"{event['reason'] or MEANINGS[event['kind']]}{code}"


def changes(client: Client, since: str) -> list[dict[str, Any]]:
    """The newest events of all connections since a time, the oldest one first."""
    return list(events(client, ALL, [("since", since)], SHOWN))[::-1]


def change_lines(found: Sequence[dict[str, Any]], since: str, on: Screen) -> Iterator[str]:
    """Changes, for people."""
    count = "nothing" if not found else f"the newest {SHOWN} events" if len(found) == SHOWN else f"{len(found)} events"
    yield on.paint(f"since {since}: {count}", "", bold=True)
    for event in found:
        yield from event_line(event, on, named=True)


def _print(event: dict[str, Any], format_: str) -> None:
    if format_ == "json":
        click.echo(harmless_json(json.dumps(event, ensure_ascii=False)))
        return
    for line in event_line(event, layout.screen()):
        click.echo(line)


def command() -> click.Command:
    """Builds the command `events` of the group `connection`."""

    def run(
        cloud: str | None,
        state: Path,
        wanted: str,
        format_: str,
        since: str | None,
        limit: int,
        kinds: tuple[str, ...],
        following: bool,
    ) -> None:
        client = create_client(cloud, state)
        path = f"{member_path(CONNECTION, find_id(client, CONNECTION, wanted))}/events"
        query: _Query = [("kind", kind) for kind in kinds] + ([("since", since)] if since else [])
        found = list(events(client, path, query, limit))[::-1]
        if format_ == "json" and not following:
            render.print_json(found)
            return
        more = follow(client, path, query, found[-1]["id"] if found else "0") if following else ()
        for event in chain(found, more):
            _print(event, format_)

    parameters: list[click.Parameter] = [
        click.Argument(["wanted"], metavar="NAME|ID"),
        click.Option(["--since"], type=Since(), metavar="TIME", help="only events since then: 15m, 1h, 2d, or a time"),
        click.Option(
            ["--kind", "kinds"], type=click.Choice(KINDS), multiple=True, help="only events of this kind; repeatable"
        ),
        click.Option(["--limit"], type=click.IntRange(min=1), default=SHOWN, help=f"the most events (default {SHOWN})"),
        click.Option(
            ["--follow", "following"],
            is_flag=True,
            help="go on until Ctrl-C; JSON: a line for each event",
        ),
        format_option(),
        *cloud_options(),
    ]
    about = "Tell what happened to a connection, the newest event last: revisions, ups and downs with their causes."
    return click.Command("events", callback=run, params=parameters, help=about)
