"""What a declaration of a cause consists of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from linkspan.core.diagnosis.codes import Code

LayerName = Literal["intent", "node", "path", "ike", "authentication", "child", "data"]
Severity = Literal["error", "warning", "info"]
"""It is down and needs somebody; it is up and something is amiss; it is as somebody wants it, or on its way."""
Side = Literal["ours", "peer", "path", "unknown"]

FLAPS: Final = 3
"""Times that a connection goes down within `FLAPPING_WITHIN` seconds, so that it is flapping."""
FLAPPING_WITHIN: Final = 300.0
"""Seconds; those that a user's edit has taken down do not count."""
SILENT: Final = 10
"""Seconds for which packets may go out and none come in before that is a failure."""


class Declared(msgspec.Struct, frozen=True, kw_only=True):
    """A cause. `title`: a few words. `sentence`: with the values in braces that differ; `variants`: other sentences by
    name, for facts that lack those values. `ours`, `peers`: what to do here and at the peer; empty: nothing.
    `depends_on`: causes that explain this one where both are found. `visible_after`: seconds from the fault until it is
    said, at most, while the connection is in use. `side`: where the fault is. `confidence`: 0 to 1."""

    code: Code
    layer: LayerName
    title: str
    sentence: str
    variants: Mapping[str, str] = msgspec.field(default_factory=dict)
    severity: Severity = "error"
    side: Side = "unknown"
    confidence: float = 1.0
    ours: str = ""
    peers: str = ""
    depends_on: tuple[Code, ...] = ()
    visible_after: float = 3.0


LOCAL: Final[tuple[Code, ...]] = ("LOCAL_LINK_DOWN", "LOCAL_ADDRESS_ABSENT", "NO_ROUTE_TO_PEER")
"""Faults of this end that explain what looks like one of the path or the peer."""
