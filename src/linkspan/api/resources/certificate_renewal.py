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
from linkspan.store import audit
from linkspan.store.audit import Actor
from linkspan.store.envelopes import KeyFileError
from linkspan.store.rows import reading, renewals
from linkspan.store.store import Conflict, Store, Unavailable
from linkspan.store.ticker import Ticker

INTERVAL: Final = 20.0
"""Seconds between two looks for certificates that are due."""
MOST: Final = 1000
"""Certificates that one look is for. The next one goes on after them: a look does not grow with the fleet."""
ACTOR: Final = Actor(user_id="", user_name="linkspan")

_log = structlog.get_logger("api.certificate_renewal")


class RenewalTicker(Ticker):
    """Renews at its interval."""

    def __init__(self, store: Store, interval: float = INTERVAL, most: int = MOST) -> None:
        super().__init__("certificate-renewal", interval)
        self._store = store
        self._most = most
        self._after = ""

    def tick(self) -> None:
        """Renews the certificates that are due. One that cannot be renewed does not keep the others from it."""
        try:
            for id in self._due():
                self._try(id)
        except (Conflict, Unavailable) as error:
            _log.debug("certificates are renewed later, or by another process", error=str(error))

    def _due(self) -> list[str]:
        """The ids of those that are due, among the next ones."""
        with self._store.read() as tx:
            found = renewals.renewable(tx, self._after, self._most)
            due = [life.id for life in found if is_due(life.start, life.end, tx.wall)]
        self._after = found[-1].id if len(found) == self._most else ""
        return due

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
            issued = issued_by(tx, anchor, row)
            change(tx, CERTIFICATE, row, issued)
            audit.record(tx, ACTOR, "renew", CERTIFICATE.name, id, row["project_id"], issued)
            return True
