"""Projects, users, tokens and nodes, made beside the API: the first user cannot be made by a user.

Passwords are kept as argon2 and tokens as SHA-256 (they have 256 random bits); both leave this process once, into a
file that only its owner reads or onto the terminal of who asked.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from linkspan.core.schema.resources import RESOURCES
from linkspan.store.identity import tokens, users
from linkspan.store.identity.tokens import hash_token
from linkspan.store.identity.users import ProjectRow, UserRow, hash_password
from linkspan.store.nodes import registry
from linkspan.store.rows import quotas, reading
from linkspan.store.store import Conflict, Store
from linkspan.store.transaction import Transaction

ROLES: Final = ("admin", "member", "reader")


def new_password() -> str:
    """A password with 144 random bits that needs no quoting anywhere."""
    return secrets.token_urlsafe(18)


def project(tx: Transaction, name: str) -> ProjectRow:
    """A project by name. Raises ClickException if there is none."""
    found = users.project(tx, name=name)
    if found is None:
        raise click.ClickException(f"no project named '{name}': see 'linkspan project list'")
    return found


def create_project(store: Store, name: str, description: str = "") -> ProjectRow:
    """Make a project. Raises ClickException if the name is taken."""
    with store.write() as tx:
        if users.project(tx, name=name) is not None:
            raise click.ClickException(f"a project named '{name}' exists already")
        return users.add_project(tx, name, description=description)


def create_user(store: Store, name: str, password: str, project_name: str, roles: Sequence[str]) -> UserRow:
    """Make a user with these roles in a project. Raises ClickException if the name is taken."""
    hashed = hash_password(password)
    with store.write() as tx:
        if users.user_by_name(tx, name) is not None:
            raise click.ClickException(f"a user named '{name}' exists already: see 'linkspan user set-password'")
        return users.add_user(tx, name, hashed, project(tx, project_name)["id"], tuple(roles))


def user(tx: Transaction, name: str) -> UserRow:
    """A user by name. Raises ClickException if there is none."""
    found = users.user_by_name(tx, name)
    if found is None:
        raise click.ClickException(f"no user named '{name}': see 'linkspan user list'")
    return found


def set_password(store: Store, name: str, password: str) -> None:
    """Give a user another password. Raises ClickException if there is none of that name."""
    hashed = hash_password(password)
    with store.write() as tx:
        users.set_password(tx, user(tx, name)["id"], hashed)


def delete_user(store: Store, name: str) -> None:
    """Remove a user. Raises ClickException if there is none of that name."""
    with store.write() as tx:
        users.remove_user(tx, user(tx, name)["id"])


def grant(store: Store, name: str, project_name: str, roles: Sequence[str]) -> None:
    """Give a user roles in a project, beside those there are. Raises ClickException if either is not there."""
    with store.write() as tx:
        found, where = user(tx, name), project(tx, project_name)["id"]
        users.set_roles(tx, found["id"], where, {*found["grants"].get(where, ()), *roles})


def revoke(store: Store, name: str, project_name: str, roles: Sequence[str]) -> None:
    """Take roles in a project from a user; none: all. Raises ClickException where there is nothing to take."""
    with store.write() as tx:
        found, where = user(tx, name), project(tx, project_name)["id"]
        held = set(found["grants"].get(where, ()))
        missing = sorted(set(roles) - held)
        if not held or missing:
            what = f"the role {' or '.join(missing)}" if held else "any role"
            raise click.ClickException(
                f"user '{name}' does not have {what} in project '{project_name}': see 'linkspan user list'"
            )
        users.set_roles(tx, found["id"], where, held - set(roles) if roles else ())


def delete_project(store: Store, name: str) -> list[str]:
    """Remove a project; the names of the users whose own it was. Raises ClickException while it holds something."""
    with store.write() as tx:
        id = project(tx, name)["id"]
        counts = [(reading.count(tx, resource, id), resource) for resource in RESOURCES]
        left = [f"{n} {resource.plural if n > 1 else resource.singular}" for n, resource in counts if n]
        if left:
            raise click.ClickException(f"project '{name}' still holds {', '.join(left)}: delete them first")
        homeless = [row["name"] for row in users.all_users(tx) if row["project_id"] == id]
        quotas.reset_quotas(tx, id)
        users.remove_project(tx, id)
        return homeless


def create_token(
    store: Store, user_name: str, project_name: str | None, name: str, seconds: float | None, token_file: Path | None
) -> str:
    """Make a static token and the file, if there is one. Raises ClickException where the token could do nothing."""
    token = secrets.token_urlsafe(32)
    with store.write() as tx:
        found = user(tx, user_name)
        where = found["project_id"] if project_name is None else project(tx, project_name)["id"]
        if where is None:
            raise click.ClickException(f"user '{user_name}' has no project of their own: name one with --project")
        if not found["grants"].get(where):
            raise click.ClickException(
                f"user '{user_name}' has no role there: see 'linkspan user grant', or name another with --project"
            )
        tokens.add_token(
            tx, hash_token(token.encode()), found["id"], where, name, None if seconds is None else tx.now + seconds
        )
        if token_file is not None:
            write_private(token_file, token + "\n", 0o400)
    return token


def delete_token(store: Store, id: str) -> None:
    """End a static token. Raises ClickException if there is none with that id."""
    with store.write() as tx:
        if not tokens.remove_static_token(tx, id):
            raise click.ClickException(f"no static token with the id '{id}': see 'linkspan token list'")


def create_node(store: Store, name: str, token_file: Path) -> None:
    """Make a node and the file with its token. Raises ClickException if either exists."""
    token = secrets.token_urlsafe(32)
    try:
        with store.write() as tx:
            if any(node["name"] == name for node in registry.all_nodes(tx)):
                raise click.ClickException(f"a node named '{name}' exists already")
            registry.add_node(tx, name, hash_token(token.encode()))
            # Inside the transaction: a node whose token nobody has could never join.
            write_private(token_file, token + "\n", 0o400)
    except Conflict:
        raise click.ClickException(f"a node named '{name}' exists already") from None


def write_private(path: Path, text: str, mode: int) -> None:
    """Make a file that only its owner reads. Raises ClickException if it exists or cannot be made."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise click.ClickException(f"{path} exists already: move it away, or give another file") from None
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {error.strerror}") from None


def public(row: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """What of a row may be shown."""
    return {key: row[key] for key in keys}
