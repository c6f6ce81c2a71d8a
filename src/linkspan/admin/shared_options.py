"""Options, password input and output that the commands on the machine itself share.

A secret is never an argument, because arguments are visible to all users in the list of processes.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final

import click

from linkspan.admin import account_store
from linkspan.admin.owner import act_as_operator
from linkspan.core.printable import harmless_json, one_line
from linkspan.core.secret import SHORTEST
from linkspan.store.store import Store

Opener = Callable[..., AbstractContextManager[Store]]
"""Opens the store that --config, --state and --database select."""
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def database_options() -> list[click.Parameter]:
    """Returns the options that select the database."""
    path = click.Path(path_type=Path)
    return [
        click.Option(["--config"], type=path, metavar="FILE", help="settings file (TOML)"),
        click.Option(["--state"], type=path, metavar="DIR", help="state directory (default .linkspan)"),
        click.Option(["--database"], metavar="URL", help="database (default: SQLite in the state directory)"),
    ]


def command(
    opener: Opener, name: str, help: str, handler: Callable[..., None], parameters: list[click.Parameter]
) -> click.Command:
    """Builds a command whose handler gets the store that the options select, then the command's own parameters."""

    def run(config: Path | None, state: Path | None, database: str | None, **values: Any) -> None:
        with opener(config=config, state=state, database=database) as store:
            handler(store, **values)

    return click.Command(name, callback=run, params=[*parameters, *database_options()], help=help)


def name_argument() -> click.Argument:
    """Returns the argument NAME."""
    return click.Argument(["name"])


def format_option() -> click.Option:
    """Returns the option --format."""
    return click.Option(["-f", "--format", "format_"], type=click.Choice(("table", "json")), default="table")


def parse_lifetime(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Converts a duration, or `never`, to seconds; None: without an end. A callback of options. Raises BadParameter."""
    return None if value == "never" else parse_duration(ctx, param, value)


def parse_duration(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | None:
    """Converts a duration such as 30d to seconds; a callback of options. Raises BadParameter."""
    if value is None:
        return None
    match = re.fullmatch("([1-9][0-9]{0,8})([smhd])", value)
    if match is None:
        raise click.BadParameter(f"'{value}' is not a duration such as 90s, 15m, 12h or 30d")
    return float(match[1]) * _UNITS[match[2]]


def password_option() -> click.Option:
    """Returns the option --password-file."""
    return click.Option(
        ["--password-file"],
        type=click.Path(path_type=Path),
        metavar="FILE",
        help=f"file that contains the password, {SHORTEST} characters or more; -: standard input. Without it a "
        "password is generated and printed once",
    )


@contextmanager
def given_or_new_password(file: Path | None) -> Iterator[str]:
    """Yields the password in `file`, or a generated one, which it prints after the block has succeeded."""
    if file is None:
        password = account_store.generate_password()
        yield password
        click.echo(f"password: {password}")
        return
    try:
        with act_as_operator():
            text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"cannot read the password file {file}: {error}") from None
    if not text.strip("\r\n"):
        raise click.ClickException(f"the password file {file} is empty")
    yield text.removesuffix("\n").removesuffix("\r")


def print_rows(rows: list[dict[str, Any]], format_: str) -> None:
    """Prints rows as JSON, or one line per row."""
    if format_ == "json":
        click.echo(harmless_json(json.dumps(rows, indent=2, ensure_ascii=False)))
        return
    for row in rows:
        click.echo(one_line("  ".join(_text(value) for value in row.values())))


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_text(item)}" for key, item in value.items())
    return ", ".join(value) if isinstance(value, list) else str(value)
