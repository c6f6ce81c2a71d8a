"""The effective configuration of a connection: its own attributes, and the values of its policies and endpoint groups.

An earlier one is kept with each write that changes what a connection does, and a rollback brings it back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from linkspan.core.schema import node_relevance
from linkspan.core.schema.declarations import Attribute, Resource
from linkspan.core.schema.resources import CONNECTION, ENDPOINT_GROUP, IKE_POLICY, IPSEC_POLICY


class ReferencedPart(msgspec.Struct, frozen=True):
    """An object that a connection references and takes values from. `prefix`: of the columns that keep these, and of
    their names as fields."""

    reference: str
    resource: Resource
    prefix: str
    attributes: tuple[Attribute, ...]


def _relevant(resource: Resource) -> tuple[Attribute, ...]:
    return tuple(attribute for attribute in resource.attributes if node_relevance.matters(resource, (attribute.name,)))


PARTS: Final = tuple(
    ReferencedPart(reference, resource, prefix, _relevant(resource))
    for reference, resource, prefix in (
        ("ikepolicy_id", IKE_POLICY, "ikepolicy"),
        ("ipsecpolicy_id", IPSEC_POLICY, "ipsecpolicy"),
        ("local_ep_group_id", ENDPOINT_GROUP, "local_ep_group"),
        ("peer_ep_group_id", ENDPOINT_GROUP, "peer_ep_group"),
    )
)
KEPT: Final = 20
"""Default of `limits.revisions`: the earlier configurations that are kept of each connection."""
OWN: Final = tuple(attribute for attribute in _relevant(CONNECTION) if attribute.name != "vpnservice_id")
"""The attributes of a connection itself, references included. Its service never changes."""


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """An effective configuration. `number`: the `revision_number` of the connection that brought it; `at`: when, in
    seconds since 1970; `author`: the name of the user who did, None if it is not known; `good`: its gateway has
    reported it up. `values`: of `OWN` without secrets; `secrets`: their names in the database; `parts`: by reference,
    the values of what is referenced, with its name."""

    number: int
    at: float
    author: str | None
    good: bool
    values: Mapping[str, Any]
    secrets: Mapping[str, str | None]
    parts: Mapping[str, Mapping[str, Any]]


def differences(one: Configuration, other: Configuration) -> tuple[str, ...]:
    """The fields in which two configurations differ: attributes of the connection, and `ikepolicy.pfs` for those of
    what it references."""
    fields = [name for name in one.values if one.values[name] != other.values[name]]
    fields += [name for name in one.secrets if one.secrets[name] != other.secrets[name]]
    for part in PARTS:
        mine, theirs = one.parts.get(part.reference, {}), other.parts.get(part.reference, {})
        names = (attribute.name for attribute in part.attributes)
        fields += [f"{part.prefix}.{name}" for name in names if mine.get(name) != theirs.get(name)]
    return tuple(sorted(fields))
