"""Weak choices in policies: how to find them, whether to refuse them, and the weak defaults that Neutron documents.

Weak are `algorithms.WEAK` (RFC 8247 2.4, RFC 8221 5), and aggressive mode with a pre-shared key, because an
eavesdropper can then guess keys offline. An algorithm that the policy names but does not use is not weak: the integrity
algorithm with an AEAD of ESP, the encryption of AH.
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
"""Neutron's documented defaults where the registry's are safer, by resource."""


class WeakChoices(msgspec.Struct, frozen=True):
    """The settings for weak choices: the defaults of policies, and whether weak choices are refused."""

    defaults: Literal["safe", "neutron"] = "safe"
    weak: Literal["warn", "refuse"] = "warn"

    def defaults_of(self, resource: Resource) -> dict[str, Any]:
        """The defaults of a resource that replace those of the registry."""
        return NEUTRON[resource.name] if self.defaults == "neutron" else {}


def weak_values(resource: Resource, values: Mapping[str, Any]) -> dict[str, str]:
    """The weak choices of a policy (all of its attributes): attribute -> value."""
    used = {"encryption_algorithm", "auth_algorithm", "pfs"}
    if resource is IPSEC_POLICY:
        if values["transform_protocol"] == "ah":
            used.remove("encryption_algorithm")
        elif values["transform_protocol"] == "esp" and algorithms.is_aead(values["encryption_algorithm"]):
            used.remove("auth_algorithm")
    weak = {name: values[name] for name in sorted(used) if values[name] in algorithms.WEAK}
    if values.get("ike_version") == "v1" and values["phase1_negotiation_mode"] == "aggressive":
        weak["phase1_negotiation_mode"] = "aggressive"
    return weak


def newly_weak(resource: Resource, before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> dict[str, str]:
    """The weak choices of a policy that it did not have before; all of them if `before` is None.

    Choices that were weak before are not refused again: a policy can be made strong in several steps.
    """
    old = {} if before is None else weak_values(resource, before)
    return {name: value for name, value in weak_values(resource, after).items() if old.get(name) != value}


def check_weak_choices(
    choices: WeakChoices, resource: Resource, before: Mapping[str, Any] | None, after: Mapping[str, Any]
) -> None:
    """Raises ApiError for a new weak choice, if the settings refuse them."""
    if choices.weak == "refuse":
        for name, value in newly_weak(resource, before, after).items():
            raise invalid(name, f"{value} is weak, and this service refuses weak choices")
