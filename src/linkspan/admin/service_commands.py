"""Declares the commands that run the service, `linkspan api|agent|run|sweep|doctor`, with their options.

Their callbacks are parameters. A setting without an option comes from the settings file or the environment.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click


def build(
    api: Callable[..., None],
    agent: Callable[..., None],
    run: Callable[..., None],
    sweep: Callable[..., None],
    doctor: Callable[..., None],
) -> list[click.Command]:
    """Builds the commands from their callbacks."""
    path = click.Path(path_type=Path)
    config = click.Option(["--config"], type=path, metavar="FILE", help="settings file (TOML)")
    state = click.Option(["--state"], type=path, metavar="DIR", help="state directory (default .linkspan)")
    host = click.Option(["--host"], metavar="ADDRESS", help="address to listen on (default 127.0.0.1)")
    port = click.Option(["--port"], type=click.IntRange(1, 65535), metavar="N", help="port to listen on (default 9696)")
    database = click.Option(["--database"], metavar="URL", help="database (default: SQLite in the state directory)")
    auth = click.Option(
        ["--auth"],
        type=click.Choice(("http_basic", "keystone", "none")),
        help="source of users and tokens (default http_basic)",
    )
    name = click.Option(["--name"], metavar="NODE", help="name of this node (default node-1)")
    url = click.Option(["--api"], metavar="URL", help="the API; anything but loopback has to be https")
    token = click.Option(["--token-file"], type=path, metavar="FILE", help="file with this node's token")
    ca = click.Option(["--ca-file"], type=path, metavar="FILE", help="CA certificates for the API's certificate")
    teardown = click.Option(
        ["--teardown"], is_flag=True, help="remove the gateways at exit; otherwise their tunnels stay up"
    )
    once = click.Option(["--once"], is_flag=True, help="exit after the checks of the laboratory: 0 if all pass, else 1")
    no_lab = click.Option(["--no-lab"], is_flag=True, help="run the service without the laboratory")
    clean = click.Option(
        ["--clean"], is_flag=True, help="remove the gateways of an earlier run first; otherwise they are adopted"
    )
    nodes = click.Option(
        ["--nodes"], type=click.IntRange(1, 16), default=1, metavar="N", help="number of agents (default 1)"
    )
    return [
        click.Command(
            "api", callback=api, params=[config, state, host, port, database, auth], help="Run the API server."
        ),
        click.Command(
            "agent",
            callback=agent,
            params=[config, state, name, url, token, ca, teardown],
            help="Run this node's agent.",
        ),
        click.Command(
            "run",
            callback=run,
            params=[config, state, port, nodes, once, no_lab, clean],
            help="Run everything on this machine, with two sites as a laboratory, until Ctrl-C.",
            short_help="Run everything on this machine, with a laboratory.",
        ),
        click.Command(
            "sweep",
            callback=sweep,
            params=[config, state],
            help="Remove what crashed agents of this installation left behind: namespaces, processes, links, rules.",
            short_help="Remove what crashed agents left behind.",
        ),
        click.Command(
            "doctor",
            callback=doctor,
            params=[config, state],
            help="Examine this machine: programs, fixes of strongSwan, what gateways can do, clock, API, permissions, "
            "limits. Changes nothing. Exits with 1 if something is at fault.",
            short_help="Examine this machine and say what to do.",
        ),
    ]
