"""TLS of the listener for nodes: a certificate of the internal authority, and the authorities whose nodes are accepted.

A thread of its own reads the authorities again every minute, has one made when it is missing, and takes a new
certificate at half of the life of the present one. The key never is in a file.
"""

from __future__ import annotations

import os
import ssl
import threading
from types import TracebackType
from typing import Final

import structlog

from linkspan.core.node_join import CERTIFICATE_LIFETIME
from linkspan.store import certificates
from linkspan.store.nodes import authority
from linkspan.store.store import Conflict, Store, Unavailable

INTERVAL: Final = 60.0
"""Seconds between two looks at the authorities."""

_log = structlog.get_logger("api.nodes")


class NodeTls:
    """The contexts of the listener for nodes, for the length of a `with` block."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stop = threading.Event()
        self._trusted = ""
        self._renew_at = 0.0
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._thread = threading.Thread(target=self._run, name="node-tls", daemon=True)

    def __enter__(self) -> NodeTls:
        self.refresh()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def context(self) -> ssl.SSLContext:
        """The context for the next connection. A client may be without a certificate, as one that joins is."""
        return self._context

    def refresh(self) -> None:
        """Makes a new context if authorities or time ask for it. Raises `Conflict`, `Unavailable`."""
        with self._store.read() as tx:
            missing = authority.is_missing(tx)
        if missing:
            with self._store.write() as tx:
                authority.ensure(tx)
        with self._store.read() as tx:
            trusted, now = authority.bundle(tx), tx.wall
            if trusted == self._trusted and now < self._renew_at:
                return
            _, issuer = authority.issuing(tx)
            certificate, key = certificates.issue_to_server(issuer, now)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(cadata=trusted)
        _load(context, certificates.to_pem(certificate).encode() + key)
        self._context, self._trusted = context, trusted
        self._renew_at = now + CERTIFICATE_LIFETIME / 2

    def _run(self) -> None:
        while not self._stop.wait(INTERVAL):
            try:
                self.refresh()
            except (Conflict, Unavailable) as error:
                _log.warning("the listener for nodes goes on with its certificate", error=str(error))


def _load(context: ssl.SSLContext, chain: bytes) -> None:
    # `ssl` loads files only: this one is in memory.
    file = os.memfd_create("certificate")
    with os.fdopen(file, "wb") as stream:
        stream.write(chain)
        stream.flush()
        context.load_cert_chain(f"/proc/self/fd/{file}")
