"""The observed state of a node: the messages of the agent to the API, as types that both use."""

from __future__ import annotations

from typing import Literal

import msgspec

Backend = Literal["kernel", "user-space"]
Isolation = Literal["full", "partial", "none"]
"""Rights of the charons of a node outside of their gateways: none; over the node's network, as its kernel has no user
namespaces; those of root, as the agent is older than their isolation."""


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a node's strongSwan and kernel can do. Algorithms in the API's names; `traps`: traffic can initiate."""

    ikev1: bool
    ah: bool
    transport: bool
    traps: bool
    encryption: tuple[str, ...]
    integrity: tuple[str, ...]
    key_exchanges: tuple[str, ...]
    isolation: Isolation = "none"


HOLDER_HEADER = "Linkspan-Agent"
"""The header of each request of an agent that says which one it is: its host's name, a slash, and a digest of the place
where its gateways are. Of agents with one node's token, only that place holds the node, until its lease ends."""


class Hello(msgspec.Struct, frozen=True):
    """The agent's message when it joins. An agent without `capabilities` is older than they are."""

    backend: Backend
    agent_version: str
    charon_version: str
    capabilities: Capabilities | None = None


class Welcome(msgspec.Struct, frozen=True):
    """The API's response to `Hello`: name and id of the node, its desired revision, and the lease in seconds."""

    node_id: str
    node_name: str
    revision: int
    lease: float


class GatewayReport(msgspec.Struct, frozen=True):
    """The state of a gateway at the revision that the node applied; `gone` confirms a tombstone.

    `disabled`: the admin state of its router or external network is down.
    """

    id: str
    generation: int
    revision: int
    state: Literal["ready", "disabled", "error", "gone"]
    reason: str = ""


class ConnectionReport(msgspec.Struct, frozen=True):
    """The state of a connection at the revision that the node applied; `gone` confirms a tombstone.

    `up`: at least one child SA is up. `down`: configured, not up. `disabled`: admin down, nothing loaded.
    `error`: cannot come up until its configuration changes. `reason`: one sentence; with `up`: what is not as
    desired, such as missing child SAs. `effective_mtu`: bytes, None while nothing is configured.
    """

    id: str
    generation: int
    revision: int
    state: Literal["up", "down", "disabled", "error", "gone"]
    reason: str = ""
    effective_mtu: int | None = None


class Report(msgspec.Struct, frozen=True):
    """A batch of reports. Every report, even an empty one, renews the lease."""

    gateways: tuple[GatewayReport, ...] = ()
    connections: tuple[ConnectionReport, ...] = ()
