"""What a connection's machine asks for; its gateway carries it out."""

from __future__ import annotations

import msgspec


class ListSas(msgspec.Struct, frozen=True):
    """List the IKE SAs with the connection's peer and come back with `Seen`."""


class Initiate(msgspec.Struct, frozen=True):
    """Begin to bring up one child."""

    ike: str
    child: str


class DeleteIkeSa(msgspec.Struct, frozen=True):
    """End one IKE SA with all its children."""

    unique_id: int


class DeleteChildSa(msgspec.Struct, frozen=True):
    """End one child SA; its IKE SA carries others."""

    unique_id: int


class GiveUpSa(msgspec.Struct, frozen=True):
    """This connection has given up an IKE SA: end it, unless another one in it has not (`dpd.deserted`)."""

    unique_id: int


class DeclarePeerDead(msgspec.Struct, frozen=True):
    """Take along all connections with this peer: `Abandoned` for each of them."""


class Rekey(msgspec.Struct, frozen=True):
    """Replace the keys of one child SA now; how it went arrives as facts."""

    unique_id: int


class Reconcile(msgspec.Struct, frozen=True):
    """The version before has ended: what charon held for it can go."""


Action = ListSas | Initiate | DeleteIkeSa | DeleteChildSa | GiveUpSa | DeclarePeerDead | Rekey | Reconcile
