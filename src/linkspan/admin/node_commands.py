"""The commands `linkspan node`: on the API's machine they work on its database; `join` runs on the node itself.

A running API follows at once, except for hint streams of a revoked node, which end within an agent's poll.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import click

from linkspan.admin import account_store
from linkspan.admin.shared_options import (
    Opener,
    command,
    format_option,
    name_argument,
    parse_duration,
    parse_lifetime,
    print_rows,
)
from linkspan.core.ipsec import capabilities
from linkspan.core.node_join import JOIN_LIFETIME
from linkspan.core.times import iso_time
from linkspan.store.nodes import registry
from linkspan.store.store import Store

TOKEN_DAYS = 90
"""Days for which a node's token lasts unless the command says otherwise."""

JoinNode = Callable[[str, str, Path | None, Path | None], str]
"""Joins at a URL with a token, for the settings file and state directory; returns the node's name."""


def build(opener: Opener, join: JoinNode) -> click.Group:
    """Builds the group `node`."""
    return click.Group(
        "node",
        help="Gateway nodes and their credentials.",
        commands=[
            _join_token(opener),
            _join(join),
            _list(opener),
            _rotate(opener),
            _revoke(opener),
            _delete(opener),
            _create(opener),
        ],
    )


def _join_token(opener: Opener) -> click.Command:
    def handler(store: Store, name: str, expires: float, token_file: Path | None) -> None:
        token = account_store.invite_node(store, name, expires, token_file)
        click.echo(token if token_file is None else f"the join token is in {token_file}")

    parameters: list[click.Parameter] = [
        name_argument(),
        click.Option(
            ["--expires"],
            default="15m",
            callback=_join_lifetime,
            metavar="TIME",
            help="lifetime, such as 10m; at most 1h (default 15m)",
        ),
        click.Option(
            ["--token-file"],
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="write the token to this file, mode 0400. Without it the token is printed once",
        ),
    ]
    about = "Make a one-time token with which a node of this name joins; the node is added if there is none."
    return command(opener, "join-token", about, handler, parameters)


def _join_lifetime(ctx: click.Context, param: click.Parameter, value: str) -> float:
    seconds = parse_duration(ctx, param, value) or 0.0
    if seconds > JOIN_LIFETIME:
        raise click.BadParameter("a join token lasts 1h at most")
    return seconds


def _join(join: JoinNode) -> click.Command:
    def run(url: str, token_file: Path | None, config: Path | None, state: Path | None) -> None:
        name = join(url, _token(token_file), config, state)
        click.echo(f"joined as node {name}: start its agent with 'linkspan agent --name {name}'")

    path = click.Path(path_type=Path)
    parameters: list[click.Parameter] = [
        click.Argument(["url"]),
        click.Option(
            ["--token-file"], type=path, metavar="FILE", help="file with the join token (default: standard input)"
        ),
        click.Option(["--config"], type=path, metavar="FILE", help="settings file (TOML)"),
        click.Option(["--state"], type=path, metavar="DIR", help="state directory (default .linkspan)"),
    ]
    about = (
        "Join, on the node itself, at the API's listener for nodes, such as https://vpn.example.org:9697. Makes the "
        "node's key and gets its certificate; a running agent takes it up by itself."
    )
    return click.Command("join", callback=run, params=parameters, help=about, short_help="Join, on the node itself.")


def _token(file: Path | None) -> str:
    try:
        if file is None:
            if sys.stdin.isatty():
                click.echo("join token: ", nl=False, err=True)
            return sys.stdin.readline().strip()
        return file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"cannot read the join token: {error}") from None


def _list(opener: Opener) -> click.Command:
    def handler(store: Store, format_: str) -> None:
        with store.read() as tx:
            nodes = []
            for node in registry.all_nodes(tx):
                kind, end = registry.credential_of(node, tx.wall)
                shown = account_store.select_fields(node, ("id", "name", "backend", "charon_version", "gateways"))
                shown["alive"] = (node["lease_until"] or 0) > tx.now
                shown["lacks"] = ", ".join(capabilities.lacks(node["capabilities"]) if node["capabilities"] else ())
                shown["credential"] = kind
                shown["expires"] = iso_time(end) if end else "never"
                nodes.append(shown)
        print_rows(nodes, format_)

    return command(opener, "list", "List all nodes.", handler, [format_option()])


def _rotate(opener: Opener) -> click.Command:
    about = "Have a node take a new key and certificate, within its next poll; its tunnels go on."
    return command(opener, "rotate", about, account_store.rotate_node, [name_argument()])


def _revoke(opener: Opener) -> click.Command:
    about = "End every credential of a node at once. Its tunnels go on, without news, until it joins again."
    return command(opener, "revoke", about, account_store.revoke_node, [name_argument()])


def _delete(opener: Opener) -> click.Command:
    force = click.Option(
        ["--force"], is_flag=True, help="also a node with gateways, which go to other nodes: switch it off first"
    )
    return command(opener, "delete", "Delete a node.", account_store.delete_node, [name_argument(), force])


def _create(opener: Opener) -> click.Command:
    def handler(store: Store, name: str, token_file: Path | None, expires: float | None) -> None:
        file = token_file or Path(f"{name}.token")
        account_store.create_node(store, name, file, expires)
        click.echo(f"created node {name}; its token is in {file}: copy that file to the node over a secure channel")

    parameters: list[click.Parameter] = [
        name_argument(),
        click.Option(
            ["--token-file"],
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="file for the node's token, mode 0400 (default NAME.token in the current directory)",
        ),
        click.Option(
            ["--expires"],
            default=f"{TOKEN_DAYS}d",
            callback=parse_lifetime,
            metavar="TIME",
            help=f"lifetime, such as 30d (default {TOKEN_DAYS}d), or never, for a node on the API's machine",
        ),
    ]
    about = (
        "Create a node with a token instead of a certificate: for one on the API's machine, or behind a proxy that "
        "ends TLS. Others join, see 'join-token'."
    )
    return command(opener, "create", about, handler, parameters)
