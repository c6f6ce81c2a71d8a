"""`linkspan probe CONNECTION`: its node sends packets to the peer and through the tunnel; what came back is shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from linkspan.cli import layout, render
from linkspan.cli.client import CliError
from linkspan.cli.commands import cloud_options, create_client, format_option
from linkspan.cli.layout import Part, Screen
from linkspan.cli.resolve import find_object, member_path
from linkspan.core.printable import one_line
from linkspan.core.schema.resources import CONNECTION


def probe_lines(probe: dict[str, Any], peer: str, on: Screen) -> Iterator[str]:
    """The findings of a probe, for people. `peer`: the address or name of the peer."""
    name, node = (one_line(probe[key] or "") for key in ("name", "node"))
    peer = one_line(peer)
    yield f"{on.paint(name or probe['connection_id'], '', bold=True)}  to {peer}, from {node}"
    yield ""
    found = [Part(finding["state"], finding["name"], finding["text"]) for finding in probe["findings"]]
    yield from layout.parts(found, on)


def command() -> click.Command:
    """Builds the command `probe`."""

    def run(cloud: str | None, state: Path, wanted: str, target: str | None, format_: str) -> None:
        client = create_client(cloud, state)
        connection = find_object(client, CONNECTION, wanted)
        path = f"{member_path(CONNECTION, connection['id'])}/probe"
        probe: dict[str, Any] = client.request("POST", path, {"probe": {"target": target} if target else {}})["probe"]
        if format_ == "json":
            render.print_json(probe)
        elif not probe["fault"]:
            click.echo("\n".join(probe_lines(probe, connection["peer_address"], layout.screen())))
        if probe["fault"]:
            raise CliError(f"nothing was probed: {probe['fault']}")

    parameters = [
        click.Argument(["wanted"], metavar="CONNECTION"),
        click.Option(
            ["--target"],
            metavar="ADDRESS",
            help="host behind the peer that answers pings (default: the first address of the smallest peer network)",
        ),
        format_option(),
        *cloud_options(),
    ]
    return click.Command(
        "probe",
        callback=run,
        params=parameters,
        help=(
            "Probe a connection from its gateway: whether the peer answers on UDP 500 and 4500, the round trip, the "
            "largest packet that passes, and the same to a host behind the peer, through the tunnel."
        ),
        short_help="what passes between the gateways and through the tunnel",
    )
