"""Edits that matter to nodes. An edit that does not, of a description for example, changes no node's revision.

The gateways and connections that an edit affects are found by `store.rows.dependencies.affected_by`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from linkspan.core.schema.resources import (
    CERTIFICATE,
    CONNECTION,
    ENDPOINT_GROUP,
    IKE_POLICY,
    IPSEC_POLICY,
    NETWORK,
    PORT,
    RESOURCES,
    ROUTER,
    SERVICE,
    SUBNET,
    TRUST_ANCHOR,
    Resource,
)

_PEOPLE_ONLY: Final = frozenset({"id", "project_id", "name", "description", "revision_number"})
_MATTERS: Final[dict[str, frozenset[str]]] = {
    SERVICE.name: frozenset({"admin_state_up", "subnet_id"}),
    ROUTER.name: frozenset({"admin_state_up", "external_gateway_info"}),
    # Agents find the host's bridge for an external network by the network's name.
    NETWORK.name: frozenset({"admin_state_up", "name"}),
    SUBNET.name: frozenset({"cidr", "gateway_ip"}),
    PORT.name: frozenset({"fixed_ips", "network_id", "device_id"}),
    ENDPOINT_GROUP.name: frozenset({"endpoints", "type"}),
    CERTIFICATE.name: frozenset({"certificate", "private_key"}),
    TRUST_ANCHOR.name: frozenset({"ca_bundle", "revocation", "crl_urls", "crl"}),
}
for _resource in (IKE_POLICY, IPSEC_POLICY, CONNECTION):
    _MATTERS[_resource.name] = frozenset(
        attribute.name for attribute in _resource.attributes if attribute.stored and attribute.name not in _PEOPLE_ONLY
    )


def differences(before: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of an edit that differ from those before: a client may send all attributes to change one.

    An equal pre-shared key is left out too, so that its connection stays up.
    """
    return {name: value for name, value in values.items() if name not in before or before[name] != value}


def matters(resource: Resource, names: Any) -> bool:
    """True if a node runs differently when these attributes of a resource change."""
    return not _MATTERS[resource.name].isdisjoint(names)


if missing := {resource.name for resource in RESOURCES} - _MATTERS.keys():
    raise AssertionError(f"`_MATTERS` has no attributes of {missing}")
