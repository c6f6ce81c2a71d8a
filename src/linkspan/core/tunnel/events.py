"""What happens to a tunnel: answers of the gateway, events of charon, and time."""

from __future__ import annotations

import msgspec

from linkspan.core.tunnel.charon_events import CharonEvent
from linkspan.core.tunnel.sas import IkeSa


class Loaded(msgspec.Struct, frozen=True):
    """charon has taken the configuration anew."""


class Adopted(msgspec.Struct, frozen=True):
    """charon had the configuration already, perhaps with SAs that are up: look before doing anything."""


class LoadFailed(msgspec.Struct, frozen=True):
    """charon has refused the configuration, in its own words."""

    text: str


class Unresolved(msgspec.Struct, frozen=True):
    """The peer's name has no address, in one sentence."""

    text: str


class SasListed(msgspec.Struct, frozen=True):
    """The IKE SAs with this connection's peer, as listed: other connections may have children in them."""

    sas: tuple[IkeSa, ...]


class Tick(msgspec.Struct, frozen=True):
    """Time has passed: `wake_at` is reached."""


class PeerDeclaredDead(msgspec.Struct, frozen=True):
    """The peer is dead for another connection, whose DPD action takes along all that have this peer."""


class EventsLost(msgspec.Struct, frozen=True):
    """Facts may have been lost, answers of the peer among them."""


Event = Loaded | Adopted | LoadFailed | Unresolved | SasListed | Tick | PeerDeclaredDead | EventsLost | CharonEvent
