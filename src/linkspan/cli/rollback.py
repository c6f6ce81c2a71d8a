"""`linkspan connection revisions NAME` and `linkspan connection rollback NAME [REVISION]`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from linkspan.cli import dry_run as dry_runs
from linkspan.cli import render
from linkspan.cli.commands import cloud_options, create_client, format_option
from linkspan.cli.resolve import find_object, member_path
from linkspan.core.printable import one_line
from linkspan.core.schema.resources import CONNECTION

COLUMNS: Final = ("revision", "up", "since", "by", "differs_from_now_in")


def commands() -> list[click.Command]:
    """Builds the commands of the group `connection`."""
    return [_revisions(), _rollback()]


def _row(revision: dict[str, Any]) -> list[Any]:
    fields = "(now)" if revision["current"] else ", ".join(revision["fields"])
    up = "yes" if revision["good"] else ""
    return [revision["revision_number"], up, revision["created_at"], revision["author"] or "", fields]


def _revisions() -> click.Command:
    def run(cloud: str | None, state: Path, wanted: str, format_: str) -> None:
        client = create_client(cloud, state)
        id = find_object(client, CONNECTION, wanted)["id"]
        revisions = client.request("GET", f"{member_path(CONNECTION, id)}/revisions")["revisions"]
        if format_ == "json":
            render.print_json(revisions)
        else:
            render.print_table(COLUMNS, map(_row, revisions))

    return click.Command(
        "revisions",
        callback=run,
        params=[click.Argument(["wanted"], metavar="NAME|ID"), format_option(), *cloud_options()],
        help="List what a connection is and was: each revision of its configuration, and which of them were up.",
        short_help="list what a connection is and was",
    )


def _rollback() -> click.Command:
    def run(cloud: str | None, state: Path, wanted: str, revision: int | None, dry_run: bool, format_: str) -> None:
        client = create_client(cloud, state)
        path = f"{member_path(CONNECTION, find_object(client, CONNECTION, wanted)['id'])}/rollback"
        body = {} if revision is None else {"revision": revision}
        if dry_run:
            dry_runs.print_answers([dry_runs.request(client, "POST", path, body)], format_)
            return
        answer: dict[str, Any] = client.request("POST", path, body)
        if format_ == "json":
            shown = render.hide_secrets(CONNECTION, answer[CONNECTION.singular])
            render.print_json(answer | {CONNECTION.singular: shown})
            return
        done, number = answer["rollback"], answer[CONNECTION.singular]["revision_number"]
        fields = ", ".join(done["fields"])
        click.echo(one_line(f"revision {number} is as revision {done['revision']} was; changed: {fields}"))
        for note in done["notes"]:
            click.echo(one_line(note))

    return click.Command(
        "rollback",
        callback=run,
        params=[
            click.Argument(["wanted"], metavar="NAME|ID"),
            click.Argument(["revision"], type=click.IntRange(1), required=False),
            dry_runs.option(),
            format_option(),
            *cloud_options(),
        ],
        help=(
            "Bring an earlier configuration of a connection back, with its policies: that of a revision (see "
            "'linkspan connection revisions'), or the newest earlier one that was up."
        ),
        short_help="bring an earlier configuration back",
    )
