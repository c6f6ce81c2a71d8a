"""Creates and changes projects, users, tokens and nodes in the database, without the API, which needs a first user.

The database holds argon2 hashes of passwords and SHA-256 hashes of tokens, which have 256 random bits. A generated
password or token is output once: to a file that only its owner can read, or to the terminal.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from linkspan.admin.operator import operator as _operator
from linkspan.admin.owner import act_as_operator
from linkspan.core import printable
from linkspan.core.node_join import name_fault
from linkspan.core.secret import SHORTEST, hash_token
from linkspan.store import audit
from linkspan.store.identity import tokens, users
from linkspan.store.identity.enablement import objects_left
from linkspan.store.identity.users import ProjectRow, UserRow, hash_password
from linkspan.store.nodes import membership, registry
from linkspan.store.nodes.registry import NodeWithGateways
from linkspan.store.rows import quotas
from linkspan.store.store import Conflict, Store
from linkspan.store.transaction import Transaction


def generate_password() -> str:
    """Generates a password with 144 random bits that needs no quoting in a shell, in YAML or in a URL."""
    return secrets.token_urlsafe(18)


def get_project(tx: Transaction, name: str) -> ProjectRow:
    """Returns a project by name. Raises ClickException if it does not exist."""
    project = users.project(tx, name=name)
    if project is None:
        raise click.ClickException(f"no project named '{name}': see 'linkspan project list'")
    return project


def _check_name(name: str) -> None:
    if not name or (char := printable.unprintable(name)):
        shown = f"has a character that is not printable ({printable.name_of(char)})" if name else "is empty"
        raise click.ClickException(f"the name '{printable.harmless(name)}' {shown}")


def _check_node_name(name: str) -> None:
    if fault := name_fault(name):
        raise click.ClickException(f"the name '{printable.harmless(name)}' {fault}")


def create_project(store: Store, name: str, description: str = "") -> ProjectRow:
    """Creates a project. Raises ClickException if the name is taken or not printable."""
    _check_name(name)
    with store.write() as tx:
        if users.project(tx, name=name) is not None:
            raise click.ClickException(f"a project named '{name}' exists already")
        project = users.add_project(tx, name, description=description)
        audit.record(tx, _operator(), "create", "project", project["id"], project["id"], ("name", "description"))
        return project


def _hashed(password: str) -> str:
    """Returns the hash of a new password. Raises ClickException if it is too short."""
    if len(password) < SHORTEST:
        raise click.ClickException(f"the password is too short: give at least {SHORTEST} characters")
    return hash_password(password)


def create_user(store: Store, name: str, password: str, project_name: str, roles: Sequence[str]) -> UserRow:
    """Creates a user with these roles in a project. Raises ClickException: bad or taken name, short password."""
    _check_name(name)
    hashed = _hashed(password)
    with store.write() as tx:
        if users.user_by_name(tx, name) is not None:
            raise click.ClickException(f"a user named '{name}' exists already: see 'linkspan user set-password'")
        user = users.add_user(tx, name, hashed, get_project(tx, project_name)["id"], tuple(roles))
        audit.record(tx, _operator(), "create", "user", user["id"], user["project_id"], ("name", "password", "roles"))
        return user


def get_user(tx: Transaction, name: str) -> UserRow:
    """Returns a user by name. Raises ClickException if it does not exist."""
    user = users.user_by_name(tx, name)
    if user is None:
        raise click.ClickException(f"no user named '{name}': see 'linkspan user list'")
    return user


def set_password(store: Store, name: str, password: str) -> None:
    """Sets a user's password. Raises ClickException if the user does not exist or the password is short."""
    hashed = _hashed(password)
    with store.write() as tx:
        user = get_user(tx, name)
        users.set_password(tx, user["id"], hashed)
        audit.record(tx, _operator(), "update", "user", user["id"], user["project_id"], ("password",))


def delete_user(store: Store, name: str) -> None:
    """Deletes a user. Raises ClickException if the user does not exist."""
    with store.write() as tx:
        user = get_user(tx, name)
        users.remove_user(tx, user["id"])
        audit.record(tx, _operator(), "delete", "user", user["id"], user["project_id"])


def grant_roles(store: Store, name: str, project_name: str, roles: Sequence[str]) -> None:
    """Adds roles in a project to those that a user has. Raises ClickException if user or project does not exist."""
    with store.write() as tx:
        user, project_id = get_user(tx, name), get_project(tx, project_name)["id"]
        users.set_roles(tx, user["id"], project_id, {*user["grants"].get(project_id, ()), *roles})
        audit.record(tx, _operator(), "grant", "user", user["id"], project_id, ("roles",))


def revoke_roles(store: Store, name: str, project_name: str, roles: Sequence[str]) -> None:
    """Removes roles in a project from a user, all if `roles` is empty. Raises ClickException if one is missing."""
    with store.write() as tx:
        user, project_id = get_user(tx, name), get_project(tx, project_name)["id"]
        granted = set(user["grants"].get(project_id, ()))
        missing = sorted(set(roles) - granted)
        if not granted or missing:
            what = f"the role {' or '.join(missing)}" if granted else "any role"
            raise click.ClickException(
                f"user '{name}' does not have {what} in project '{project_name}': see 'linkspan user list'"
            )
        users.set_roles(tx, user["id"], project_id, granted - set(roles) if roles else ())
        audit.record(tx, _operator(), "revoke", "user", user["id"], project_id, ("roles",))


