"""The commands `linkspan user|project|token`: who there is, what they may do, and what they prove it with.

They change what the next request may do: an API that runs remembers who asked for moments (`api.authentication.cache`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from linkspan.admin import account_store
from linkspan.admin.shared_options import (
    Opener,
    command,
    format_option,
    given_or_new_password,
    name_argument,
    parse_duration,
    password_option,
    print_rows,
)
from linkspan.store.identity import tokens as stored_tokens
from linkspan.store.identity import users as stored_users
from linkspan.store.store import Store


def build(opener: Opener) -> list[click.Group]:
    """The groups."""
    return [
        click.Group(
            "user",
            help="Users.",
            commands=[
                _user_create(opener),
                _user_list(opener),
                _user_delete(opener),
                _set_password(opener),
                _grant(opener),
                _revoke(opener),
            ],
        ),
        click.Group(
            "project",
            help="Projects.",
            commands=[_project_create(opener), _project_list(opener), _project_delete(opener)],
        ),
        click.Group(
            "token",
            help="Static tokens of users.",
            commands=[_token_create(opener), _token_list(opener), _token_delete(opener)],
        ),
    ]


# --- users --------------------------------------------------------------------------------------------------------


def _user_create(opener: Opener) -> click.Command:
    def handler(store: Store, name: str, project: str, roles: tuple[str, ...], password_file: Path | None) -> None:
        with given_or_new_password(password_file) as password:
            account_store.create_user(store, name, password, project, roles or ("member",))

    parameters: list[click.Parameter] = [
        name_argument(),
        click.Option(["--project"], required=True, metavar="NAME", help="the user's project"),
        _roles("role in that project (default member); repeat for several"),
        password_option(),
    ]
    return command(opener, "create", "Make a user.", handler, parameters)


def _user_list(opener: Opener) -> click.Command:
    def handler(store: Store, format_: str) -> None:
        with store.read() as tx:
            users, projects = stored_users.all_users(tx), stored_users.all_projects(tx)
        print_rows(
            [
                account_store.select_fields(user, ("id", "name", "project_name"))
                | {"roles": {row["name"]: user["grants"][row["id"]] for row in projects if row["id"] in user["grants"]}}
                for user in users
            ],
            format_,
        )

    return command(
        opener, "list", "List every user, with the project by default and the roles.", handler, [format_option()]
    )


def _user_delete(opener: Opener) -> click.Command:
    help = "Delete a user, with tokens and application credentials; what they made stays with the project."
    return command(opener, "delete", help, account_store.delete_user, [name_argument()])


def _set_password(opener: Opener) -> click.Command:
    def handler(store: Store, name: str, password_file: Path | None) -> None:
        with given_or_new_password(password_file) as password:
            account_store.set_password(store, name, password)

    help = "Give a user another password; logins by the one before end, static tokens do not."
    return command(opener, "set-password", help, handler, [name_argument(), password_option()])


def _grant(opener: Opener) -> click.Command:
    def handler(store: Store, name: str, project: str, roles: tuple[str, ...]) -> None:
        account_store.grant_roles(store, name, project, roles or ("member",))

    parameters: list[click.Parameter] = [
        name_argument(),
        click.Option(["--project"], required=True, metavar="NAME", help="where"),
        _roles("role (default member); repeat for several"),
    ]
    return command(opener, "grant", "Give a user roles in a project, beside those there are.", handler, parameters)


def _revoke(opener: Opener) -> click.Command:
    def handler(store: Store, name: str, project: str, roles: tuple[str, ...]) -> None:
        account_store.revoke_roles(store, name, project, roles)

    parameters: list[click.Parameter] = [
        name_argument(),
        click.Option(["--project"], required=True, metavar="NAME", help="where"),
        _roles("role (default all of them); repeat for several"),
    ]
    return command(opener, "revoke", "Take roles in a project from a user.", handler, parameters)


def _roles(help: str) -> click.Option:
    return click.Option(["--role", "roles"], multiple=True, type=click.Choice(account_store.ROLES), help=help)


# --- projects -----------------------------------------------------------------------------------------------------

_PROJECT = ("id", "name", "description")


def _project_create(opener: Opener) -> click.Command:
    def handler(store: Store, name: str, description: str, format_: str) -> None:
        print_rows(
            [account_store.select_fields(account_store.create_project(store, name, description), _PROJECT)], format_
        )

    parameters: list[click.Parameter] = [
        name_argument(),
        click.Option(["--description"], default="", help="description"),
        format_option(),
    ]
    return command(opener, "create", "Make a project.", handler, parameters)


def _project_list(opener: Opener) -> click.Command:
    def handler(store: Store, format_: str) -> None:
        with store.read() as tx:
            print_rows([account_store.select_fields(row, _PROJECT) for row in stored_users.all_projects(tx)], format_)

    return command(opener, "list", "List every project.", handler, [format_option()])


def _project_delete(opener: Opener) -> click.Command:
    def handler(store: Store, name: str) -> None:
        homeless = account_store.delete_project(store, name)
        if homeless:
            click.echo(f"without a project of their own now: {', '.join(homeless)}")

    help = "Delete a project that holds nothing any more, with the roles, tokens and credentials in it."
    return command(opener, "delete", help, handler, [name_argument()])


# --- tokens -------------------------------------------------------------------------------------------------------


def _token_create(opener: Opener) -> click.Command:
    def handler(
        store: Store, user: str, project: str | None, name: str, expires: float | None, token_file: Path | None
    ) -> None:
        made = account_store.create_token(store, user, project, name, expires, token_file)
        click.echo(f"token: {made}" if token_file is None else f"the token is in {token_file}")

    parameters: list[click.Parameter] = [
        click.Option(["--user"], required=True, metavar="NAME", help="whose token"),
        click.Option(["--project"], metavar="NAME", help="where it is good (default: the user's project)"),
        click.Option(["--name"], default="", help="what it is for, to be known by in the list"),
        click.Option(["--expires"], callback=parse_duration, metavar="TIME", help="12h, 30d …; without it: never"),
        click.Option(
            ["--token-file"],
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="where to write the token, mode 0400. Without it the token is printed, once",
        ),
    ]
    return command(opener, "create", "Make a token for clients with auth_type admin_token.", handler, parameters)


def _token_list(opener: Opener) -> click.Command:
    def handler(store: Store, format_: str) -> None:
        with store.read() as tx:
            tokens, now = stored_tokens.static_tokens(tx), tx.now
        keys = ("id", "name", "user_name", "project_name")
        print_rows(
            [account_store.select_fields(row, keys) | {"expires": _expires(row["expires_at"], now)} for row in tokens],
            format_,
        )

    return command(
        opener, "list", "List every static token; the tokens themselves are not kept.", handler, [format_option()]
    )


def _expires(at: float | None, now: float) -> str:
    if at is None:
        return "never"
    return "expired" if at <= now else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def _token_delete(opener: Opener) -> click.Command:
    return command(
        opener,
        "delete",
        "End a static token, by the id in the list.",
        account_store.delete_token,
        [click.Argument(["id"])],
    )
