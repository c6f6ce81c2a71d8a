"""The commands `linkspan user|project|token`: users with their roles and passwords, projects, static tokens.

A running API follows a change within seconds: it caches authenticated callers (`api.authentication.cache`).
"""

from __future__ import annotations

from pathlib import Path

import click

from linkspan.admin import account_store
from linkspan.admin.shared_options import (
    Opener,
    command,
    format_option,
    given_or_new_password,
    name_argument,
    parse_lifetime,
    password_option,
    print_rows,
)
from linkspan.core.keystone_v3 import ROLES, STATIC_DAYS
from linkspan.core.times import iso_time
from linkspan.store.identity import tokens as stored_tokens
from linkspan.store.identity import users as stored_users
from linkspan.store.store import Store


def build(opener: Opener) -> list[click.Group]:
    """Builds the groups `user`, `project` and `token`."""
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
        click.Option(["--project"], required=True, metavar="NAME", help="the user's default project"),
        _roles("role in that project (default member); repeat for several"),
        password_option(),
    ]
    return command(opener, "create", "Create a user.", handler, parameters)


def _user_list(opener: Opener) -> click.Command:
    def handler(store: Store, format_: str) -> None:
        with store.read() as tx:
            users, projects = stored_users.all_users(tx), stored_users.all_projects(tx)
        print_rows(
            [
                account_store.select_fields(user, ("id", "name", "project_name", "enabled"))
                | {"roles": {row["name"]: user["grants"][row["id"]] for row in projects if row["id"] in user["grants"]}}
                for user in users
            ],
            format_,
        )

    return command(
        opener, "list", "List all users, with their default project and their roles.", handler, [format_option()]
    )


def _user_delete(opener: Opener) -> click.Command:
    help = "Delete a user with its tokens and application credentials; objects that it created stay in their project."
    return command(opener, "delete", help, account_store.delete_user, [name_argument()])


def _set_password(opener: Opener) -> click.Command:
    def handler(store: Store, name: str, password_file: Path | None) -> None:
        with given_or_new_password(password_file) as password:
            account_store.set_password(store, name, password)

    help = "Set a user's password; ends logins made with the previous one, keeps static tokens."
    return command(opener, "set-password", help, handler, [name_argument(), password_option()])


def _grant(opener: Opener) -> click.Command:
    def handler(store: Store, name: str, project: str, roles: tuple[str, ...]) -> None:
        account_store.grant_roles(store, name, project, roles or ("member",))

    parameters: list[click.Parameter] = [
        name_argument(),
        click.Option(["--project"], required=True, metavar="NAME", help="project of the roles"),
        _roles("role (default member); repeat for several"),
    ]
    return command(opener, "grant", "Add roles in a project to those that a user has.", handler, parameters)


def _revoke(opener: Opener) -> click.Command:
    def handler(store: Store, name: str, project: str, roles: tuple[str, ...]) -> None:
        account_store.revoke_roles(store, name, project, roles)

    parameters: list[click.Parameter] = [
        name_argument(),
        click.Option(["--project"], required=True, metavar="NAME", help="project of the roles"),
        _roles("role (default: all); repeat for several"),
    ]
    return command(opener, "revoke", "Remove roles in a project from a user.", handler, parameters)


def _roles(help: str) -> click.Option:
    return click.Option(["--role", "roles"], multiple=True, type=click.Choice(ROLES), help=help)


# --- projects -----------------------------------------------------------------------------------------------------

_PROJECT = ("id", "name", "description", "enabled")


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
    return command(opener, "create", "Create a project.", handler, parameters)


def _project_list(opener: Opener) -> click.Command:
    def handler(store: Store, format_: str) -> None:
        with store.read() as tx:
            print_rows([account_store.select_fields(row, _PROJECT) for row in stored_users.all_projects(tx)], format_)

    return command(opener, "list", "List all projects.", handler, [format_option()])


def _project_delete(opener: Opener) -> click.Command:
    def handler(store: Store, name: str) -> None:
        users = account_store.delete_project(store, name)
        if users:
            click.echo(f"users without a default project now: {', '.join(users)}")

    help = "Delete an empty project, with the roles, tokens and application credentials in it."
    return command(opener, "delete", help, handler, [name_argument()])


# --- tokens -------------------------------------------------------------------------------------------------------


def _token_create(opener: Opener) -> click.Command:
    def handler(
        store: Store, user: str, project: str | None, name: str, expires: float | None, token_file: Path | None
    ) -> None:
        token = account_store.create_token(store, user, project, name, expires, token_file)
        click.echo(f"token: {token}" if token_file is None else f"the token is in {token_file}")

    parameters: list[click.Parameter] = [
        click.Option(["--user"], required=True, metavar="NAME", help="owner of the token"),
        click.Option(["--project"], metavar="NAME", help="project of the token (default: the user's default project)"),
        click.Option(["--name"], default="", help="name of the token in the list"),
        click.Option(
            ["--expires"],
            default=f"{STATIC_DAYS}d",
            callback=parse_lifetime,
            metavar="TIME",
            help=f"lifetime, such as 12h or 30d, or never (default {STATIC_DAYS}d)",
        ),
        click.Option(
            ["--token-file"],
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="write the token to this file, mode 0400. Without it the token is printed once",
        ),
    ]
    return command(opener, "create", "Create a token for clients with auth_type admin_token.", handler, parameters)


def _token_list(opener: Opener) -> click.Command:
    def handler(store: Store, format_: str) -> None:
        with store.read() as tx:
            tokens, now = stored_tokens.static_tokens(tx), tx.wall
        keys = ("id", "name", "user_name", "project_name")
        print_rows(
            [account_store.select_fields(row, keys) | {"expires": _expires(row["expires_at"], now)} for row in tokens],
            format_,
        )

    return command(
        opener, "list", "List all static tokens; the tokens themselves are not stored.", handler, [format_option()]
    )


def _expires(at: float | None, now: float) -> str:
    if at is None:
        return "never"
    return "expired" if at <= now else iso_time(at)


def _token_delete(opener: Opener) -> click.Command:
    return command(
        opener,
        "delete",
        "Delete a static token by its id in the list.",
        account_store.delete_token,
        [click.Argument(["id"])],
    )
