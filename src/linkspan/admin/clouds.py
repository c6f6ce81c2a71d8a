"""Reads and renders the clouds.yaml of the initial state: its users, and a cloud for each authentication method.

The file is the only place that has these secrets, so it is read before it is replaced. `initial_state` creates the
users and credentials that it names.
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
"""User -> project and roles. The cloud of a user is named linkspan-USER."""
DEMO_USER: Final = "demo"
"""The user that has a cloud for every authentication method."""


class CloudSecrets(msgspec.Struct, kw_only=True):
    """The secrets in a clouds.yaml: passwords of all users; static token and application credential of `DEMO_USER`."""

    passwords: dict[str, str] = {}
    token: str = ""
    credential_id: str = ""
    secret: str = ""


def read_secrets(file: Path) -> CloudSecrets:
    """Reads the secrets of a clouds.yaml, all empty without a file. Raises ClickException for a foreign file."""
    try:
        table = yaml.safe_load(file.read_text(encoding="utf-8"))["clouds"]
        entries = {name: table[f"linkspan-{name}"] for name in USERS if f"linkspan-{name}" in table}
        passwords = {name: e["auth"].get("password") or e.get("linkspan_password") for name, e in entries.items()}
        demo = entries.get(DEMO_USER, {})
        token, credential = (
            table.get(f"linkspan-{DEMO_USER}-{method}", {}).get("auth", {}) for method in ("token", "credential")
        )
        return CloudSecrets(
            passwords={name: str(password) for name, password in passwords.items() if password},
            token=str(token.get("token") or demo.get("linkspan_token", "")),
            credential_id=str(credential.get("application_credential_id") or demo.get("linkspan_credential_id", "")),
            secret=str(credential.get("application_credential_secret") or demo.get("linkspan_secret", "")),
        )
    except FileNotFoundError:
        return CloudSecrets()
    except OSError as error:
        raise click.ClickException(f"cannot read {file}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
        raise click.ClickException(
            f"{file} is not a clouds.yaml of linkspan: move it away to get one with new passwords"
        ) from None


def render_clouds(url: str, saved: CloudSecrets, *, authenticated: bool, cacert: Path | None, region: str) -> str:
    """Renders the clouds.yaml."""
    table = _with_authentication(url, saved, region) if authenticated else _without_authentication(url, saved)
    if cacert is not None:
        for cloud in table.values():
            cloud["cacert"] = str(cacert.absolute())
    head = (
        "# Made by 'linkspan run': OS_CLIENT_CONFIG_FILE=<this file> openstack --os-cloud linkspan-demo network list\n"
    )
    return head + yaml.safe_dump({"clouds": table}, sort_keys=False)


def _with_authentication(url: str, saved: CloudSecrets, region: str) -> dict[str, Any]:
    def basic(name: str) -> dict[str, Any]:
        auth = {"endpoint": url, "username": name, "password": saved.passwords[name]}
        return {"auth_type": "http_basic", "auth": auth}

    def keystone(auth_type: str, **auth: str) -> dict[str, Any]:
        return {"auth_type": auth_type, "region_name": region, "auth": {"auth_url": f"{url}/identity/v3", **auth}}

    def password(name: str) -> dict[str, Any]:
        return keystone(
            "v3password",
            username=name,
            password=saved.passwords[name],
            user_domain_name="Default",
            project_name=USERS[name][0],
            project_domain_name="Default",
        )

    credential = keystone(
        "v3applicationcredential",
        application_credential_id=saved.credential_id,
        application_credential_secret=saved.secret,
    )
    return {
        **{f"linkspan-{name}": basic(name) for name in USERS},
        "linkspan-admin-password": password("admin"),
        f"linkspan-{DEMO_USER}-password": password(DEMO_USER),
        f"linkspan-{DEMO_USER}-credential": credential,
        f"linkspan-{DEMO_USER}-token": {"auth_type": "admin_token", "auth": {"endpoint": url, "token": saved.token}},
    }


def _without_authentication(url: str, saved: CloudSecrets) -> dict[str, Any]:
    """Returns clouds for `api.auth = "none"`. Other keys keep the secrets for a later start with authentication."""
    table: dict[str, Any] = {
        f"linkspan-{name}": {"auth_type": "none", "auth": {"endpoint": url}, "linkspan_password": saved.passwords[name]}
        for name in USERS
    }
    table[f"linkspan-{DEMO_USER}"] |= {
        "linkspan_token": saved.token,
        "linkspan_credential_id": saved.credential_id,
        "linkspan_secret": saved.secret,
    }
    return table


def render_curl_config(password: str, cacert: Path | None) -> str:
    """Renders a curl.conf for `curl -K` as the user demo, so that no password is in the list of processes."""
    lines = ["silent", f'user = "demo:{password}"', *([f'cacert = "{cacert.absolute()}"'] if cacert else [])]
    return "\n".join(lines) + "\n"
