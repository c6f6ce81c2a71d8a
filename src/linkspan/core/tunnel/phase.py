"""The phases of a tunnel, and the table of transitions between them.

The phase follows from a tunnel's fields. `lifecycle.step` ignores an event that the table does not list for the phase;
for one that it lists, the event's handler decides which of the phases follows. Tests compare the table with random
histories, so that it lists every transition that happens and no other. docs/tunnel.md draws it.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

from linkspan.core.tunnel.charon_events import (
    Cause,
    Initiating,
    PeerRefused,
    PeerSeen,
    PeerTimedOut,
    ProbeSent,
    RekeyFailed,
    Retracted,
    Retransmitted,
    SaChanged,
)
from linkspan.core.tunnel.events import (
    Adopted,
    EventsLost,
    KeyLoaded,
    Loaded,
    LoadFailed,
    PeerDeclaredDead,
    PeerDoubted,
    RecheckPeer,
    SasListed,
    Tick,
    Unresolved,
    WatchDue,
)
from linkspan.core.tunnel.tunnel import Tunnel


class Phase(enum.Enum):
    """Where a tunnel is in its life. The value is its name in documents."""

    DISABLED = "disabled"
    FAILED = "failed"
    UNRESOLVED = "unresolved"
    LOADING = "loading"
    INITIATING = "initiating"
    BACKING_OFF = "backing off"
    WAITING_FOR_PEER = "waiting for the peer"
    WAITING_FOR_TRAFFIC = "waiting for traffic"
    PARTLY_UP = "partly up"
    UP = "up"
    REPLACING = "replacing"


def phase_of(tunnel: Tunnel) -> Phase:
    """The phase of a tunnel."""
    if tunnel.config is None:
        if tunnel.error:
            return Phase.FAILED
        return Phase.UNRESOLVED if tunnel.connection.enabled else Phase.DISABLED
    if tunnel.previous and tunnel.previous.up:
        return Phase.REPLACING
    if tunnel.up:
        return Phase.PARTLY_UP if tunnel.missing else Phase.UP
    if not tunnel.applied:
        return Phase.LOADING
    if tunnel.attempt_ends_at is not None:
        return Phase.INITIATING
    if tunnel.retry_at is not None:
        return Phase.BACKING_OFF
    return Phase.WAITING_FOR_TRAFFIC if tunnel.dpd_state.waits_for == "trap" else Phase.WAITING_FOR_PEER


Trigger = type | str
"""The class of an event, or one of the two below."""
EDITED: Final = "edited"
"""The connection has a new revision (`tunnel.refreshed`, `tunnel.replaced`)."""
CHARON_RESTARTED: Final = "charon restarted"
"""The gateway's charon has nothing loaded (`tunnel.after_charon_restart`)."""

_NONE: Final = frozenset[Phase]()
_FAILED: Final = frozenset({Phase.FAILED})
_LOADING: Final = frozenset({Phase.LOADING})
_RETRY: Final = frozenset({Phase.BACKING_OFF})
_OFF: Final = frozenset({Phase.DISABLED, Phase.FAILED, Phase.UNRESOLVED})
_WAITING: Final = frozenset({Phase.WAITING_FOR_PEER, Phase.WAITING_FOR_TRAFFIC})
_RUNNING: Final = frozenset({Phase.PARTLY_UP, Phase.UP, Phase.REPLACING})
_DOWN: Final = _RETRY | _WAITING
_HINTS: Final = (
    Cause,
    Initiating,
    PeerDoubted,
    PeerRefused,
    PeerSeen,
    ProbeSent,
    RekeyFailed,
    Retracted,
    Retransmitted,
    SaChanged,
    EventsLost,
    KeyLoaded,
    RecheckPeer,
    WatchDue,
)
"""Events that never change the phase by themselves. Most make the tunnel list its SAs, and the listing decides."""
_CONFIGURED: Final[Mapping[Trigger, frozenset[Phase]]] = {
    **dict.fromkeys(_HINTS, _NONE),
    LoadFailed: _FAILED,
    Tick: _NONE,
    PeerTimedOut: _NONE,
    PeerDeclaredDead: _NONE,
    EDITED: _OFF | _LOADING,
    CHARON_RESTARTED: _LOADING,
}
"""The part of a row that the phases with a configuration have in common."""

TRANSITIONS: Final[Mapping[Phase, Mapping[Trigger, frozenset[Phase]]]] = {
    Phase.DISABLED: {EDITED: _OFF - {Phase.DISABLED} | _LOADING},
    Phase.FAILED: {EDITED: _OFF - {Phase.FAILED} | _LOADING},
    Phase.UNRESOLVED: {EDITED: _OFF - {Phase.UNRESOLVED} | _LOADING, Unresolved: _NONE},
    Phase.LOADING: {
        **_CONFIGURED,
        Loaded: _WAITING | {Phase.INITIATING, Phase.BACKING_OFF},
        Adopted: _DOWN | {Phase.INITIATING},
        SasListed: _RUNNING,
        EDITED: _OFF,
        CHARON_RESTARTED: _NONE,
    },
    Phase.INITIATING: {
        **_CONFIGURED,
        SasListed: _RUNNING | _DOWN,
        PeerDeclaredDead: _RETRY,
        EDITED: _OFF | _LOADING,
    },
    Phase.BACKING_OFF: {
        **_CONFIGURED,
        Tick: frozenset({Phase.INITIATING}),
        SasListed: _RUNNING,
        PeerTimedOut: frozenset({Phase.WAITING_FOR_TRAFFIC}),
        EDITED: _OFF | _LOADING | {Phase.WAITING_FOR_PEER},
    },
    Phase.WAITING_FOR_PEER: {
        **_CONFIGURED,
        SasListed: _RUNNING | _RETRY,
        PeerDeclaredDead: _RETRY,
        EDITED: _OFF | _LOADING | _RETRY,
    },
    Phase.WAITING_FOR_TRAFFIC: {
        **_CONFIGURED,
        SasListed: _RUNNING | _RETRY | {Phase.INITIATING},
        PeerDeclaredDead: _RETRY,
        EDITED: _OFF | _LOADING | _RETRY | {Phase.WAITING_FOR_PEER},
    },
    Phase.PARTLY_UP: {
        **_CONFIGURED,
        Loaded: _NONE,
        Adopted: _NONE,
        SasListed: _RUNNING - {Phase.PARTLY_UP} | _DOWN | _LOADING | {Phase.INITIATING},
        PeerTimedOut: _DOWN | _LOADING,
        PeerDeclaredDead: _RETRY | _LOADING | {Phase.WAITING_FOR_PEER},
        EDITED: _OFF | _LOADING | {Phase.REPLACING},
    },
    Phase.UP: {
        **_CONFIGURED,
        SasListed: _DOWN | {Phase.PARTLY_UP, Phase.INITIATING},
        PeerTimedOut: _DOWN,
        PeerDeclaredDead: _RETRY | {Phase.WAITING_FOR_PEER},
        EDITED: _OFF | _LOADING | {Phase.REPLACING},
    },
    Phase.REPLACING: {
        **_CONFIGURED,
        Loaded: _NONE,
        Adopted: _NONE,
        SasListed: _RUNNING - {Phase.REPLACING} | _DOWN | _LOADING | {Phase.INITIATING},
        PeerTimedOut: _DOWN | _LOADING,
        PeerDeclaredDead: _RETRY | _LOADING | {Phase.WAITING_FOR_PEER},
        EDITED: _OFF | _LOADING | {Phase.PARTLY_UP, Phase.UP},
    },
}
"""By phase and trigger: the other phases that may follow. A trigger without one is handled and keeps the phase."""
