"""Live facts: what charon has of a connection at this moment, as the answer of a node to a question of the API.

An agent polls desired state and reports changes; counters and timers are neither. So the API asks for them when
somebody wants to know (`store.nodes.questions`). Everything has bounds, as in `core.state.observed`.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from linkspan.core.state.bounds import Counter, ObjectId, ShownReason, ShownText, Word
from linkspan.core.state.probes import ProbeRequest, ProbeResult
from linkspan.core.state.traffic import MOST_CONNECTIONS, ConnectionTraffic, TrafficRequest

CARRYING: Final = frozenset({"INSTALLED", "REKEYING", "REKEYED"})
"""charon's states of a child SA that carries traffic."""
MOST_SAS: Final = 64
"""IKE SAs, or child SAs of one of them, in an answer: the first ones."""
LARGEST_ANSWER: Final = 1024 * 1024
"""Bytes of an answer."""

Selectors = Annotated[tuple[ShownText, ...], Meta(max_length=512)]
Duration = Annotated[int, Meta(ge=-1, le=2**31)]
"""-1: there is no such time."""


class Question(msgspec.Struct, frozen=True):
    """A question to a node about a connection of one of its gateways. `probe`: what to send before it is answered.
    `traffic`: the question is for the traffic of these connections, and for nothing else."""

    id: ObjectId
    gateway_id: ObjectId
    connection_id: ObjectId
    probe: ProbeRequest | None = None
    traffic: TrafficRequest | None = None


class LiveChild(msgspec.Struct, frozen=True, kw_only=True):
    """A child SA: charon's words for its state and algorithms; `packets_in` and others are counters of this SA only.

    `idle_in`, `idle_out`: seconds since the last packet. `age`, `rekey_in`, `expires_in`: seconds.
    `is_encapsulated`: ESP is in UDP (RFC 3948).
    """

    state: Word
    protocol: Word
    mode: Word
    is_encapsulated: bool
    spi_in: Word
    spi_out: Word
    encryption: Word
    encryption_bits: Counter
    integrity: Word
    key_exchange: Word
    local_selectors: Selectors
    remote_selectors: Selectors
    bytes_in: Counter
    packets_in: Counter
    idle_in: Duration
    bytes_out: Counter
    packets_out: Counter
    idle_out: Duration
    age: Duration
    rekey_in: Duration
    expires_in: Duration


class LiveIkeSa(msgspec.Struct, frozen=True, kw_only=True):
    """An IKE SA with the children of the connection. `initiator`: this end has initiated it.

    `local_nat`, `remote_nat`: address translation before this end, and before the peer, which may feign it (RFC 7296,
    section 2.23). `age`: seconds since it is established; `rekey_in`, `reauthenticates_in`: seconds.
    """

    state: Word
    version: Counter
    initiator: bool
    local_address: ShownText
    local_port: Counter
    local_identity: ShownText
    remote_address: ShownText
    remote_port: Counter
    remote_identity: ShownText
    local_nat: bool
    remote_nat: bool
    encryption: Word
    encryption_bits: Counter
    integrity: Word
    prf: Word
    key_exchange: Word
    age: Duration
    rekey_in: Duration
    reauthenticates_in: Duration
    children: Annotated[tuple[LiveChild, ...], Meta(max_length=MOST_SAS)]


class LiveFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a node knows of a connection. `phase`: of its tunnel (`core.tunnel.phase`). `cause`: the code of what is not
    as desired (`core.diagnosis.causes`), empty if nothing is, and `reason` its sentence. `ours`, `peer`: the values
    that differ; `evidence`: the words of charon that show it; empty if not known. `failures`: failed attempts in a row.
    `probe`: the result of the newest probe since the agent was started, `probe_age` seconds ago.
    """

    phase: Word
    cause: Word
    reason: ShownReason
    ours: ShownText = ""
    peer: ShownText = ""
    evidence: ShownText = ""
    failures: Counter
    retry_in: Duration
    revision: Counter
    ike_sas: Annotated[tuple[LiveIkeSa, ...], Meta(max_length=MOST_SAS)]
    probe: ProbeResult | None = None
    probe_age: Duration = -1


class LiveAnswer(msgspec.Struct, frozen=True):
    """The answer to a question. `fault`: why there are no facts, or why nothing was probed, in one sentence.
    `traffic`: of those of the connections that the node knows; None: it was not asked for it."""

    facts: LiveFacts | None
    fault: ShownReason = ""
    traffic: Annotated[tuple[ConnectionTraffic, ...], Meta(max_length=MOST_CONNECTIONS)] | None = None
