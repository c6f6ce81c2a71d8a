"""The clouds.yaml that a first start writes: who its users are, and a cloud for each way to authenticate.

Its secrets are nowhere else, so it is read again before it is written anew. What is text only is here; what a text
promises is made in `first`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click
import msgspec
import yaml

PROJECTS: Final = ("admin", "demo", "other")
USERS: Final = {
    "admin": ("admin", ("admin",)),
    "demo": ("demo", ("member",)),
    "reader": ("demo", ("reader",)),
    "other": ("other", ("member",)),
}
"""User -> project and roles; each has a cloud of the name linkspan-USER."""
DEMO_USER: Final = "demo"
"""The user for whom there is a cloud for every way to authenticate."""


class SavedSecrets(msgspec.Struct, kw_only=True):
    """The secrets in a clouds.yaml, which are nowhere else."""

    passwords: dict[str, str] = {}
    token: str = ""
    credential_id: str = ""
    secret: str = ""


def read_secrets(file: Path) -> SavedSecrets:
    """The secrets of a clouds.yaml; none if there is no file. Raises ClickException for a file of somebody else."""
    try:
        table = yaml.safe_load(file.read_text(encoding="utf-8"))["clouds"]
        entries = {name: table[f"linkspan-{name}"] for name in USERS if f"linkspan-{name}" in table}
        found = {name: e["auth"].get("password") or e.get("linkspan_password") for name, e in entries.items()}
        one = entries.get(DEMO_USER, {})
        token, credential = (
            table.get(f"linkspan-{DEMO_USER}-{way}", {}).get("auth", {}) for way in ("token", "credential")
        )
        return SavedSecrets(
            passwords={name: str(password) for name, password in found.items() if password},
            token=str(token.get("token") or one.get("linkspan_token", "")),
            credential_id=str(credential.get("application_credential_id") or one.get("linkspan_credential_id", "")),
            secret=str(credential.get("application_credential_secret") or one.get("linkspan_secret", "")),
        )
    except FileNotFoundError:
        return SavedSecrets()
    except OSError as error:
        raise click.ClickException(f"cannot read {file}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
        raise click.ClickException(
            f"{file} is not the clouds.yaml that was made here: move it away, and new passwords are made"
        ) from None


def render_clouds(url: str, kept: SavedSecrets, *, authenticated: bool, cacert: Path | None, region: str) -> str:
    """The text of the clouds.yaml."""
    table = _with_authentication(url, kept, region) if authenticated else _without_authentication(url, kept)
    if cacert is not None:
        for cloud in table.values():
            cloud["cacert"] = str(cacert.absolute())
    head = (
        "# Made by 'linkspan run': OS_CLIENT_CONFIG_FILE=<this file> openstack --os-cloud linkspan-demo network list\n"
    )
    return head + yaml.safe_dump({"clouds": table}, sort_keys=False)


def _with_authentication(url: str, kept: SavedSecrets, region: str) -> dict[str, Any]:
    def basic(name: str) -> dict[str, Any]:
        auth = {"endpoint": url, "username": name, "password": kept.passwords[name]}
        return {"auth_type": "http_basic", "auth": auth}

    def keystone(auth_type: str, **auth: str) -> dict[str, Any]:
        return {"auth_type": auth_type, "region_name": region, "auth": {"auth_url": f"{url}/identity/v3", **auth}}

    def password(name: str) -> dict[str, Any]:
        return keystone(
            "v3password",
            username=name,
            password=kept.passwords[name],
            user_domain_name="Default",
            project_name=USERS[name][0],
            project_domain_name="Default",
        )

    credential = keystone(
        "v3applicationcredential",
        application_credential_id=kept.credential_id,
        application_credential_secret=kept.secret,
    )
    return {
        **{f"linkspan-{name}": basic(name) for name in USERS},
        "linkspan-admin-password": password("admin"),
        f"linkspan-{DEMO_USER}-password": password(DEMO_USER),
        f"linkspan-{DEMO_USER}-credential": credential,
        f"linkspan-{DEMO_USER}-token": {"auth_type": "admin_token", "auth": {"endpoint": url, "token": kept.token}},
    }


def _without_authentication(url: str, kept: SavedSecrets) -> dict[str, Any]:
    """Clouds that need no secret. Those there are stay, so that they still hold when somebody asks for them again."""
    table: dict[str, Any] = {
        f"linkspan-{name}": {"auth_type": "none", "auth": {"endpoint": url}, "linkspan_password": kept.passwords[name]}
        for name in USERS
    }
    table[f"linkspan-{DEMO_USER}"] |= {
        "linkspan_token": kept.token,
        "linkspan_credential_id": kept.credential_id,
        "linkspan_secret": kept.secret,
    }
    return table


def render_curl_config(password: str, cacert: Path | None) -> str:
    """The text of a curl.conf with which `curl -K` asks as the user demo, without a password among the processes."""
    lines = ["silent", f'user = "demo:{password}"', *([f'cacert = "{cacert.absolute()}"'] if cacert else [])]
    return "\n".join(lines) + "\n"
