"""Traffic of connections as API and agents exchange it: a part of a question and its answer (`core.state.live_facts`).

Everything has bounds, as in `core.state.observed`.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from linkspan.core.state.bounds import Counter, ObjectId
from linkspan.core.state.probes import Milliseconds

STEP: Final = 10.0
"""Seconds of a sample."""
KEPT: Final = 360
"""Samples that an agent keeps: those of an hour."""
MOST_CONNECTIONS: Final = 100
"""Connections in one question."""

EpochSeconds = Annotated[float, Meta(ge=0, le=1e11)]


class Amounts(msgspec.Struct, frozen=True):
    """Bytes and packets that child SAs have carried, as charon counts them: inside ESP."""

    in_bytes: int = 0
    out_bytes: int = 0
    in_packets: int = 0
    out_packets: int = 0


class TrafficRequest(msgspec.Struct, frozen=True):
    """A request for the traffic of connections: of each the ids of its gateway and its own.

    `since`: only samples that end after this time; None: only the newest one.
    """

    connections: Annotated[tuple[tuple[ObjectId, ObjectId], ...], Meta(max_length=MOST_CONNECTIONS)]
    since: EpochSeconds | None = None


class TrafficSample(msgspec.Struct, frozen=True, array_like=True):
    """What a connection has carried in the `seconds` before `at`, a time by the node's clock.

    A sample begins where the one before it has ended. None: the agent did not look, so it is a gap. `rtt_ms`: the
    newest round trip to the peer in this time, None if none was measured.
    """

    at: EpochSeconds
    seconds: Annotated[float, Meta(ge=0, le=1e11)]
    in_bytes: Counter | None = None
    out_bytes: Counter | None = None
    in_packets: Counter | None = None
    out_packets: Counter | None = None
    rtt_ms: Milliseconds | None = None


class ConnectionTraffic(msgspec.Struct, frozen=True):
    """The samples of a connection, the oldest first; with the gaps between them twice as many as are kept at most."""

    connection_id: ObjectId
    samples: Annotated[tuple[TrafficSample, ...], Meta(max_length=2 * KEPT)]
