"""What a node says of what it runs: the reports that flow up, as types that API and agent share."""

from __future__ import annotations

from typing import Literal

import msgspec

Backend = Literal["kernel", "user-space"]


class Hello(msgspec.Struct, frozen=True):
    """What an agent says of itself when it joins."""

    backend: Backend
    agent_version: str
    charon_version: str


class Welcome(msgspec.Struct, frozen=True):
    """What the API answers: the node's name and id, its desired revision, and the lease in seconds."""

    node_id: str
    node_name: str
    revision: int
    lease: float


class GatewayReport(msgspec.Struct, frozen=True):
    """State of one gateway at the revision that the node applied; `gone` answers a tombstone."""

    id: str
    generation: int
    revision: int
    state: Literal["ready", "error", "gone"]
    reason: str = ""


class ConnectionReport(msgspec.Struct, frozen=True):
    """State of one connection at the revision that the node applied; `gone` answers a tombstone.

    `up`: at least the first child SA is up. `down`: configured, not up. `disabled`: admin down, nothing loaded.
    `error`: cannot come up without a change on our side. `reason`: one sentence, also beside `up` when some child
    SAs are missing. `effective_mtu` in bytes, None while nothing is configured.
    """

    id: str
    generation: int
    revision: int
    state: Literal["up", "down", "disabled", "error", "gone"]
    reason: str = ""
    effective_mtu: int | None = None


class Report(msgspec.Struct, frozen=True):
    """One batch. An empty one renews the lease."""

    gateways: tuple[GatewayReport, ...] = ()
    connections: tuple[ConnectionReport, ...] = ()
