"""The certificate of the server, read again when its files change.

New connections get the new one; those that are open go on. A pair that cannot be used, such as half of a replacement,
is logged once, and the one in use stays.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import structlog

_log = structlog.get_logger()


class Certificate:
    """A certificate chain with its key, in the context with which a server accepts connections."""

    def __init__(self, cert: Path, key: Path) -> None:
        """Raises OSError, which `ssl.SSLError` is too, if the files cannot be used."""
        self._cert = cert
        self._key = key
        self._seen = self._versions()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.load_cert_chain(cert, key, _no_passphrase)

    def refresh(self) -> None:
        """Serves the certificate that is in the files now, if they have changed."""
        versions = self._versions()
        if versions == self._seen:
            return
        self._seen = versions
        try:
            # In a context of its own first: one that fails half-way would leave a certificate without its key.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self._cert, self._key, _no_passphrase)
            self.context.load_cert_chain(self._cert, self._key, _no_passphrase)
        except OSError as error:
            reason = str(getattr(error, "reason", None) or error.strerror or error)
            _log.warning("the new certificate cannot be used", file=str(self._cert), reason=reason)
            return
        _log.info("the certificate was replaced", file=str(self._cert))

    def _versions(self) -> tuple[tuple[int, ...], ...]:
        return tuple(_version(path) for path in (self._cert, self._key))


def _no_passphrase() -> str:
    """Called for an encrypted key; without it OpenSSL would ask on the terminal."""
    return ""


def _version(path: Path) -> tuple[int, ...]:
    try:
        status = os.stat(path)
    except OSError:
        return ()
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
