"""`--dry-run`: asks the API what a command would do to connections, and prints the answer."""

from __future__ import annotations

from typing import Any

import click

from linkspan.cli import render
from linkspan.cli.client import ApiError, Client, CliError
from linkspan.core.foresight import dry_runs

_COLUMNS = ("connection", "effect", "why")


def option() -> click.Option:
    """Returns the option of each command that writes."""
    text = "change nothing: say which connections would feel it, and how"
    return click.Option(["--dry-run"], is_flag=True, help=text)


def request(client: Client, method: str, path: str, body: Any = None) -> dict[str, Any]:
    """Returns what the API foretells of a request. Raises CliError if it does not know dry runs: it would carry the
    request out."""
    try:
        client.request("GET", f"/v2.0/extensions/{dry_runs.EXTENSION}")
    except ApiError as error:
        if error.status != 404:
            raise
        raise CliError("this API knows no dry run, and nothing was done: update it first") from None
    answer: dict[str, Any] = client.request(method, path, body, {dry_runs.PARAMETER: "true"})[dry_runs.ENVELOPE]
    return answer


def print_answers(answers: list[dict[str, Any]], format_: str = "table") -> None:
    """Prints what is foretold of one request or several."""
    if format_ == "json":
        render.print_json(answers[0] if len(answers) == 1 else answers)
        return
    entries = [entry for answer in answers for entry in answer["connections"]]
    if entries:
        render.print_table(_COLUMNS, (_row(entry) for entry in entries))
    else:
        click.echo("no connection would feel it")
    weak = [text for answer in answers for text in answer["weak_choices"]]
    weak += [f"{text} ({entry['name'] or entry['id']})" for entry in entries for text in entry["weak_choices"]]
    if weak:
        click.echo(f"warning: weak: {', '.join(weak)}", err=True)
    if left_out := sum(answer["left_out"] for answer in answers):
        click.echo(f"and {left_out} more connections, which were not looked at", err=True)


def _row(entry: dict[str, Any]) -> tuple[str, str, str]:
    seconds = "" if entry["seconds"] is None else f" of about {entry['seconds']:g} s"
    return entry["name"] or entry["id"], entry["effect"] + seconds, entry["reason"]
