"""Agents in Neutron's shape: a view of the gateway nodes, for tools that look at Neutron's. Nothing is stored."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from linkspan.core.schema.attribute_types import Boolean, Text, Uuid
from linkspan.core.schema.resources import Attribute, Resource


def _shown(name: str, kind: Text | Boolean | Uuid, help: str, *, nullable: bool = False) -> Attribute:
    return Attribute(
        name=name, kind=kind, help=help, post=False, put=False, default=None, stored=False, nullable=nullable
    )


AGENT: Final = Resource(
    name="agent",
    singular="agent",
    plural="agents",
    path="agents",
    label="Agent",
    not_found="AgentNotFound",
    help="a gateway node, in the shape of Neutron's agents",
    writable=False,
    attributes=(
        _shown("id", Uuid(), "the node's id"),
        _shown("agent_type", Text(), "always VPN Agent"),
        _shown("binary", Text(), "always linkspan-agent"),
        _shown("topic", Text(), "always linkspan"),
        _shown("host", Text(), "the node's name"),
        _shown("availability_zone", Text(), "always null: there are no zones", nullable=True),
        _shown("admin_state_up", Boolean(), "always true"),
        _shown("alive", Boolean(), "whether the node's lease runs"),
        _shown("created_at", Text(), "when the node was added, UTC"),
        _shown("started_at", Text(), "always null: it is not recorded", nullable=True),
        _shown("heartbeat_timestamp", Text(), "last report of the node, UTC; null before the first one", nullable=True),
        _shown("description", Text(), "always null", nullable=True),
        _shown("resources_synced", Boolean(), "always null", nullable=True),
    ),
)
"""`configurations` and `resource_versions` are objects beside these."""


def agent_of(node: dict[str, Any], now: float, lease: float, wall: float) -> dict[str, Any]:
    """A node as an agent. `now`: on the lease clock, as the node's `lease_until`; `lease`: its length, seconds; `wall`:
    seconds since 1970."""
    last = node["lease_until"] - lease
    return {
        "id": node["id"],
        "agent_type": "VPN Agent",
        "binary": "linkspan-agent",
        "topic": "linkspan",
        "host": node["name"],
        "availability_zone": None,
        "admin_state_up": True,
        "alive": node["lease_until"] >= now,
        "created_at": _time(node["created_at"]),
        "started_at": None,
        "heartbeat_timestamp": _time(wall - (now - last)) if node["agent_version"] else None,
        "description": None,
        "resources_synced": None,
        "resource_versions": {},
        "configurations": {
            "routers": node["gateways"],
            **{name: node[name] for name in ("backend", "agent_version", "charon_version")},
        },
    }


def _time(seconds: float) -> str:
    """A time as Neutron writes that of an agent."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
