"""The commands `linkspan db backup|restore`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import click

from linkspan.admin import backups
from linkspan.admin.backups import BackupSummary
from linkspan.admin.key_rotation import Administration
from linkspan.admin.shared_options import database_options
from linkspan.core.secret import SHORTEST, Secret
from linkspan.core.times import iso_time


def build(
    opener: Callable[..., AbstractContextManager[tuple[Administration, Path]]], restore: Callable[..., BackupSummary]
) -> list[click.Command]:
    """Builds the commands. `opener` opens the keys and names the state directory."""

    def run_backup(
        file: Path,
        passphrase_file: Path | None,
        passphrase_fd: int | None,
        config: Path | None,
        state: Path | None,
        database: str | None,
    ) -> None:
        passphrase = backups.read_passphrase(passphrase_file, passphrase_fd, new=True)
        with opener(config=config, state=state, database=database) as (keys, directory):
            size = backups.make(keys.store, keys.file, directory, file, passphrase)
        click.echo(f"the backup has {size} bytes; nobody can read it without the passphrase", err=True)

    def run_restore(
        file: Path, passphrase_file: Path | None, passphrase_fd: int | None, force: bool, **more: Any
    ) -> None:
        passphrase: Secret = backups.read_passphrase(passphrase_file, passphrase_fd, new=False)
        summary = restore(file=file, passphrase=passphrase, force=force, **more)
        made_at = iso_time(summary.made_at)
        click.echo(f"restored {summary.rows} rows as they were at {made_at}, and their keys")
        if summary.kept:
            click.echo(f"these files of the state directory differ and stay: {', '.join(summary.kept)}", err=True)

    about = (
        "Write the database, its keys and the tokens of this machine's nodes into one file, encrypted with a "
        "passphrase; also while API processes run."
    )
    back = (
        "Restore a backup into an empty database; the schema is brought up to date. API processes have to be stopped."
    )
    force = click.Option(
        ["--force"], is_flag=True, help="replace everything in a database that is not empty, and its key file"
    )
    return [
        click.Command(
            "backup", callback=run_backup, params=[_file(False), *_parameters(), *database_options()], help=about
        ),
        click.Command(
            "restore", callback=run_restore, params=[_file(True), *_parameters(), force, *database_options()], help=back
        ),
    ]


def _file(exists: bool) -> click.Argument:
    kind = click.Path(exists=exists, dir_okay=False, allow_dash=True, path_type=Path)
    return click.Argument(["file"], type=kind)


def _parameters() -> list[click.Parameter]:
    path = click.Path(path_type=Path)
    return [
        click.Option(
            ["--passphrase-file"],
            type=path,
            metavar="FILE",
            help=f"file with the passphrase, {SHORTEST} characters or more. Without it the terminal is asked",
        ),
        click.Option(["--passphrase-fd"], type=int, metavar="N", help="open file descriptor with the passphrase"),
    ]
