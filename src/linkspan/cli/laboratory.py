"""`linkspan lab show`: the names, addresses and ids of the laboratory that `linkspan run` built.

It prints the file that the run wrote into its state directory. It does not check that the laboratory still runs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from linkspan.cli import render
from linkspan.cli.client import CliError
from linkspan.cli.commands import cloud_options, format_option


def load(state: Path) -> dict[str, Any]:
    """Reads the description of a state directory's laboratory. Raises CliError."""
    file = state / "lab.json"
    try:
        lab: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CliError(
            f"no laboratory in {state}: 'linkspan run' builds one; --state DIR selects another directory"
        ) from None
    except (OSError, ValueError) as error:
        raise CliError(f"cannot read {file}: {error}") from None
    return lab


def flatten(value: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """Flattens nested objects: their keys, joined with dots, and the values."""
    if not isinstance(value, dict):
        return [(prefix, value)]
    return [row for key, item in value.items() for row in flatten(item, f"{prefix}.{key}" if prefix else key)]


def group() -> click.Group:
    """Builds the group `lab` with its command `show`."""

    def run(state: Path, format_: str) -> None:
        lab = load(state)
        if format_ == "json":
            render.print_json(lab)
        else:
            render.print_table(("name", "value"), flatten(lab))

    state = next(option for option in cloud_options() if option.name == "state")
    show = click.Command(
        "show", callback=run, params=[format_option(), state], help="Show the laboratory's names, addresses and ids."
    )
    return click.Group(
        "lab",
        commands=[show],
        help="The laboratory of 'linkspan run': two sites on this machine.",
        short_help="the laboratory's names, addresses, ids",
    )
