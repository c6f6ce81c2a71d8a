"""Actions that a tunnel asks for; its gateway's worker carries them out."""

from __future__ import annotations

import msgspec


class ListSas(msgspec.Struct, frozen=True):
    """List the IKE SAs with the connection's peer, and return them as `SasListed`."""


class Initiate(msgspec.Struct, frozen=True):
    """Initiate one child, by the names of its IKE connection and itself."""

    ike: str
    child: str


class DeleteIkeSa(msgspec.Struct, frozen=True):
    """Delete one IKE SA with all its children."""

    unique_id: int


class DeleteChildSa(msgspec.Struct, frozen=True):
    """Delete one child SA; its IKE SA carries others."""

    unique_id: int


class GiveUpSa(msgspec.Struct, frozen=True):
    """This connection has given up an IKE SA: delete it unless another connection in it has not (`dpd.all_gave_up`)."""

    unique_id: int


class DeclarePeerDead(msgspec.Struct, frozen=True):
    """Give `PeerDeclaredDead` to every other connection with this peer."""


class Rekey(msgspec.Struct, frozen=True):
    """Rekey one child SA now; the outcome arrives as events of charon."""

    unique_id: int


class ReplaceIkeSa(msgspec.Struct, frozen=True):
    """Replace one IKE SA by a new one with the same children, before it is deleted; the outcome arrives as events."""

    unique_id: int


class Reconcile(msgspec.Struct, frozen=True):
    """The previous version is down: reconcile, so that charon unloads it."""


Action = (
    ListSas | Initiate | DeleteIkeSa | DeleteChildSa | GiveUpSa | DeclarePeerDead | Rekey | ReplaceIkeSa | Reconcile
)
