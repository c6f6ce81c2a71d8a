"""What a state directory holds before the first request: projects, users, nodes with their tokens, and a clouds.yaml
that OpenStack's own tools and the `linkspan` command use as it stands.

Doing it again changes nothing but the URL: passwords and tokens stay. It never prints a password.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click
import yaml

from linkspan.admin.people import new_password, write_private
from linkspan.store.people import hash_password
from linkspan.store.store import Store, Tx
from linkspan.store.tokens import hash_token

PROJECTS: Final = ("admin", "demo", "other")
USERS: Final = {
    "admin": ("admin", ("admin",)),
    "demo": ("demo", ("member",)),
    "reader": ("demo", ("reader",)),
    "other": ("other", ("member",)),
}
"""User -> project and roles; each has a cloud of the name linkspan-USER."""


def bootstrap_state(
    store: Store,
    state: Path,
    url: str,
    nodes: Mapping[str, Path],
    *,
    authenticated: bool = True,
    cacert: Path | None = None,
) -> None:
    """Make whatever is missing. `nodes` are names and token files; `authenticated`: users need their passwords.

    Raises ClickException where what is there contradicts what is asked for.
    """
    file = state / "clouds.yaml"
    passwords = _passwords(file)
    missing = {name for name in USERS if name not in passwords}
    passwords |= {name: new_password() for name in missing}
    with store.read() as tx:
        hashes = {name: _hash(tx, name, missing, passwords) for name in USERS}
    with store.write() as tx:
        projects = {name: (tx.project(name=name) or tx.add_project(name))["id"] for name in PROJECTS}
        for name, (project, roles) in USERS.items():
            _user(tx, name, hashes[name], projects[project], roles)
        known = {node["name"] for node in tx.nodes()}
        for name, token_file in nodes.items():
            _node(tx, name, token_file, name in known)
        # Inside the transaction: a user whose password nobody has is of no use.
        _replace(file, clouds(url, passwords, authenticated=authenticated, cacert=cacert))
        _replace(state / "curl.conf", curl(passwords["demo"], cacert) if authenticated else "silent\n")


def nodes_to_run(store: Store, state: Path, wanted: Sequence[str]) -> dict[str, Path]:
    """These nodes and their token files, and what else ran here and carries gateways: those wait for no other."""
    folder = state / "nodes"
    with store.read() as tx:
        carrying = [node["name"] for node in tx.nodes() if node["gateways"]]
    here = [name for name in carrying if "/" not in name and (folder / f"{name}.token").exists()]
    return {name: folder / f"{name}.token" for name in [*wanted, *here]}


def clouds(url: str, passwords: Mapping[str, str], *, authenticated: bool, cacert: Path | None) -> str:
    """The text of the clouds.yaml."""
    table: dict[str, Any] = {}
    for name in USERS:
        cloud: dict[str, Any] = {"auth_type": "http_basic" if authenticated else "none", "auth": {"endpoint": url}}
        # Kept also where nobody asks for them, so that they still hold when somebody does again.
        cloud["auth"] |= {"username": name, "password": passwords[name]} if authenticated else {}
        if not authenticated:
            cloud["linkspan_password"] = passwords[name]
        if cacert is not None:
            cloud["cacert"] = str(cacert.absolute())
        table[f"linkspan-{name}"] = cloud
    head = (
        "# Made by 'linkspan run': OS_CLIENT_CONFIG_FILE=<this file> openstack --os-cloud linkspan-demo network list\n"
    )
    return head + yaml.safe_dump({"clouds": table}, sort_keys=False)


def curl(password: str, cacert: Path | None) -> str:
    """The text of a curl.conf with which `curl -K` asks as the user demo, without a password among the processes."""
    lines = ["silent", f'user = "demo:{password}"', *([f'cacert = "{cacert.absolute()}"'] if cacert else [])]
    return "\n".join(lines) + "\n"


def _passwords(file: Path) -> dict[str, str]:
    try:
        table = yaml.safe_load(file.read_text(encoding="utf-8"))["clouds"]
        entries = {name: table[f"linkspan-{name}"] for name in USERS if f"linkspan-{name}" in table}
        found = {name: e["auth"].get("password") or e.get("linkspan_password") for name, e in entries.items()}
        return {name: str(password) for name, password in found.items() if password}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise click.ClickException(f"cannot read {file}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
        raise click.ClickException(
            f"{file} is not the clouds.yaml that was made here: move it away, and new passwords are made"
        ) from None


def _hash(tx: Tx, name: str, missing: set[str], passwords: Mapping[str, str]) -> str:
    """The hash to store; empty if what is stored stays. Made outside the write: argon2 takes its time on purpose."""
    return hash_password(passwords[name]) if name in missing or tx.user_by_name(name) is None else ""


def _user(tx: Tx, name: str, hashed: str, project_id: str, roles: Sequence[str]) -> None:
    user = tx.user_by_name(name)
    if user is None:
        tx.add_user(name, hashed, project_id, roles)
    elif hashed:
        tx.set_password(user["id"], hashed)


def _node(tx: Tx, name: str, token_file: Path, known: bool) -> None:
    try:
        token = token_file.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        token = ""
    except OSError as error:
        raise click.ClickException(f"cannot read the token file {token_file}: {error.strerror}") from None
    if token and tx.node_by_token(hash_token(token.encode())) is not None:
        return
    if known:
        raise click.ClickException(
            f"node '{name}' is in the database, but {token_file} does not hold its token: put the file back, "
            "or begin anew with another --state"
        )
    if not token:
        token = secrets.token_urlsafe(32)
        write_private(token_file, token + "\n", 0o400)
    tx.add_node(name, hash_token(token.encode()))


def _replace(file: Path, text: str) -> None:
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    write_private(draft, text, 0o600)
    draft.replace(file)
