"""Checks of this machine and of the settings before a process starts; each failure is one line that names the remedy.

Nothing here repairs anything.
"""

from __future__ import annotations

import os
import shutil
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import click

from linkspan.core.addresses import is_loopback
from linkspan.core.secret import Secret

TOOLS: Final = {
    "ip": "iproute2",
    "nft": "nftables",
    "charon-systemd": "charon-systemd",
    "unshare": "util-linux",
    "fping": "fping",
}
"""Programs that a node needs, and the Debian packages that contain them."""


def require_root(command: str) -> None:
    """Checks that the process runs as root. Raises ClickException."""
    if os.geteuid() != 0:
        raise click.ClickException(f"{command} needs root, for network namespaces and charon: run it with sudo")


def missing_tools(names: Sequence[str]) -> list[str]:
    """Returns those of these programs that are not installed."""
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin"
    return [name for name in names if shutil.which(name, path=path) is None]


def require_tools(names: Sequence[str]) -> None:
    """Checks that these programs are installed. Raises ClickException that names the missing packages."""
    missing = missing_tools(names)
    if missing:
        packages = " ".join(TOOLS[name] for name in missing)
        raise click.ClickException(
            f"not on this machine: {', '.join(missing)}; install with 'apt-get install {packages}'"
        )


def listening_socket(host: str, port: int, setting: str = "--port") -> socket.socket:
    """Opens a listening socket. Raises ClickException if the port is in use or the address is not a local one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        # Errors of the resolver have numbers of their own, which are not errno values: use their text.
        known = error.errno if error.errno and error.errno > 0 else 0
        reason = (os.strerror(known) if known else str(error.strerror or error)).lower()
        raise click.ClickException(
            f"cannot listen on {host} port {port}: {reason}; choose another port with {setting}"
        ) from None


def check_certificate(cert: Path | None, key: Path | None) -> None:
    """Checks that the certificate and its key can be served. Raises ClickException."""
    if cert is None and key is None:
        return
    if cert is None or key is None:
        raise click.ClickException("api.tls_cert and api.tls_key go together: set both, or neither")
    for path in (cert, key):
        try:
            path.read_bytes()
        except OSError as error:
            raise click.ClickException(f"cannot read {path}: {error.strerror}") from None
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(cert, key)
    except ssl.SSLError as error:
        raise click.ClickException(
            f"{cert} and {key} are not a certificate and its private key: {error.reason}"
        ) from None


def check_plain_http(host: str) -> None:
    """Checks that plain HTTP on this address stays on this machine. Raises ClickException."""
    if not is_loopback(host):
        raise click.ClickException(
            f"plain HTTP on {host} would send passwords and keys in plaintext: set api.tls_cert and api.tls_key, or "
            "api.plain_http = 'allow' if a proxy in front of it ends TLS"
        )


def check_keystone(
    auth_url: str, username: str, password_file: Path | None, ca_file: Path | None, *, plain_http: bool = False
) -> Secret:
    """Checks the settings for an external Keystone; returns the service user's password. Raises ClickException."""
    if not auth_url.startswith(("http://", "https://")):
        raise click.ClickException(
            "auth 'keystone' needs keystone.auth_url, such as https://keystone.example.org:5000/v3"
        )
    url = urlsplit(auth_url)
    if url.scheme == "http" and not plain_http and not is_loopback(url.hostname or ""):
        raise click.ClickException(
            f"keystone.auth_url {auth_url} is plain HTTP to another machine and would send a password and tokens in "
            "plaintext: use https://, or set keystone.plain_http = 'allow'"
        )
    if password_file is None:
        raise click.ClickException(f"auth 'keystone' needs keystone.password_file, with the password of {username}")
    try:
        password = password_file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"cannot read the password file {password_file}: {error}") from None
    if ca_file is not None:
        try:
            ssl.create_default_context(cafile=str(ca_file))
        except (OSError, ssl.SSLError):
            raise click.ClickException(f"{ca_file} contains no CA certificates: see keystone.ca_file") from None
    return Secret(password)
