"""An object of the registry as the store returns it: its attributes by name, and typed fields for what is no attribute.

The names of the attributes come from `core.schema.resources` and are known at run time only, so a row is a mapping.
"""

from __future__ import annotations

from typing import Any

from linkspan.core.state.status import StatusInputs


class Row(dict[str, Any]):
    """The attributes of one object, and `revision_number`, `created_at`, `updated_at` (aware datetimes, UTC, whole
    seconds). Secrets are `Secret`.

    Also attributes that other tables give: `external_v4_ip` and `external_v6_ip` of services, `effective_mtu` of
    connections, `subnets` of networks, `external_gateway_info` of routers, `router:external` of subnets.
    """

    status_inputs: StatusInputs | None = None
    """All that the status follows from; None for resources without a status and in a row from `writing.insert`."""
    router_id: str | None = None
    """The router whose gateway carries the object; None for resources that no gateway carries and in a row from
    `writing.insert`."""
    fault: str = ""
    """The reason that a secret of the object cannot be read, with the remedy; the secret is None then."""
    peer_networks: tuple[str, ...] = ()
    """The CIDRs of a new connection's peer; empty in all other rows."""

    @property
    def is_deleted(self) -> bool:
        """True if the object is deleted, and is still here because its node has not confirmed that."""
        return self.status_inputs is not None and self.status_inputs.deleted
