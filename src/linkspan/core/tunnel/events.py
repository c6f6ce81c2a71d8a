"""Events of a tunnel: answers of its gateway, events of charon, and time."""

from __future__ import annotations

import msgspec

from linkspan.core.tunnel.charon_events import CharonEvent
from linkspan.core.tunnel.sas import IkeSa


class Loaded(msgspec.Struct, frozen=True):
    """charon has loaded the configuration."""


class Adopted(msgspec.Struct, frozen=True):
    """charon had the configuration already, perhaps with SAs that are up."""


class LoadFailed(msgspec.Struct, frozen=True):
    """charon has refused the configuration, in its own words."""

    text: str


class Unresolved(msgspec.Struct, frozen=True):
    """The peer's name has no address; the reason in one sentence."""

    text: str


class SasListed(msgspec.Struct, frozen=True):
    """The IKE SAs with this connection's peer, as charon lists them. Other connections may have children in them."""

    sas: tuple[IkeSa, ...]


class Tick(msgspec.Struct, frozen=True):
    """The time of `lifecycle.wake_at` has come."""


class PeerDeclaredDead(msgspec.Struct, frozen=True):
    """The peer is dead for another connection, whose DPD action extends to every connection with this peer."""


class EventsLost(msgspec.Struct, frozen=True):
    """Events of charon may have been lost, answers of the peer among them."""


Event = Loaded | Adopted | LoadFailed | Unresolved | SasListed | Tick | PeerDeclaredDead | EventsLost | CharonEvent
