"""`linkspan status`: connections, services and nodes with their status and its reason, on one screen.

Status and reason are the API's; this module computes neither.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from linkspan.cli import layout, render, timeline
from linkspan.cli.client import ApiError, Client, CliError
from linkspan.cli.commands import cloud_options, create_client, format_option
from linkspan.cli.layout import Screen
from linkspan.cli.resolve import list_objects
from linkspan.core.printable import one_line
from linkspan.core.schema.resources import CONNECTION, SERVICE

INTERVAL: Final = 1.0
SHOWN_CHANGES: Final = 8
"""Changes that a terminal shows, the newest last."""
CONNECTION_COLUMNS: Final = ("connection", "status", "age", "peer", "code")
SERVICE_COLUMNS: Final = ("service", "status", "age", "address")
REASON: Final = "    "
"""The beginning of the reason of a row, below it."""
NODE_COLUMNS: Final = ("node", "state", "esp", "gateways", "strongswan", "isolation")

Board = dict[str, list[dict[str, Any]]]
"""The rows of each table of `linkspan status`: connections, services, nodes."""


def read_board(client: Client, operator: Client) -> Board:
    """Reads the connections and services with `client`, and the nodes with `operator`, as far as each is permitted."""
    connections = [
        {
            "connection": item["name"] or item["id"],
            "id": item["id"],
            "status": item["status"],
            "since": item.get("created_at"),
            "peer": item["peer_address"],
            "code": item.get("status_code") or "",
            "reason": item.get("status_reason") or "",
        }
        for item in list_objects(client, CONNECTION, [])
    ]
    services = [
        {
            "service": item["name"] or item["id"],
            "id": item["id"],
            "status": item["status"],
            "since": item.get("created_at"),
            "address": item.get("external_v4_ip") or item.get("external_v6_ip") or "",
            "reason": item.get("status_reason") or "",
        }
        for item in list_objects(client, SERVICE, [])
    ]
    return {"connections": connections, "services": services, "nodes": _nodes(operator)}


def _nodes(client: Client) -> list[dict[str, Any]]:
    try:
        answer = client.request("GET", "/v2.0/linkspan/nodes")
    except ApiError as error:
        # 403: this user may not see nodes. 404: another implementation of the API, which has none.
        if error.status in {403, 404}:
            return []
        raise
    return [
        {
            "node": item["name"],
            "state": "up" if item["alive"] else "lost",
            "esp": item["backend"] or "",
            "gateways": item["gateways"],
            "strongswan": item["charon_version"] or "",
            "isolation": (item.get("capabilities") or {}).get("isolation", ""),
        }
        for item in answer["nodes"]
    ]


def board_lines(board: Board, on: Screen, changes: Sequence[str] = ()) -> list[str]:
    """The board for people: what is not ACTIVE first, each reason below its line. `changes`: the newest ones."""
    if not any(board.values()):
        return ["no connections yet: see 'linkspan connection create --help'"]
    lines = [_summary(board, on), ""] if board["connections"] or board["nodes"] else []
    for columns, key in ((CONNECTION_COLUMNS, "connections"), (SERVICE_COLUMNS, "services"), (NODE_COLUMNS, "nodes")):
        if board[key]:
            lines += [*_section(columns, sorted(board[key], key=_order), on), ""]
    if changes:
        lines += [on.paint("changes", "", bold=True), *changes, ""]
    return lines[:-1]


def _order(item: Mapping[str, Any]) -> tuple[bool, str]:
    """The key that sorts what needs a look first."""
    return item.get("status") == "ACTIVE" or item.get("state") == "up", str(next(iter(item.values())))


def _summary(board: Board, on: Screen) -> str:
    """One line that says how many are as they should be."""
    groups = []
    for key, good, singular in (("connections", "ACTIVE", "connection"), ("nodes", "up", "node")):
        items = [item.get("status") or item.get("state") or "" for item in board[key]]
        if items:
            style = "green" if items.count(good) == len(items) else "red"
            noun = singular if len(items) == 1 else f"{singular}s"
            groups.append(f"{on.paint(f'{items.count(good)} of {len(items)}', style, bold=True)} {noun} {good}")
    return " · ".join(groups)


def _section(columns: Sequence[str], items: Sequence[Mapping[str, Any]], on: Screen) -> Iterator[str]:
    """A table with the reason of each row below it."""
    rows = [[render.format_value(_cell(item, column)) for column in columns] for item in items]
    styles = [render.status_colour(row[1]) for row in rows]
    first, *lines = layout.table(columns, rows, on, styles)
    yield first
    for line, item in zip(lines, items, strict=True):
        yield line
        if reason := item.get("reason"):
            yield from layout.hanging(REASON, len(REASON), reason, on)


def _cell(item: Mapping[str, Any], column: str) -> Any:
    return render.format_age(item["since"]) if column == "age" else item[column]


def changes_between(before: Board, after: Board, at: str) -> list[str]:
    """The changes from one board to the next, a line each. `at`: the time, as it is shown."""
    lines = []
    for key, name, state in (
        ("connections", "connection", "status"),
        ("services", "service", "status"),
        ("nodes", "node", "state"),
    ):
        known = {item.get("id") or item[name]: item for item in before[key]}
        for item in after[key]:
            old = known.pop(item.get("id") or item[name], None)
            reason = f": {item['reason']}" if item.get("reason") else ""
            if old is None:
                lines.append(f"{at}  {item[name]} is new, {item[state]}{reason}")
            elif old[state] != item[state]:
                lines.append(f"{at}  {item[name]} {old[state]} → {item[state]}{reason}")
            elif old.get("reason") != item.get("reason"):
                lines.append(f"{at}  {item[name]} {item[state]}{reason or ': no more to say'}")
        lines += [f"{at}  {item[name]} is gone" for item in known.values()]
    return lines


def print_board(board: Board) -> None:
    """Prints the board once."""
    click.echo("\n".join(board_lines(board, layout.screen())))


def operator_client(cloud: str | None, state: Path, client: Client) -> Client:
    """Returns the client that reads the nodes, which only an admin may see.

    If no cloud is selected, that is linkspan-admin of the same clouds file, whose reader has its password anyway.
    """
    if cloud or os.environ.get("OS_CLOUD"):
        return client
    try:
        return create_client("linkspan-admin", state)
    except CliError:
        return client


def watch(client: Client, operator: Client, format_: str) -> None:
    """Prints the board, and then what changes; on a terminal redraws it every second. Ends with Ctrl-C."""
    last: Board | None = None
    changes: deque[str] = deque(maxlen=SHOWN_CHANGES)
    while True:
        board = read_board(client, operator)
        new = changes_between(last, board, time.strftime("%H:%M:%S")) if last is not None else []
        changes.extend(new)
        if format_ == "json":
            if board != last:
                render.print_json(board)
        elif sys.stdout.isatty():
            on = layout.screen()
            shown = [line for change in changes for line in layout.hanging("", len(REASON), change, on)]
            click.echo(frame([*board_lines(board, on, shown), "", _footer(board, on)], on), nl=False)
        elif last is None:
            print_board(board)
        else:
            for change in new:
                click.echo(one_line(change))
        last = board
        time.sleep(INTERVAL)


def _footer(board: Board, on: Screen) -> str:
    broken = next((item["connection"] for item in board["connections"] if item["status"] != "ACTIVE"), "")
    advice = f"linkspan diagnose {one_line(broken)}: why, layer by layer · " if broken else ""
    return on.paint(f"{time.strftime('%H:%M:%S')}  {advice}Ctrl-C ends it", "bright_black")


def frame(lines: Sequence[str], on: Screen) -> str:
    """The text that redraws a terminal in place, without a flicker: no more lines than it has."""
    room = on.height - 1
    if on.height and len(lines) > room:
        left = len(lines) - room + 2
        lines = [*lines[: room - 2], f"… {left} more lines: a larger window shows them", lines[-1]]
    return "\x1b[H" + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J"


def command() -> click.Command:
    """Builds the command `status`."""

    def run(cloud: str | None, state: Path, format_: str, watching: bool, since: str | None) -> None:
        client = create_client(cloud, state)
        operator = operator_client(cloud, state, client)
        if watching:
            watch(client, operator, format_)
            return
        board = read_board(client, operator)
        events = timeline.changes(client, since) if since else []
        if format_ == "json":
            render.print_json(board | ({"events": events} if since else {}))
            return
        print_board(board)
        if since:
            click.echo("\n".join(["", *timeline.change_lines(events, since, layout.screen())]))

    parameters = [
        click.Option(["-w", "--watch", "watching"], is_flag=True, help="refresh until Ctrl-C"),
        click.Option(
            ["--since"], type=timeline.Since(), metavar="TIME", help="also what has changed since: 15m, 1h, or a time"
        ),
        format_option(),
        *cloud_options(),
    ]
    return click.Command(
        "status",
        callback=run,
        params=parameters,
        help="Show connections, services and nodes: status, age, and the reason why a connection or service is down.",
        short_help="connections with status, age, reason; nodes",
    )
