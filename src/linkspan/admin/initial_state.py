"""What a state directory holds before the first request: projects, users, nodes with their tokens, and a clouds.yaml
that OpenStack's own tools and the `linkspan` command use as it stands, with a cloud for each way to authenticate.

Doing it again changes nothing but the URL: passwords and tokens stay. It never prints a secret.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import click

from linkspan.admin import clouds
from linkspan.admin.account_store import new_password, write_private
from linkspan.admin.clouds import PROJECTS, SHOWN, USERS, Credentials
from linkspan.store.identity import credentials, tokens, users
from linkspan.store.identity.tokens import hash_token
from linkspan.store.identity.users import UserRow, hash_password
from linkspan.store.nodes import registry
from linkspan.store.store import Store
from linkspan.store.transaction import Transaction

MADE_HERE: Final = "clouds.yaml"
"""The name of the static token and the application credential of `SHOWN`."""


def bootstrap_state(
    store: Store,
    state: Path,
    url: str,
    nodes: Mapping[str, Path],
    *,
    authenticated: bool = True,
    cacert: Path | None = None,
    region: str = "RegionOne",
) -> None:
    """Make whatever is missing. `nodes` are names and token files; `authenticated`: users need their passwords;
    `region`: where the catalog says that it is.

    Raises ClickException where what is there contradicts what is asked for.
    """
    file = state / "clouds.yaml"
    kept = clouds.read(file)
    passwords = kept.passwords
    missing = {name for name in USERS if name not in passwords}
    passwords |= {name: new_password() for name in missing}
    with store.read() as tx:
        hashes = {name: _hash(tx, name, missing, passwords) for name in USERS}
        lost = not kept.secret or credentials.credential(tx, kept.credential_id) is None
    kept.secret = new_password() if lost else kept.secret
    secret_hash = hash_password(kept.secret) if lost else ""
    with store.write() as tx:
        projects = {name: (users.project(tx, name=name) or users.add_project(tx, name))["id"] for name in PROJECTS}
        for name, (project, roles) in USERS.items():
            _user(tx, name, hashes[name], projects[project], roles)
        known = {node["name"] for node in registry.all_nodes(tx)}
        for name, token_file in nodes.items():
            _node(tx, name, token_file, name in known)
        _token(tx, kept)
        _credential(tx, kept, secret_hash)
        # Inside the transaction: a user whose password nobody has is of no use.
        _replace(file, clouds.text(url, kept, authenticated=authenticated, cacert=cacert, region=region))
        _replace(state / "curl.conf", clouds.curl(passwords[SHOWN], cacert) if authenticated else "silent\n")


def nodes_to_run(store: Store, state: Path, wanted: Sequence[str]) -> dict[str, Path]:
    """These nodes and their token files, and what else ran here and carries gateways: those wait for no other."""
    folder = state / "nodes"
    with store.read() as tx:
        carrying = [node["name"] for node in registry.all_nodes(tx) if node["gateways"]]
    here = [name for name in carrying if "/" not in name and (folder / f"{name}.token").exists()]
    return {name: folder / f"{name}.token" for name in [*wanted, *here]}


def _token(tx: Transaction, kept: Credentials) -> None:
    """The static token of the file; one that got lost is replaced."""
    if kept.token and tokens.find_token(tx, hash_token(kept.token.encode())) is not None:
        return
    for row in tokens.static_tokens(tx):
        if (row["user_name"], row["name"]) == (SHOWN, MADE_HERE):
            tokens.remove_static_token(tx, row["id"])
    kept.token = secrets.token_urlsafe(32)
    user = _shown(tx)
    tokens.add_token(tx, hash_token(kept.token.encode()), user["id"], user["project_id"], MADE_HERE)


def _credential(tx: Transaction, kept: Credentials, secret_hash: str) -> None:
    """The application credential of the file; one that got lost is replaced."""
    if not secret_hash:
        return
    user = _shown(tx)
    for row in credentials.credentials_of(tx, user["id"]):
        if row["name"] == MADE_HERE:
            credentials.remove_credential(tx, row["id"])
    values = {"user_id": user["id"], "project_id": user["project_id"], "name": MADE_HERE, "secret_hash": secret_hash}
    kept.credential_id = credentials.add_credential(tx, values | {"roles": user["roles"]})["id"]


def _shown(tx: Transaction) -> UserRow:
    user = users.user_by_name(tx, SHOWN)
    if user is None or user["project_id"] is None:
        raise click.ClickException(f"user '{SHOWN}' has no project any more: begin anew with another --state")
    return user


def _hash(tx: Transaction, name: str, missing: set[str], passwords: Mapping[str, str]) -> str:
    """The hash to store; empty if what is stored stays. Made outside the write: argon2 takes its time on purpose."""
    return hash_password(passwords[name]) if name in missing or users.user_by_name(tx, name) is None else ""


def _user(tx: Transaction, name: str, hashed: str, project_id: str, roles: Sequence[str]) -> None:
    user = users.user_by_name(tx, name)
    if user is None:
        users.add_user(tx, name, hashed, project_id, roles)
    elif hashed:
        users.set_password(tx, user["id"], hashed)


def _node(tx: Transaction, name: str, token_file: Path, known: bool) -> None:
    try:
        token = token_file.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        token = ""
    except OSError as error:
        raise click.ClickException(f"cannot read the token file {token_file}: {error.strerror}") from None
    if token and registry.node_by_token(tx, hash_token(token.encode())) is not None:
        return
    if known:
        raise click.ClickException(
            f"node '{name}' is in the database, but {token_file} does not hold its token: put the file back, "
            "or begin anew with another --state"
        )
    if not token:
        token = secrets.token_urlsafe(32)
        write_private(token_file, token + "\n", 0o400)
    registry.add_node(tx, name, hash_token(token.encode()))


def _replace(file: Path, text: str) -> None:
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    write_private(draft, text, 0o600)
    draft.replace(file)
