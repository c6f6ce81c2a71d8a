"""Probes: packets that a node sends for a connection on request, and what came back.

API and agents exchange them as parts of a question and its answer (`core.state.live_facts`). Everything has bounds, as
in `core.state.observed`.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from linkspan.core.state.bounds import ShownReason, ShownText
from linkspan.core.state.observed import Mtu

ProbeState = Literal["answered", "refused", "unreachable", "silent", "not sent"]
"""`refused`: an ICMP error says that the port is closed. `unreachable`: another ICMP error, or no route."""
Milliseconds = Annotated[float, Meta(ge=-1, le=1e6)]
"""-1: not known."""
_Few = Annotated[int, Meta(ge=0, le=255)]
_Port = Annotated[int, Meta(ge=0, le=65_535)]
_Target = Annotated[str, Meta(pattern=r"^[0-9A-Fa-f.:]{0,45}\Z")]


class ProbeRequest(msgspec.Struct, frozen=True):
    """A request to probe. `target`: an address behind the peer; empty: the node chooses one."""

    target: _Target = ""


class PortProbe(msgspec.Struct, frozen=True, kw_only=True):
    """IKE messages to one UDP port of the peer. `milliseconds`: the round trip. `note`: the notify that came back, or
    the error in words; `reporter`: the address that an ICMP error came from."""

    port: _Port
    state: ProbeState
    milliseconds: Milliseconds = -1
    note: ShownReason = ""
    reporter: ShownText = ""


class EchoProbe(msgspec.Struct, frozen=True, kw_only=True):
    """Echo requests from one address to another, none of which may be fragmented. `milliseconds`: the shortest round
    trip.

    `passes`: bytes of the largest packet that was answered, after a search up to `limit`, the largest that this end may
    send; 0: no search. `next_hop_mtu`: the MTU that an ICMP error has reported, 0: none.
    """

    source: ShownText = ""
    target: ShownText = ""
    state: ProbeState
    sent: _Few = 0
    received: _Few = 0
    milliseconds: Milliseconds = -1
    note: ShownReason = ""
    reporter: ShownText = ""
    passes: Mtu = 0
    limit: Mtu = 0
    next_hop_mtu: Mtu = 0


class ProbeResult(msgspec.Struct, frozen=True, kw_only=True):
    """The packets that came back. `path`: between the gateways, outside the tunnel; `inside`: through it."""

    ports: Annotated[tuple[PortProbe, ...], Meta(max_length=2)]
    path: EchoProbe
    inside: EchoProbe
