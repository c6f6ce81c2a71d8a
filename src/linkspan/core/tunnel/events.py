"""Events of a tunnel: answers of its gateway, events of charon, and time."""

from __future__ import annotations

import msgspec

from linkspan.core.tunnel.charon_events import TunnelHint
from linkspan.core.tunnel.install_order import InstallOrder
from linkspan.core.tunnel.sas import IkeSa


class Loaded(msgspec.Struct, frozen=True):
    """charon has loaded the configuration."""


class KeyLoaded(msgspec.Struct, frozen=True):
    """charon has the connection's pre-shared key, in the place of another one."""


class Adopted(msgspec.Struct, frozen=True):
    """charon had the configuration already, perhaps with SAs that are up."""


class LoadFailed(msgspec.Struct, frozen=True):
    """charon has refused the configuration, in its own words."""

    text: str


class Unresolved(msgspec.Struct, frozen=True):
    """The peer's name has no address; the reason in one sentence."""

    text: str


class SasListed(msgspec.Struct, frozen=True):
    """The IKE SAs with this connection's peer, as charon lists them. Other connections may have children in them.
    `order`: of all children of the gateway."""

    sas: tuple[IkeSa, ...]
    order: InstallOrder = InstallOrder()


class Tick(msgspec.Struct, frozen=True):
    """The time of `lifecycle.wake_at` has come."""


class WatchDue(msgspec.Struct, frozen=True):
    """The time of `lifecycle.watch_at` has come: the counters of a tunnel that is up are looked at."""


class PeerDeclaredDead(msgspec.Struct, frozen=True):
    """The peer is dead for another connection, whose DPD action extends to every connection with this peer."""


class RecheckPeer(msgspec.Struct, frozen=True):
    """A certificate of the tunnel has expired, or a revocation list names more than before."""


class PeerDoubted(msgspec.Struct, frozen=True):
    """Somebody says that the peer is not there, or has lost its SAs: anybody can."""


class EventsLost(msgspec.Struct, frozen=True):
    """Events of charon may have been lost, answers of the peer among them."""


Event = (
    Loaded
    | KeyLoaded
    | Adopted
    | LoadFailed
    | Unresolved
    | SasListed
    | Tick
    | WatchDue
    | PeerDeclaredDead
    | RecheckPeer
    | PeerDoubted
    | EventsLost
    | TunnelHint
)
