"""The thread that renews the certificate of a node: at half of its life, when the API asks for it, and until it works.

It also takes up an identity that `linkspan node join` has written meanwhile. Requests in progress go on with what they
began with.
"""

from __future__ import annotations

import threading
import time
from typing import Final

import structlog

from linkspan.agent.api_client import ApiClient, ApiUnreachable

LOOK: Final = 2.0
"""Seconds between two looks at the clock and at the file."""
PAUSE: Final = (2.0, 10.0, 60.0)
"""Seconds between attempts to renew; the last one repeats."""


def keep_renewed(api: ApiClient, stop: threading.Event) -> None:
    """Renews until `stop` is set."""
    log = structlog.get_logger("agent")
    failures, earliest = 0, 0.0
    while not stop.is_set():
        try:
            if api.reload_identity():
                log.info("the node has joined again")
                failures, earliest = 0, 0.0
            is_asked = api.renewal_asked.is_set() and not failures
            if api.renewal_is_due() and (is_asked or time.monotonic() >= earliest):
                api.renew()
                log.info("the certificate of the node is renewed")
                # Not at once again, should the clocks of node and API differ by half of a certificate's life.
                failures, earliest = 0, time.monotonic() + min(PAUSE[-1], api.certificate_lifetime / 4)
        except ApiUnreachable as error:
            if failures == 0:
                log.warning("cannot renew the certificate of the node; it is tried again", error=str(error))
            earliest = time.monotonic() + PAUSE[min(failures, len(PAUSE) - 1)]
            failures += 1
        (stop if failures else api.renewal_asked).wait(LOOK)
