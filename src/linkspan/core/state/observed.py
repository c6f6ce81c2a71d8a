"""The observed state of a node: the messages of the agent to the API, as types that both use.

Everything has bounds: a node is a machine of its own, and the API believes it no more than it has to.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeVar

import msgspec
from msgspec import Meta

from linkspan.core import printable
from linkspan.core.state.bounds import Counter, ObjectId, Word
from linkspan.core.state.timeline import MOST_EVENTS, NodeEvent

Backend = Literal["kernel", "user-space"]
Isolation = Literal["full", "partial", "none"]
"""Rights of the charons of a node outside of their gateways: none; over the node's network, as its kernel has no user
namespaces; those of root, as the agent is older than their isolation."""
Words = Annotated[tuple[Word, ...], Meta(max_length=256)]
Mtu = Annotated[int, Meta(ge=0, le=65_535)]

LONGEST_REASON: Final = 1000
"""Characters of a reason. Parts of it are words of peers and of other programs."""
MOST_REPORTS: Final = 10_000
"""Gateways, or connections, in one report."""


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a node's strongSwan and kernel can do. Algorithms in the API's names; `traps`: traffic can initiate."""

    ikev1: bool
    ah: bool
    transport: bool
    traps: bool
    encryption: Words
    integrity: Words
    key_exchanges: Words
    isolation: Isolation = "none"


AGENT_PATH = "/agent/v1"
"""What all paths of the agents' protocol begin with."""
HOLDER_HEADER = "Linkspan-Agent"
"""The header of each request of an agent that says which one it is: its host's name, a slash, and a digest of the place
where its gateways are. Of agents with one node's token, only that place holds the node, until its lease ends."""


class Hello(msgspec.Struct, frozen=True):
    """The agent's message when it joins. An agent without `capabilities` is older than they are."""

    backend: Backend
    agent_version: Word
    charon_version: Word
    capabilities: Capabilities | None = None


class Welcome(msgspec.Struct, frozen=True):
    """The API's response to `Hello`: name and id of the node, its desired revision, and the lease in seconds."""

    node_id: ObjectId
    node_name: Annotated[str, Meta(max_length=255)]
    revision: Counter
    lease: Annotated[float, Meta(gt=0)]


class GatewayReport(msgspec.Struct, frozen=True):
    """The state of a gateway at the revision that the node applied; `gone` confirms a tombstone.

    `disabled`: the admin state of its router or external network is down.
    """

    id: ObjectId
    generation: Counter
    revision: Counter
    state: Literal["ready", "disabled", "error", "gone"]
    reason: str = ""


class ConnectionReport(msgspec.Struct, frozen=True):
    """The state of a connection at the revision that the node applied; `gone` confirms a tombstone.

    `up`: at least one child SA is up. `down`: configured, not up. `disabled`: admin down, nothing loaded.
    `error`: cannot come up until its configuration changes. `reason`: one sentence; with `up`: what is not as
    desired, such as missing child SAs. `effective_mtu`: bytes, None while nothing is configured. `code`: of the cause
    (`core.diagnosis.causes`), empty if there is none; a newer agent may have codes that the API does not know.
    """

    id: ObjectId
    generation: Counter
    revision: Counter
    state: Literal["up", "down", "disabled", "error", "gone"]
    reason: str = ""
    effective_mtu: Mtu | None = None
    code: Word = ""


class Report(msgspec.Struct, frozen=True):
    """A batch of reports, and of events. Every report, even an empty one, renews the lease."""

    gateways: Annotated[tuple[GatewayReport, ...], Meta(max_length=MOST_REPORTS)] = ()
    connections: Annotated[tuple[ConnectionReport, ...], Meta(max_length=MOST_REPORTS)] = ()
    events: Annotated[tuple[NodeEvent, ...], Meta(max_length=MOST_EVENTS)] = ()


_Reported = TypeVar("_Reported", bound=GatewayReport | ConnectionReport)


def with_bounded_reason(report: _Reported) -> _Reported:
    """The report with a reason that is printable and no longer than `LONGEST_REASON`. It is not refused for that: one
    report would keep all others from being delivered."""
    reason = printable.bounded(report.reason, LONGEST_REASON)
    return report if reason == report.reason else msgspec.structs.replace(report, reason=reason)
