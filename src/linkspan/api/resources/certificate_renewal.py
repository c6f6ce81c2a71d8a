"""The thread of an API process that renews what the projects' own CAs have issued, at two thirds of its life.

The key stays, so whatever knows it goes on knowing it. The nodes of the connections that use a certificate read the new
one with their desired state. Of several processes, the first one that locks a certificate renews it.
"""

from __future__ import annotations

from typing import Final

import structlog

from linkspan.api.resources.certificates import issued_by
from linkspan.api.resources.collection import change
from linkspan.core.errors import ApiError
from linkspan.core.schema.resources import CERTIFICATE, TRUST_ANCHOR
from linkspan.core.state.certificate_status import is_due
from linkspan.store.envelopes import KeyFileError
from linkspan.store.rows import reading, renewals
from linkspan.store.store import Conflict, Store, Unavailable
from linkspan.store.ticker import Ticker

INTERVAL: Final = 20.0
"""Seconds between two looks for certificates that are due."""

_log = structlog.get_logger("api.certificate_renewal")


class RenewalTicker(Ticker):
    """Renews at its interval."""

    def __init__(self, store: Store, interval: float = INTERVAL) -> None:
        super().__init__("certificate-renewal", interval)
        self._store = store

    def tick(self) -> None:
        """Renews the certificates that are due. One that cannot be renewed does not keep the others from it."""
        try:
            with self._store.read() as tx:
                ids = [life.id for life in renewals.renewable(tx) if is_due(life.start, life.end, tx.wall)]
            for id in ids:
                self._try(id)
        except (Conflict, Unavailable) as error:
            _log.debug("certificates are renewed later, or by another process", error=str(error))

    def _try(self, id: str) -> None:
        try:
            if self._renew(id):
                _log.info("certificate renewed", id=id)
        except (ApiError, KeyFileError) as error:
            _log.warning("a certificate cannot be renewed", id=id, error=str(error))

    def _renew(self, id: str) -> bool:
        """Renews a certificate that is still due once it is locked."""
        with self._store.write() as tx:
            row = reading.get(tx, CERTIFICATE, id, lock=True)
            if row is None or row["revoked_at"] is not None:
                return False
            if not is_due(row["not_before"], row["not_after"], tx.wall):
                return False
            anchor = reading.get(tx, TRUST_ANCHOR, row["issuer_id"])
            if anchor is None:
                return False
            change(tx, CERTIFICATE, row, issued_by(tx, anchor, row))
            return True