def delete_project(store: Store, name: str) -> list[str]:
    """Deletes a project; returns the users whose default project it was. Raises ClickException unless it is empty."""
    with store.write() as tx:
        id = get_project(tx, name)["id"]
        if remaining := objects_left(tx, id):
            raise click.ClickException(f"project '{name}' still has {', '.join(remaining)}: delete them first")
        user_names = [row["name"] for row in users.all_users(tx) if row["project_id"] == id]
        quotas.reset_quotas(tx, id)
        users.remove_project(tx, id)
        audit.record(tx, _operator(), "delete", "project", id, id)
        return user_names


def create_token(
    store: Store, user_name: str, project_name: str | None, name: str, seconds: float | None, token_file: Path | None
) -> str:
    """Creates a static token, and its file if one is named. Raises ClickException if the user has no role there."""
    token = secrets.token_urlsafe(32)
    with store.write() as tx:
        user = get_user(tx, user_name)
        project_id = user["project_id"] if project_name is None else get_project(tx, project_name)["id"]
        if project_id is None:
            raise click.ClickException(f"user '{user_name}' has no default project: name one with --project")
        if not user["grants"].get(project_id):
            raise click.ClickException(
                f"user '{user_name}' has no role in that project: see 'linkspan user grant', or use --project"
            )
        tokens.add_token(
            tx, hash_token(token.encode()), user["id"], project_id, name, None if seconds is None else tx.wall + seconds
        )
        audit.record(tx, _operator(), "create", "token", user["id"], project_id, ("name", "expires_at"))
        if token_file is not None:
            write_private(token_file, token + "\n", 0o400)
    return token


def delete_token(store: Store, id: str) -> None:
    """Deletes a static token. Raises ClickException if there is none with that id."""
    with store.write() as tx:
        if not tokens.remove_static_token(tx, id):
            raise click.ClickException(f"no static token with the id '{id}': see 'linkspan token list'")
        audit.record(tx, _operator(), "delete", "token", id)


def create_node(store: Store, name: str, token_file: Path, lifetime: float | None = None) -> None:
    """Creates a node and the file with its token, which lasts `lifetime` seconds; None: without an end, for a node on
    this machine. Raises ClickException if either exists, or for a bad name."""
    _check_node_name(name)
    token = secrets.token_urlsafe(32)
    try:
        with store.write() as tx:
            if registry.node_by_name(tx, name) is not None:
                raise click.ClickException(f"a node named '{name}' exists already")
            end = None if lifetime is None else tx.wall + lifetime
            node = registry.add_node(tx, name, hash_token(token.encode()), end)
            audit.record(tx, _operator(), "create", "node", node["id"], fields=("name", "token"))
            # Inside the transaction: without its token file the node could never connect.
            write_private(token_file, token + "\n", 0o400)
    except Conflict:
        raise click.ClickException(f"a node named '{name}' exists already") from None


def invite_node(store: Store, name: str, lifetime: float, token_file: Path | None) -> str:
    """Makes a join token for a node, and its file if one is named. Raises ClickException for a bad name."""
    _check_node_name(name)
    with store.write() as tx:
        _, token = membership.invite(tx, _operator(), name, lifetime)
        if token_file is not None:
            write_private(token_file, token + "\n", 0o400)
    return token


def get_node(tx: Transaction, name: str) -> NodeWithGateways:
    """Returns a node by name. Raises ClickException if it does not exist."""
    node = registry.node_by_name(tx, name)
    if node is None:
        raise click.ClickException(f"no node named '{name}': see 'linkspan node list'")
    return node


def rotate_node(store: Store, name: str) -> None:
    """Has a node renew its certificate. Raises ClickException if it has none."""
    with store.write() as tx:
        if not membership.rotate(tx, _operator(), get_node(tx, name)):
            raise click.ClickException(f"node {name} has no certificate: see 'linkspan node join-token'")


def revoke_node(store: Store, name: str) -> None:
    """Ends every credential of a node. Raises ClickException if the node does not exist."""
    with store.write() as tx:
        membership.revoke(tx, _operator(), get_node(tx, name))


def delete_node(store: Store, name: str, force: bool) -> None:
    """Deletes a node. Raises ClickException if it does not exist, or has gateways, unless `force`."""
    with store.write() as tx:
        node = get_node(tx, name)
        if node["gateways"] and not force:
            raise click.ClickException(membership.with_gateways(node))
        membership.remove(tx, _operator(), node)


def write_private(path: Path, text: str, mode: int) -> None:
    """Creates a file that only the operator can read. Raises ClickException if it exists or cannot be written."""
    try:
        with act_as_operator():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
                file.write(text)
    except FileExistsError:
        raise click.ClickException(f"{path} exists already: move it away, or name another file") from None
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {error.strerror}") from None


def select_fields(row: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """Returns the given keys of a row; the others may be secret."""
    return {key: row[key] for key in keys}
