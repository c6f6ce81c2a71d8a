"""Mutants that ignore one attribute on its way from the API to the wire; the wire matrix must detect each.

`held` sets it to a fixed value, as if the API's value were ignored; `frozen` keeps the first value of a connection, as
if updates were ignored. The agent's process is the mutant: `mutant/sitecustomize.py` changes what it reads from the
API, so that the product itself has no code for it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec

from linkspan.core.secret import Secret
from linkspan.core.state.desired import Connection, Gateway
from tests.harness import credentials
from tests.harness.authorities import Ca, Issued

VARIABLE: Final = "TEST_MUTANT"
LABORATORY: Final = frozenset({"198.51.100.2", "198.51.100.3"})
"""The peers of the laboratory's own connections, which must come up before a test starts."""
Way = Literal["held", "frozen"]


class Strange(msgspec.Struct, frozen=True):
    """A value of certificates that nobody here knows, which is made when it is needed. `words`: what it is."""

    words: str
    make: Callable[[], Any]

    def __str__(self) -> str:
        return self.words


@functools.cache
def _stranger() -> tuple[Ca, Issued]:
    ca = Ca("Stranger")
    return ca, ca.issued("gw.example.org", subject="gw")


FIELDS: Final[dict[str, tuple[str, Any]]] = {
    # attribute: (field of the node's connection, value of the `held` mutant)
    "connection.peer_address": ("peer_address", "198.51.100.99"),
    "connection.peer_id": ("peer_id", "nobody"),
    "connection.local_id": ("local_id", ""),
    "connection.peer_cidrs": ("peer_cidrs", ("10.250.0.0/24",)),
    "connection.peer_ep_group_id": ("peer_cidrs", ("10.250.0.0/24",)),
    "connection.local_ep_group_id": ("local_cidrs", ("10.251.0.0/24",)),
    "connection.psk": ("psk", Secret("a key that no peer has")),
    "connection.mtu": ("mtu", 1500),
    "connection.initiator": ("initiator", "bi-directional"),
    "connection.dpd.action": ("dpd.action", "hold"),
    "connection.dpd.interval": ("dpd.interval", 30),
    "connection.dpd.timeout": ("dpd.timeout", 120),
    "connection.admin_state_up": ("enabled", True),
    "connection.auth_mode": ("auth_mode", "psk"),
    "connection.local_certificate_id": (
        "certificates.local",
        Strange("a stranger's certificate", lambda: credentials.local(_stranger()[1])),
    ),
    "connection.trust_anchor_id": (
        "certificates.anchor",
        Strange("a stranger's CA", lambda: credentials.anchor(_stranger()[0])),
    ),
    "connection.peer_certificates": ("certificates.peer_certificates", ()),
    "connection.ppk_id": ("ppk.id", "nobody@example.org"),
    "connection.ppk": ("ppk.key", Secret("a key that no peer has")),
    "connection.ppk_required": ("ppk.required", False),
    "certificate.certificate": (
        "certificates.local.chain",
        Strange("a stranger's certificate", lambda: tuple(_stranger()[1].chain)),
    ),
    "certificate.private_key": (
        "certificates.local.private_key",
        Strange("a stranger's key", lambda: Secret(_stranger()[1].key_pem)),
    ),
    "trust_anchor.ca_bundle": (
        "certificates.anchor.issuers",
        Strange("a stranger's CA", lambda: (_stranger()[0].pem,)),
    ),
    "trust_anchor.revocation": ("certificates.anchor.revocation", "none"),
    "trust_anchor.crl_urls": ("certificates.anchor.crl_urls", ()),
    "trust_anchor.crl": ("certificates.anchor.crls", ()),
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

MADE_ONLY: Final = frozenset({"service.subnet_id"})
"""Attributes that no update can change, so that there is no `frozen` mutant."""
OF_GATEWAYS: Final[dict[str, tuple[str, Any]]] = {
    "router.admin_state_up": ("enabled", True),
    "network.admin_state_up": ("outside.enabled, inside.enabled", True),
}
"""Attributes of the node's gateway. Their first value in the laboratory is that of `held`: `frozen` is the same."""
MUTABLE: Final = {**FIELDS, **OF_GATEWAYS}


def ways(attribute: str) -> tuple[Way, ...]:
    """Return the mutants of an attribute."""
    return ("held",) if attribute in MADE_ONLY | OF_GATEWAYS.keys() else ("held", "frozen")


def mutate_gateway(gateway: Gateway, attribute: str) -> Gateway:
    """Return the gateway as the mutant agent sees it."""
    replace = msgspec.structs.replace
    if attribute == "router.admin_state_up":
        return replace(gateway, enabled=True)
    if attribute == "network.admin_state_up":
        inside = tuple(replace(interface, enabled=True) for interface in gateway.inside)
        return replace(gateway, outside=replace(gateway.outside, enabled=True), inside=inside)
    return gateway


_first: dict[tuple[str, str], Any] = {}


def mutate(connection: Connection, attribute: str, way: Way) -> Connection:
    """Return the connection as the mutant agent sees it. The first values are remembered in this process."""
    if connection.peer_address in LABORATORY:
        return connection
    if attribute in OF_GATEWAYS:
        return connection
    path, fixed = FIELDS[attribute]
    names = path.split(".")
    holders: list[Any] = [connection]
    for name in names[:-1]:
        holders.append(getattr(holders[-1], name))
        if holders[-1] is None:
            return connection
    if isinstance(fixed, Strange):
        fixed = fixed.make()
    value = fixed if way == "held" else _first.setdefault((connection.id, path), getattr(holders[-1], names[-1]))
    for holder, name in zip(reversed(holders), reversed(names), strict=True):
        value = msgspec.structs.replace(holder, **{name: value})
    mutated: Connection = value
    return mutated
