"""Creates the initial state of a state directory: projects, users, nodes with their tokens, and a clouds.yaml with a
cloud for each authentication method, for OpenStack's own tools and the `linkspan` command.

A repeated call updates only the URL: passwords stay the same, and so does the token for half of its life. Nothing here
prints a secret.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import click

from linkspan.admin import clouds
from linkspan.admin.account_store import generate_password, write_private
from linkspan.admin.clouds import DEMO_USER, PROJECTS, USERS, CloudSecrets
from linkspan.core.keystone_v3 import REGION, STATIC_DAYS
from linkspan.core.secret import hash_token
from linkspan.store.identity import credentials, tokens, users
from linkspan.store.identity.users import UserRow, hash_password
from linkspan.store.nodes import credentials as node_credentials
from linkspan.store.nodes import registry
from linkspan.store.store import Store
from linkspan.store.transaction import Transaction

CLOUDS_FILE: Final = "clouds.yaml"
"""Name of the file, and of the static token and the application credential of `DEMO_USER` in it."""


def bootstrap_state(
    store: Store,
    state: Path,
    url: str,
    nodes: Mapping[str, Path],
    *,
    authenticated: bool = True,
    cacert: Path | None = None,
    region: str = REGION,
) -> None:
    """Creates all parts of the initial state that are missing. `nodes`: token files by name; `authenticated`: callers
    have to authenticate; `region`: the region of the endpoints in the catalog.

    Raises ClickException if an existing file or row contradicts the arguments.
    """
    file = state / CLOUDS_FILE
    saved = clouds.read_secrets(file)
    passwords = saved.passwords
    missing = {name for name in USERS if name not in passwords}
    passwords |= {name: generate_password() for name in missing}
    with store.read() as tx:
        hashes = {name: _hash_if_new(tx, name, missing, passwords) for name in USERS}
        lost = not saved.secret or credentials.credential(tx, saved.credential_id) is None
    saved.secret = generate_password() if lost else saved.secret
    secret_hash = hash_password(saved.secret) if lost else ""
    with store.write() as tx:
        projects = {name: (users.project(tx, name=name) or users.add_project(tx, name))["id"] for name in PROJECTS}
        for name, (project, roles) in USERS.items():
            _ensure_user(tx, name, hashes[name], projects[project], roles)
        for name, token_file in nodes.items():
            _ensure_node(tx, name, token_file)
        _ensure_token(tx, saved)
        _ensure_credential(tx, saved, secret_hash)
        # Inside the transaction: without this file the passwords of its users would be lost.
        _replace(file, clouds.render_clouds(url, saved, authenticated=authenticated, cacert=cacert, region=region))
        _replace(
            state / "curl.conf",
            clouds.render_curl_config(passwords[DEMO_USER], cacert) if authenticated else "silent\n",
        )


def nodes_to_run(store: Store, state: Path, wanted: Sequence[str]) -> dict[str, Path]:
    """Returns the token files of these nodes and of all local nodes with gateways, which no other node takes over."""
    folder = state / "nodes"
    with store.read() as tx:
        with_gateways = [node["name"] for node in registry.all_nodes(tx) if node["gateways"]]
    kinds = ("token", "pem")
    local = [
        name
        for name in with_gateways
        if "/" not in name and any((folder / f"{name}.{kind}").exists() for kind in kinds)
    ]
    return {name: folder / f"{name}.token" for name in [*wanted, *local]}


def _ensure_token(tx: Transaction, saved: CloudSecrets) -> None:
    """Ensures that the static token of the clouds.yaml is in the database, and for a while yet. A new one takes the
    place of a lost one."""
    lifetime = STATIC_DAYS * 86_400.0
    found = tokens.find_token(tx, hash_token(saved.token.encode())) if saved.token else None
    if found is not None and (found["expires_at"] is None or found["expires_at"] > tx.wall + lifetime / 2):
        return
    for row in tokens.static_tokens(tx):
        if (row["user_name"], row["name"]) == (DEMO_USER, CLOUDS_FILE):
            tokens.remove_static_token(tx, row["id"])
    saved.token = secrets.token_urlsafe(32)
    user = _demo_user(tx)
    token_hash = hash_token(saved.token.encode())
    tokens.add_token(tx, token_hash, user["id"], user["project_id"], CLOUDS_FILE, tx.wall + lifetime)


def _ensure_credential(tx: Transaction, saved: CloudSecrets, secret_hash: str) -> None:
    """Creates the application credential of the clouds.yaml if `secret_hash` is not empty, in place of a lost one."""
    if not secret_hash:
        return
    user = _demo_user(tx)
    for row in credentials.credentials_of(tx, user["id"]):
        if row["name"] == CLOUDS_FILE:
            credentials.remove_credential(tx, row["id"])
    values = {"user_id": user["id"], "project_id": user["project_id"], "name": CLOUDS_FILE, "secret_hash": secret_hash}
    saved.credential_id = credentials.add_credential(tx, values | {"roles": user["roles"]})["id"]


def _demo_user(tx: Transaction) -> UserRow:
    user = users.user_by_name(tx, DEMO_USER)
    if user is None or user["project_id"] is None:
        raise click.ClickException(f"user '{DEMO_USER}' has no project any more: start with another --state")
    return user


def _hash_if_new(tx: Transaction, name: str, missing: set[str], passwords: Mapping[str, str]) -> str:
    """Returns the hash to store, empty if the stored one stays. Runs outside the write transaction: argon2 is slow."""
    return hash_password(passwords[name]) if name in missing or users.user_by_name(tx, name) is None else ""


def _ensure_user(tx: Transaction, name: str, hashed: str, project_id: str, roles: Sequence[str]) -> None:
    user = users.user_by_name(tx, name)
    if user is None:
        users.add_user(tx, name, hashed, project_id, roles)
    elif hashed:
        users.set_password(tx, user["id"], hashed)


def _ensure_node(tx: Transaction, name: str, token_file: Path) -> None:
    """Ensures that a node of this machine has a token, without an end, unless it has joined with a certificate."""
    if token_file.with_suffix(".pem").exists():
        return
    try:
        token = token_file.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        token = ""
    except OSError as error:
        raise click.ClickException(f"cannot read the token file {token_file}: {error.strerror}") from None
    token_hash = hash_token(token.encode()) if token else ""
    node = registry.node_by_token(tx, token_hash) if token else None
    if node is not None:
        if node["token_expires_at"] is not None:
            node_credentials.set_token(tx, node["id"], token_hash, None)
        return
    if registry.node_by_name(tx, name) is not None:
        raise click.ClickException(
            f"node '{name}' is in the database, but {token_file} does not hold its token: put the file back, delete "
            "the node if it was revoked, or start with another --state"
        )
    if not token:
        token = secrets.token_urlsafe(32)
        token_hash = hash_token(token.encode())
        write_private(token_file, token + "\n", 0o400)
    registry.add_node(tx, name, token_hash)


def _replace(file: Path, text: str) -> None:
    if file.exists() and file.read_text(encoding="utf-8") == text:
        return  # the next run on a full disk needs to write nothing
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    write_private(draft, text, 0o600)
    draft.replace(file)
