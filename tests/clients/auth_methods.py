"""Authentication methods: for each its configuration of the server, and its entry in a client's clouds.yaml."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from linkspan.api.authentication.basic import NoAuth
from linkspan.api.embedded_keystone.service import EmbeddedKeystone
from linkspan.api.http.authenticator import Authenticator
from linkspan.core.keystone_v3 import REGION
from linkspan.core.secret import hash_token
from linkspan.store.identity import tokens, users
from linkspan.store.identity.users import hash_password
from linkspan.store.store import Store

PASSWORD: Final = "pass word"
PROJECT: Final = "blue"
USERS: Final = {"admin": ("admin",), "alice": ("member",)}
"""User -> roles, all in one project."""


class AuthMethod(msgspec.Struct, frozen=True):
    """`auth` creates users and the server's authenticator; `cloud` returns a user's entry of a clouds.yaml, by URL."""

    name: str
    auth: Callable[[Store], Authenticator]
    cloud: Callable[[str, str], dict[str, Any]]


@functools.cache
def _hashed() -> str:
    return hash_password(PASSWORD)


def _token(user: str) -> str:
    return f"token-of-{user}"


def _embedded(store: Store) -> Authenticator:
    with store.write() as tx:
        project = users.add_project(tx, PROJECT)["id"]
        for user, roles in USERS.items():
            user_id = users.add_user(tx, user, _hashed(), project, roles)["id"]
            tokens.add_token(tx, hash_token(_token(user).encode()), user_id, project)
    return EmbeddedKeystone(store)


NONE: Final = AuthMethod(
    "none",
    lambda _store: NoAuth(),
    lambda url, _user: {"auth_type": "none", "auth": {"endpoint": url}},
)
BASIC: Final = AuthMethod(
    "http_basic",
    _embedded,
    lambda url, user: {
        "auth_type": "http_basic",
        "auth": {"endpoint": url, "username": user, "password": PASSWORD},
    },
)
STATIC: Final = AuthMethod(
    "admin_token",
    _embedded,
    lambda url, user: {"auth_type": "admin_token", "auth": {"endpoint": url, "token": _token(user)}},
)
V3: Final = AuthMethod(
    "v3password",
    _embedded,
    lambda url, user: {
        "auth_type": "v3password",
        "region_name": REGION,
        "auth": {
            "auth_url": f"{url}/identity/v3",
            "username": user,
            "password": PASSWORD,
            "project_name": PROJECT,
            "user_domain_id": "default",
            "project_domain_id": "default",
        },
    },
)
AUTH_METHODS: Final = (NONE, BASIC, STATIC, V3)


def clouds_yaml(file: Path, cloud: Mapping[str, Any]) -> dict[str, str]:
    """Writes a clouds.yaml with one cloud; returns the environment variables that select it."""
    file.write_text(yaml.safe_dump({"clouds": {"here": dict(cloud)}}), encoding="utf-8")
    return {"OS_CLIENT_CONFIG_FILE": str(file), "OS_CLOUD": "here"}
