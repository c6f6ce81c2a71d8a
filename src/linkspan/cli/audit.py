"""`linkspan audit list`: the audit trail as the API shows it. `verify` is a command of the API's machine (`admin`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from linkspan.cli import render
from linkspan.cli.commands import cloud_options, create_client, format_option
from linkspan.core.audit import AuditEntry

COLUMNS: Final = ("at", "action", "resource", "object_id", "user_name", "fields", "count")
FILTERS: Final = {
    "action": "action",
    "resource": "resource",
    "object": "object_id",
    "project": "project_id",
    "user": "user_name",
    "request": "request_id",
}
"""Options, and the attributes that they filter by."""


def list_command() -> click.Command:
    """Builds the command `list` of the group `audit`."""

    def run(cloud: str | None, state: Path, format_: str, limit: int, **filters: str | None) -> None:
        query: list[tuple[str, Any]] = [(name, value) for name, value in filters.items() if value is not None]
        client = create_client(cloud, state)
        entries = client.request("GET", "/v2.0/linkspan/audit", query=[("limit", limit), *query])["audit"]
        if format_ == "json":
            render.print_json(entries)
        else:
            render.print_table(COLUMNS, [[entry[name] for name in COLUMNS] for entry in entries])

    parameters: list[click.Parameter] = [
        click.Option(["--limit"], type=click.IntRange(min=1), default=50, help="the most entries (default 50)"),
        *(
            click.Option([f"--{option}", name], metavar="TEXT", help=f"only entries with this {name}")
            for option, name in FILTERS.items()
        ),
        format_option(),
        *cloud_options(),
    ]
    about = "List the newest entries of the audit trail, the newest one first."
    return click.Command("list", callback=run, params=parameters, help=about)


assert {*COLUMNS, *FILTERS.values()} <= set(AuditEntry.__struct_fields__)
