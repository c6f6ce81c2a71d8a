"""`linkspan connection peer-config NAME`: what the administrator of the other end has to enter, or a ready file.

The configuration goes to standard output or into a folder. What has to be known about it goes to standard error.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from linkspan.cli.client import CliError
from linkspan.cli.commands import cloud_options, create_client
from linkspan.cli.resolve import find_id, member_path
from linkspan.core import printable
from linkspan.core.peer_side.formats.registry import DEFAULT, FORMATS
from linkspan.core.schema.resources import CONNECTION


def notes(found: dict[str, Any]) -> Iterator[str]:
    """Findings about a configuration, a line each."""
    yield f"{found['title']}: {found['mark']}: {found['evidence']}"
    yield from (f"{finding['severity']}: {finding['attribute']}: {finding['text']}" for finding in found["findings"])
    yield from (f"replace {name}: {meaning}" for name, meaning in found["by_hand"].items())


def _save(files: list[dict[str, str]], folder: Path) -> Iterator[Path]:
    """Writes files, readable by their owner only, as they may have a key in them. Raises CliError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in files:
            # A server names the file: nothing of a path in that name counts.
            path = folder / Path(file["name"]).name
            path.unlink(missing_ok=True)
            path.touch(0o600)
            path.write_text(file["text"], encoding="utf-8")
            yield path
    except OSError as error:
        raise CliError(f"cannot write {error.filename or folder}: {error.strerror}") from None


def _printed(files: list[dict[str, str]]) -> Iterator[str]:
    for file in files:
        if len(files) > 1:
            yield f"# --- {file['name']}\n"
        yield printable.harmless(file["text"], "\n\t")


def command() -> click.Command:
    """Builds the command `connection peer-config`."""

    def run(cloud: str | None, state: Path, wanted: str, form: str, secret: bool, output: Path | None) -> None:
        client = create_client(cloud, state)
        path = f"{member_path(CONNECTION, find_id(client, CONNECTION, wanted))}/peer-config"
        query = [("format", form), *([("secret", "true")] if secret else [])]
        found: dict[str, Any] = client.request("GET", path, query=query)["peer_config"]
        for line in notes(found):
            click.echo(printable.one_line(line), err=True)
        if not found["files"]:
            raise CliError(f"{found['title']} cannot carry this connection; see the errors above, or use --format text")
        if output is None:
            click.echo("".join(_printed(found["files"])), nl=False)
        else:
            for saved in _save(found["files"], output):
                click.echo(str(saved))

    parameters = [
        click.Argument(["wanted"], metavar="NAME|ID"),
        click.Option(
            ["-f", "--format", "form"],
            type=click.Choice(tuple(FORMATS)),
            metavar="FORMAT",
            default=DEFAULT,
            help=f"the device: {', '.join(FORMATS)} (default {DEFAULT})",
        ),
        click.Option(["--secret"], is_flag=True, help="with the pre-shared key; it is audited who asked for it"),
        click.Option(
            ["--output", "output"],
            type=click.Path(path_type=Path, file_okay=False),
            metavar="DIRECTORY",
            help="write the files there instead of printing them",
        ),
        *cloud_options(),
    ]
    return click.Command(
        "peer-config",
        callback=run,
        params=parameters,
        help="Show what the administrator of the other end has to enter, or a ready configuration for a device.",
        short_help="the configuration of the other end",
    )
