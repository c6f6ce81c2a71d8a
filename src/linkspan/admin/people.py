"""Projects, users and nodes, made beside the API: the first user cannot be made by a user.

Passwords are kept as argon2 and tokens as SHA-256 (they have 256 random bits); both leave this process once, into a
file that only its owner reads or onto the terminal of who asked.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from linkspan.store.people import hash_password
from linkspan.store.store import Conflict, Row, Store, Tx
from linkspan.store.tokens import hash_token

ROLES: Final = ("admin", "member", "reader")


def new_password() -> str:
    """A password with 144 random bits that needs no quoting anywhere."""
    return secrets.token_urlsafe(18)


def project(tx: Tx, name: str) -> Row:
    """A project by name. Raises ClickException if there is none."""
    found = tx.project(name=name)
    if found is None:
        raise click.ClickException(f"no project named '{name}': see 'linkspan project list'")
    return found


def create_project(store: Store, name: str, description: str = "") -> Row:
    """Make a project. Raises ClickException if the name is taken."""
    with store.write() as tx:
        if tx.project(name=name) is not None:
            raise click.ClickException(f"a project named '{name}' exists already")
        return tx.add_project(name, description=description)


def create_user(store: Store, name: str, password: str, project_name: str, roles: Sequence[str]) -> Row:
    """Make a user with these roles in a project. Raises ClickException if the name is taken."""
    hashed = hash_password(password)
    with store.write() as tx:
        if tx.user_by_name(name) is not None:
            raise click.ClickException(f"a user named '{name}' exists already: see 'linkspan user set-password'")
        return tx.add_user(name, hashed, project(tx, project_name)["id"], tuple(roles))


def set_password(store: Store, name: str, password: str) -> None:
    """Give a user another password. Raises ClickException if there is none of that name."""
    hashed = hash_password(password)
    with store.write() as tx:
        user = tx.user_by_name(name)
        if user is None:
            raise click.ClickException(f"no user named '{name}': see 'linkspan user list'")
        tx.set_password(user["id"], hashed)


def create_node(store: Store, name: str, token_file: Path) -> None:
    """Make a node and the file with its token. Raises ClickException if either exists."""
    token = secrets.token_urlsafe(32)
    try:
        with store.write() as tx:
            if any(node["name"] == name for node in tx.nodes()):
                raise click.ClickException(f"a node named '{name}' exists already")
            tx.add_node(name, hash_token(token.encode()))
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


def public(row: Row, keys: Sequence[str]) -> dict[str, Any]:
    """What of a row may be shown."""
    return {key: row[key] for key in keys}
