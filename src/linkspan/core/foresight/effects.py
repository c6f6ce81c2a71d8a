"""The effects that a change can have on a connection, and what they are foretold from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, get_args

import msgspec

from linkspan.core.state.desired import Connection, Gateway
from linkspan.core.state.observed import Backend, Capabilities

Effect = Literal["nothing", "rekey", "make-before-break", "interruption", "superseded", "comes up", "goes down"]
EFFECTS: Final[dict[Effect, str]] = {
    "nothing": "no SA changes, and no packet is lost",
    "rekey": "the IKE SA is authenticated anew, before the one that is up is deleted",
    "make-before-break": "the version that is up carries the traffic until the peer has accepted the new one",
    "interruption": "the SAs are deleted first, and nothing passes until the new ones are up",
    "superseded": "another connection takes its traffic over, without a gap",
    "comes up": "it is not up now, and its gateway initiates or waits for the peer",
    "goes down": "its SAs are deleted, and nothing passes",
}
"""Meaning of each effect, in one sentence."""
if EFFECTS.keys() != set(get_args(Effect)):
    raise AssertionError("every effect needs its meaning")


class Outlook(msgspec.Struct, frozen=True):
    """The effect of a change on one connection. `reason`: why, in one sentence. `seconds`: about how long nothing
    passes once both ends have the change; None: that is not foretold. `by`: uuids of the connections that supersede it.
    `changed`: what differs for its gateway, in the API's names."""

    effect: Effect
    reason: str
    seconds: float | None = None
    by: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()


class GatewayState(msgspec.Struct, frozen=True):
    """The desired state of a gateway, before or after a change. `gateway`: None if the router is none.

    `connections`: by uuid, at least those that the change affects, and those that share ends with them."""

    gateway: Gateway | None
    connections: Mapping[str, Connection]


class Running(msgspec.Struct, frozen=True):
    """State of a gateway. `up`: uuids of the connections that are up; `backend` and `capabilities` of its node.
    `has_node`: a node has the gateway."""

    has_node: bool
    up: frozenset[str]
    backend: Backend
    capabilities: Capabilities | None = None
