"""Which choices of a policy are weak, what an operator makes of them, and the weak defaults that Neutron documents.

Weak: `crypto.WEAK` (RFC 8247 2.4, RFC 8221 5: what should go), and aggressive mode with a pre-shared key, which lets
whoever listens try keys offline. What a policy names but does not use is not weak: the integrity algorithm beside an
AEAD of ESP, the encryption of AH.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from linkspan.core.errors import invalid
from linkspan.core.ipsec import algorithms
from linkspan.core.schema.resources import IKE_POLICY, IPSEC_POLICY, Resource

NEUTRON: Final[dict[str, dict[str, Any]]] = {
    IKE_POLICY.name: {"auth_algorithm": "sha1", "pfs": "group5", "ike_version": "v1"},
    IPSEC_POLICY.name: {"auth_algorithm": "sha1", "pfs": "group5"},
}
"""Neutron's documented defaults where ours are safer, by resource."""


class WeakChoices(msgspec.Struct, frozen=True):
    """What an operator wants of policies (settings)."""

    defaults: Literal["safe", "neutron"] = "safe"
    weak: Literal["warn", "refuse"] = "warn"

    def defaults_of(self, resource: Resource) -> dict[str, Any]:
        """Defaults of a resource that are not those of the registry."""
        return NEUTRON[resource.name] if self.defaults == "neutron" else {}


def weak_values(resource: Resource, values: Mapping[str, Any]) -> dict[str, str]:
    """The weak choices of a policy (all of its attributes): attribute -> value."""
    looked_at = {"encryption_algorithm", "auth_algorithm", "pfs"}
    if resource is IPSEC_POLICY:
        if values["transform_protocol"] == "ah":
            looked_at.remove("encryption_algorithm")
        elif values["transform_protocol"] == "esp" and algorithms.is_aead(values["encryption_algorithm"]):
            looked_at.remove("auth_algorithm")
    found = {name: values[name] for name in sorted(looked_at) if values[name] in algorithms.WEAK}
    if values.get("ike_version") == "v1" and values["phase1_negotiation_mode"] == "aggressive":
        found["phase1_negotiation_mode"] = "aggressive"
    return found


def newly_weak(resource: Resource, before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> dict[str, str]:
    """The weak choices of a policy that it did not have before; all of them if it is new (None).

    What was weak before is nobody's choice now: a policy may be made strong step by step.
    """
    old = {} if before is None else weak_values(resource, before)
    return {name: value for name, value in weak_values(resource, after).items() if old.get(name) != value}


def check_weak_choices(
    choices: WeakChoices, resource: Resource, before: Mapping[str, Any] | None, after: Mapping[str, Any]
) -> None:
    """Raises Problem for a weak choice, if the operator wants them refused."""
    if choices.weak == "refuse":
        for name, value in newly_weak(resource, before, after).items():
            raise invalid(name, f"{value} is weak, and this service refuses weak choices")
