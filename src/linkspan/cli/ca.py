"""`linkspan ca`: the CA of a project, which is a trust anchor with a key: make it, issue by requests, revoke."""

from __future__ import annotations

from pathlib import Path

import click

from linkspan.cli import options, resolve
from linkspan.cli.commands import cloud_options, create_client
from linkspan.core.schema.resources import CERTIFICATE, TRUST_ANCHOR


def group_commands() -> list[click.Command]:
    """Builds the commands of the group `ca`."""
    return [_init(), _issue(), _revoke()]


def _init() -> click.Command:
    def run(cloud: str | None, state: Path, name: str) -> None:
        body = {TRUST_ANCHOR.singular: {"name": name, "source": "generated"}}
        made = create_client(cloud, state).request("POST", resolve.collection_path(TRUST_ANCHOR), body)
        click.echo(made[TRUST_ANCHOR.singular]["ca_bundle"], nl=False)

    parameters = [click.Argument(["name"], default="ca", required=False), *cloud_options()]
    about = "Create a trust anchor with a CA of the project's own, and print its certificate."
    return click.Command("init", callback=run, params=parameters, help=about)


def _issue() -> click.Command:
    def run(cloud: str | None, state: Path, anchor: str, request: str) -> None:
        client = create_client(cloud, state)
        text = options.read_text("REQUEST", request)
        path = f"{resolve.member_path(TRUST_ANCHOR, resolve.find_id(client, TRUST_ANCHOR, anchor))}/issue"
        click.echo(client.request("POST", path, {"csr": text})["certificate"], nl=False)

    parameters = [
        click.Argument(["anchor"], metavar="NAME|ID"),
        click.Argument(["request"], metavar="@FILE"),
        *cloud_options(),
    ]
    about = "Issue a certificate for the signing request in a file (-: standard input), and print it."
    return click.Command("issue", callback=run, params=parameters, help=about)


def _revoke() -> click.Command:
    def run(cloud: str | None, state: Path, anchor: str, certificate: str) -> None:
        client = create_client(cloud, state)
        if certificate == "-" or certificate.startswith("@"):
            text = options.read_text("CERTIFICATE", certificate)
        else:
            text = resolve.find_object(client, CERTIFICATE, certificate)["certificate"]
        path = f"{resolve.member_path(TRUST_ANCHOR, resolve.find_id(client, TRUST_ANCHOR, anchor))}/revoke"
        client.request("PUT", path, {"certificate": text})

    parameters = [
        click.Argument(["anchor"], metavar="NAME|ID"),
        click.Argument(["certificate"], metavar="NAME|ID|@FILE"),
        *cloud_options(),
    ]
    about = "Revoke a certificate, by its name, its id, or a file with it: no peer that trusts the CA admits it then."
    return click.Command("revoke", callback=run, params=parameters, help=about)
