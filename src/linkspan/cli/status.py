"""`linkspan status`: connections, services and nodes with their status and its reason, on one screen.

Status and reason are the API's; this module computes neither.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from linkspan.cli import render
from linkspan.cli.client import ApiError, Client, CliError
from linkspan.cli.commands import cloud_options, create_client, format_option
from linkspan.cli.resolve import list_objects
from linkspan.core.schema.resources import CONNECTION, SERVICE

INTERVAL: Final = 1.0
CONNECTION_COLUMNS: Final = ("connection", "status", "age", "peer", "reason")
SERVICE_COLUMNS: Final = ("service", "status", "age", "address", "reason")
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


def board_tables(board: Board) -> list[tuple[tuple[str, ...], list[list[Any]]]]:
    """Returns the tables that are not empty, each as columns and rows."""
    tables: list[tuple[tuple[str, ...], list[list[Any]]]] = []
    for columns, key in ((CONNECTION_COLUMNS, "connections"), (SERVICE_COLUMNS, "services"), (NODE_COLUMNS, "nodes")):
        if board[key]:
            tables.append((columns, [[_cell(item, column) for column in columns] for item in board[key]]))
    return tables


def _cell(item: Mapping[str, Any], column: str) -> Any:
    return render.format_age(item["since"]) if column == "age" else item[column]


def print_board(board: Board) -> None:
    """Prints the board once."""
    shown = board_tables(board)
    if not shown:
        click.echo("no connections yet: see 'linkspan connection create --help'")
    for number, (columns, rows) in enumerate(shown):
        if number and not sys.stdout.isatty():
            click.echo()
        render.print_table(columns, rows)


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
    """Prints the board whenever it changes; on a terminal redraws it every second. Ends with Ctrl-C."""
    last: Board | None = None
    while True:
        board = read_board(client, operator)
        if format_ == "json":
            if board != last:
                render.print_json(board)
        elif sys.stdout.isatty():
            click.clear()
            print_board(board)
            click.echo("\nCtrl-C to quit")
        elif board != last:
            print_board(board)
        last = board
        time.sleep(INTERVAL)


def command() -> click.Command:
    """Builds the command `status`."""

    def run(cloud: str | None, state: Path, format_: str, watching: bool) -> None:
        client = create_client(cloud, state)
        operator = operator_client(cloud, state, client)
        if watching:
            watch(client, operator, format_)
            return
        board = read_board(client, operator)
        if format_ == "json":
            render.print_json(board)
        else:
            print_board(board)

    parameters = [
        click.Option(["-w", "--watch", "watching"], is_flag=True, help="refresh until Ctrl-C"),
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
