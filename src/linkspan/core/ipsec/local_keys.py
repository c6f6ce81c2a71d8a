"""Connections of one gateway that need different private keys for one local identity in IKEv1. Pure.

There charon signs with any key that it has for the identity, so it can have one. A connection of IKEv2 always signs
with its own, but its key would be taken for one of IKEv1.
"""

from __future__ import annotations

from collections.abc import Container, Mapping

import msgspec

from linkspan.core.ipsec import ends
from linkspan.core.state.desired import Connection


def with_faults(connections: Mapping[str, Connection], in_use: Container[str]) -> dict[str, Connection]:
    """The connections of a gateway, by uuid, with a fault in those that cannot have their key.

    `in_use`: uuids of connections whose key is loaded. They come first, then those of IKEv2, then the older ones.
    """
    keys: dict[str, str] = {}
    faults: dict[str, str] = {}
    for each in sorted(connections.values(), key=lambda each: _order(each, in_use)):
        if each.enabled and not each.fault and each.certificates:
            identity = ends.ends_of(each).identities[0]
            own = each.certificates.local.key_id
            if keys.setdefault(identity, own) != own and each.ike.ike_version == "v1":
                faults[each.id] = _text(each)
    return {
        id: msgspec.structs.replace(each, fault=faults[id]) if id in faults else each
        for id, each in connections.items()
    }


def _order(connection: Connection, in_use: Container[str]) -> tuple[bool, bool, float, str]:
    return connection.id not in in_use, connection.ike.ike_version == "v1", connection.created_at, connection.id


def _text(connection: Connection) -> str:
    identity = connection.local_id or connection.local_address
    return (
        f"another connection of this gateway has another certificate for '{identity}', and IKEv1 cannot choose between "
        "them: set the same local_certificate_id, another local_id, or ike_version v2"
    )
