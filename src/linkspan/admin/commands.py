"""The commands on the machine itself: `linkspan db|node|user|project|policy`. Each is one line over the store.

They work on the database directly, so they need its settings and no running API; whoever may read the state directory
may do everything here.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import click

from linkspan.admin import people, policy
from linkspan.store.store import Store

Opener = Callable[..., AbstractContextManager[Store]]
"""Opens the store that --config, --state and --database ask for."""


def place() -> list[click.Parameter]:
    """The options that say which database."""
    path = click.Path(path_type=Path)
    return [
        click.Option(["--config"], type=path, metavar="FILE", help="settings file (TOML)"),
        click.Option(["--state"], type=path, metavar="DIR", help="state directory (default .linkspan)"),
        click.Option(["--database"], metavar="URL", help="database (default: SQLite in the state directory)"),
    ]


def build(opener: Opener, upgrade: Callable[..., str]) -> list[click.Command]:
    """The groups; `upgrade` brings the schema up to date and says what it did."""
    return [
        click.Group(
            "db",
            help="The database.",
            commands=[
                click.Command(
                    "upgrade",
                    callback=lambda **where: click.echo(upgrade(**where)),
                    params=place(),
                    help="Bring the database's schema up to date; does nothing if it is.",
                )
            ],
        ),
        click.Group("node", help="Gateway nodes.", commands=[_node_create(opener), _node_list(opener)]),
        click.Group("user", help="Users.", commands=[_user_create(opener), _user_list(opener), _set_password(opener)]),
        click.Group("project", help="Projects.", commands=[_project_create(opener), _project_list(opener)]),
        policy.group(),
    ]


def _command(
    opener: Opener, name: str, help: str, handler: Callable[..., None], parameters: list[click.Parameter]
) -> click.Command:
    def run(config: Path | None, state: Path | None, database: str | None, **given: Any) -> None:
        with opener(config=config, state=state, database=database) as store:
            handler(store, **given)

    return click.Command(name, callback=run, params=[*parameters, *place()], help=help)


def _node_create(opener: Opener) -> click.Command:
    def handler(store: Store, name: str, token_file: Path | None) -> None:
        file = token_file or Path(f"{name}.token")
        people.create_node(store, name, file)
        click.echo(f"node {name} made; its token is in {file}: take that file to the node, by a safe way")

    parameters: list[click.Parameter] = [
        click.Argument(["name"]),
        click.Option(
            ["--token-file"],
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="where to write the node's token, mode 0400 (default NAME.token here)",
        ),
    ]
    return _command(opener, "create", "Make a node and the file with its token.", handler, parameters)


def _node_list(opener: Opener) -> click.Command:
    def handler(store: Store, format_: str) -> None:
        with store.read() as tx:
            nodes = [
                people.public(node, ("id", "name", "backend", "charon_version", "gateways"))
                | {"alive": (node["lease_until"] or 0) > tx.now}
                for node in tx.nodes()
            ]
        _show(nodes, format_)

    return _command(opener, "list", "List every node.", handler, [_format()])


def _user_create(opener: Opener) -> click.Command:
    def handler(store: Store, name: str, project: str, roles: tuple[str, ...], password_file: Path | None) -> None:
        with _password(password_file) as password:
            people.create_user(store, name, password, project, roles or ("member",))

    parameters: list[click.Parameter] = [
        click.Argument(["name"]),
        click.Option(["--project"], required=True, metavar="NAME", help="the user's project"),
        click.Option(
            ["--role", "roles"],
            multiple=True,
            type=click.Choice(people.ROLES),
            help="role in that project (default member); repeat for several",
        ),
        _password_option(),
    ]
    return _command(opener, "create", "Make a user.", handler, parameters)


def _user_list(opener: Opener) -> click.Command:
    def handler(store: Store, format_: str) -> None:
        with store.read() as tx:
            users = [people.public(user, ("id", "name", "project_name", "roles")) for user in tx.users()]
        _show([user | {"roles": sorted(user["roles"])} for user in users], format_)

    return _command(opener, "list", "List every user.", handler, [_format()])


def _set_password(opener: Opener) -> click.Command:
    def handler(store: Store, name: str, password_file: Path | None) -> None:
        with _password(password_file) as password:
            people.set_password(store, name, password)

    parameters: list[click.Parameter] = [click.Argument(["name"]), _password_option()]
    return _command(opener, "set-password", "Give a user another password.", handler, parameters)


def _project_create(opener: Opener) -> click.Command:
    def handler(store: Store, name: str, description: str, format_: str) -> None:
        _show([people.public(people.create_project(store, name, description), ("id", "name", "description"))], format_)

    parameters: list[click.Parameter] = [
        click.Argument(["name"]),
        click.Option(["--description"], default="", help="description"),
        _format(),
    ]
    return _command(opener, "create", "Make a project.", handler, parameters)


def _project_list(opener: Opener) -> click.Command:
    def handler(store: Store, format_: str) -> None:
        with store.read() as tx:
            _show([people.public(row, ("id", "name", "description")) for row in tx.projects()], format_)

    return _command(opener, "list", "List every project.", handler, [_format()])


def _format() -> click.Option:
    return click.Option(["-f", "--format", "format_"], type=click.Choice(("table", "json")), default="table")


def _password_option() -> click.Option:
    return click.Option(
        ["--password-file"],
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="file that holds the password; - is standard input. Without it one is made and printed, once",
    )


@contextmanager
def _password(file: Path | None) -> Iterator[str]:
    """The password that was given, or a new one, which is printed after the block did its work."""
    if file is None:
        password = people.new_password()
        yield password
        click.echo(f"password: {password}")
        return
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"cannot read the password file {file}: {error}") from None
    if not text.strip("\r\n"):
        raise click.ClickException(f"the password file {file} is empty")
    yield text.removesuffix("\n").removesuffix("\r")


def _show(rows: list[dict[str, Any]], format_: str) -> None:
    if format_ == "json":
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    for row in rows:
        click.echo("  ".join(", ".join(v) if isinstance(v, list) else str(v) for v in row.values()))
