"""An attribute dropped on its way from the API to the wire, one at a time: what the wire matrix must notice.

`held` gives it one fixed value, as if the API's value were ignored; `frozen` keeps the value that a connection had
first, as if updates were ignored. The agent's process is the mutant: `mutant/sitecustomize.py` puts this around what
it reads from the API, so that the product knows nothing of it.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from linkspan.core.secret import Secret
from linkspan.core.state.desired import Connection

VARIABLE: Final = "TEST_MUTANT"
LABORATORY: Final = frozenset({"198.51.100.2", "198.51.100.3"})
"""The peers of the laboratory's own two connections, which have to come up before a test can start."""
Way = Literal["held", "frozen"]

FIELDS: Final[dict[str, tuple[str, Any]]] = {
    # attribute: the field of a node's connection that carries it, and the value that it is held at
    "connection.peer_address": ("peer_address", "198.51.100.99"),
    "connection.peer_id": ("peer_id", "nobody"),
    "connection.local_id": ("local_id", ""),
    "connection.peer_cidrs": ("peer_cidrs", ("10.250.0.0/24",)),
    "connection.peer_ep_group_id": ("peer_cidrs", ("10.250.0.0/24",)),
    "connection.local_ep_group_id": ("local_cidrs", ("10.251.0.0/24",)),
    "connection.psk": ("psk", Secret("a key that nobody has")),
    "connection.mtu": ("mtu", 1500),
    "connection.initiator": ("initiator", "bi-directional"),
    "connection.dpd.action": ("dpd.action", "hold"),
    "connection.dpd.interval": ("dpd.interval", 30),
    "connection.dpd.timeout": ("dpd.timeout", 120),
    "connection.admin_state_up": ("enabled", True),
    "connection.auth_mode": ("auth_mode", "certs"),
    "service.admin_state_up": ("enabled", True),
    "service.subnet_id": ("local_cidrs", ("10.251.0.0/24",)),
    "service.router_id": ("local_address", "198.51.100.98"),
    "endpoint_group.endpoints": ("peer_cidrs", ("10.250.0.0/24",)),
    "endpoint_group.type": ("local_cidrs", ("10.251.0.0/24",)),
    "ike_policy.ike_version": ("ike.ike_version", "v2"),
    "ike_policy.phase1_negotiation_mode": ("ike.phase1_negotiation_mode", "main"),
    "ike_policy.encryption_algorithm": ("ike.encryption_algorithm", "aes-128"),
    "ike_policy.auth_algorithm": ("ike.auth_algorithm", "sha256"),
    "ike_policy.pfs": ("ike.pfs", "group14"),
    "ike_policy.lifetime": ("ike.lifetime", 3600),
    "ipsec_policy.transform_protocol": ("ipsec.transform_protocol", "esp"),
    "ipsec_policy.encapsulation_mode": ("ipsec.encapsulation_mode", "tunnel"),
    "ipsec_policy.encryption_algorithm": ("ipsec.encryption_algorithm", "aes-128"),
    "ipsec_policy.auth_algorithm": ("ipsec.auth_algorithm", "sha256"),
    "ipsec_policy.pfs": ("ipsec.pfs", "group14"),
    "ipsec_policy.lifetime": ("ipsec.lifetime", 3600),
    "ipsec_policy.lifetime.units": ("ipsec.lifetime_units", "seconds"),
}

MADE_ONLY: Final = frozenset({"service.subnet_id", "connection.auth_mode"})
"""No update can change them, nor what they stand for: frozen is what they are."""


def ways(attribute: str) -> tuple[Way, ...]:
    """The mutants that an attribute has."""
    return ("held",) if attribute in MADE_ONLY else ("held", "frozen")


_first: dict[tuple[str, str], Any] = {}


def mutate(connection: Connection, attribute: str, way: Way) -> Connection:
    """The connection as a mutant agent has it. Remembers what it saw first, in this process."""
    if connection.peer_address in LABORATORY:
        return connection
    path, fixed = FIELDS[attribute]
    names = path.split(".")
    holders = [connection]
    for name in names[:-1]:
        holders.append(getattr(holders[-1], name))
    value = fixed if way == "held" else _first.setdefault((connection.id, path), getattr(holders[-1], names[-1]))
    for holder, name in zip(reversed(holders), reversed(names), strict=True):
        value = msgspec.structs.replace(holder, **{name: value})
    made: Connection = value
    return made
