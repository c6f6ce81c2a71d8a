"""The commands `linkspan key`: the keys that seal secrets in the database. They work while API processes run."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import click

from linkspan.admin.key_rotation import Administration
from linkspan.admin.shared_options import database_options, format_option, print_rows
from linkspan.core.times import iso_time

KeyOpener = Callable[..., AbstractContextManager[Administration]]
"""Opens the keys that --config, --state and --database select."""


def group(opener: KeyOpener) -> click.Group:
    """Builds the group `key`."""
    return click.Group("key", help="Keys of secrets.", commands=[_rotate(opener), _list(opener), *_others(opener)])


def _command(
    opener: KeyOpener, name: str, help: str, handler: Callable[..., None], parameters: list[click.Parameter]
) -> click.Command:
    def run(config: Path | None, state: Path | None, database: str | None, **values: Any) -> None:
        with opener(config=config, state=state, database=database) as keys:
            handler(keys, **values)

    return click.Command(name, callback=run, params=[*parameters, *database_options()], help=help)


def _rotate(opener: KeyOpener) -> click.Command:
    def handler(keys: Administration, remove_old: bool) -> None:
        shown = 0

        def progress(sealed: int) -> None:
            nonlocal shown
            if sealed - shown >= 1000:
                shown = sealed
                click.echo(f"{sealed} secrets sealed anew", err=True)

        result = keys.rotate(progress, lambda text: click.echo(text, err=True))
        removed = keys.removable()
        if remove_old:
            for id in removed:
                keys.remove(id)
        click.echo(f"key {keys.keyring.current} seals; {result.sealed} secrets were sealed anew")
        if removed:
            click.echo(
                f"{'removed' if remove_old else 'no secret needs'} key {', '.join(removed)}"
                + ("" if remove_old else ": remove it with 'linkspan key remove'")
            )
        if result.unreadable:
            names = ", ".join(result.unreadable[:5]) + (", …" if len(result.unreadable) > 5 else "")
            raise click.ClickException(
                f"{len(result.unreadable)} secrets do not open and stay under their keys ({names}): write them again"
            )

    about = (
        "Make another key the one that seals, and seal every secret under it, while API processes run. "
        "A rotation that was broken off continues. No tunnel is touched."
    )
    option = click.Option(["--remove-old"], is_flag=True, help="remove the keys that nothing needs any more")
    return _command(opener, "rotate", about, handler, [option])


def _list(opener: KeyOpener) -> click.Command:
    def handler(keys: Administration, format_: str) -> None:
        rows = [row | {"created_at": iso_time(row["created_at"])} for row in keys.overview()]
        print_rows(rows, format_)

    about = "List the keys: when each was made, how many secrets are under it, and whether it seals or only opens."
    return _command(opener, "list", about, handler, [format_option()])


def _others(opener: KeyOpener) -> list[click.Command]:
    def add(keys: Administration) -> None:
        id = keys.add()
        click.echo(
            f"added key {id}: copy {keys.file.path} to every machine with an API, then run 'linkspan key rotate'"
        )

    def remove(keys: Administration, id: str) -> None:
        keys.remove(id)
        click.echo(f"removed key {id}")

    about = (
        "Add a key that opens and does not seal yet. With API processes on several machines, copy the key file to each "
        "of them before 'linkspan key rotate'."
    )
    return [
        _command(opener, "add", about, add, []),
        _command(opener, "remove", "Remove a key; refused while a secret needs it.", remove, [click.Argument(["id"])]),
    ]
