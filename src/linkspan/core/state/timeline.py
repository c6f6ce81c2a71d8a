"""The timeline: what happened to connections, as agents report it and as clients read it. Pure.

An event has two times: when it happened, by the clock of whoever saw it, and when it was recorded, by the database. Its
`id` is a place: what is recorded later has a higher one (`store.timeline`).
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, get_args

import msgspec
from msgspec import Meta

from linkspan.core.state.bounds import ObjectId, Word

NodeEventKind = Literal["up", "down", "cause", "notice", "rekey", "dpd", "takeover", "lost"]
"""Of events that a node has seen."""
EventKind = Literal["revision", "move", NodeEventKind]
KINDS: Final[tuple[str, ...]] = get_args(EventKind)
NODE_KINDS: Final = frozenset(get_args(NodeEventKind))
MEANINGS: Final[dict[EventKind, str]] = {
    "revision": "its configuration was changed, or that of something that it uses",
    "move": "its gateway was assigned to a node",
    "up": "it carries traffic",
    "down": "it carries no traffic any more",
    "cause": "it stays down, for another reason than before",
    "notice": "it is up, but not as desired, or is as desired again",
    "rekey": "its child SA or the IKE SA was rekeyed",
    "dpd": "dead peer detection has declared the peer dead",
    "takeover": "it has taken the place of another connection, or another one has taken its place",
    "lost": "the node could not keep all events while the API was away",
}
"""Meaning of each kind of event."""

KEPT: Final = 1000
"""Default of `api.timeline_events`: events of one connection."""
RETENTION: Final = 90
"""Default of `api.timeline_retention`: days."""
MOST_EVENTS: Final = 1000
"""Events in one report."""
LATEST: Final = 253_402_300_799.0
"""The last second that a date can have, in seconds since 1970."""


class NodeEvent(msgspec.Struct, frozen=True):
    """An event that a node has seen. `id`: the node's own, so that the same one counts once. `at`: seconds since 1970
    by the node's clock. `kind`: one of `NodeEventKind`; a newer agent may have others. `code`: of a cause, or empty."""

    id: Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]
    connection_id: ObjectId
    at: Annotated[float, Meta(ge=0, le=LATEST)]
    kind: Word
    code: Word = ""
    reason: str = ""


class Edit(msgspec.Struct, frozen=True, kw_only=True):
    """A change of the configuration. It names attributes, and never has a value of one."""

    action: Annotated[str, Meta(description="what was done")]
    resource: Annotated[str, Meta(description="resource that it was done to")]
    object_id: Annotated[str, Meta(description="id of the object")]
    fields: Annotated[tuple[str, ...], Meta(description="names of the attributes that were set")]
    user_id: Annotated[str, Meta(description="who did it; empty: a user of another project, or no user")]
    user_name: Annotated[str, Meta(description="name of that user")]
    user_project_id: Annotated[str, Meta(description="project in which the user acted")]
    request_id: Annotated[str, Meta(description="id of the request")]


class TimelineEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event as clients read it."""

    id: Annotated[str, Meta(description="place in the timeline; that of a later event is a higher number")]
    kind: Annotated[str, Meta(description="what happened")]
    connection_id: Annotated[str, Meta(description="connection that it happened to")]
    connection_name: Annotated[str, Meta(description="name that the connection had then")]
    project_id: Annotated[str, Meta(description="project of the connection")]
    at: Annotated[float, Meta(description="time at which it happened, by the clock of whoever saw it")]
    recorded_at: Annotated[float, Meta(description="time at which it was recorded, by the clock of the database")]
    status_code: Annotated[str, Meta(description="code of the cause; empty: none")]
    reason: Annotated[str, Meta(description="one sentence; empty: the kind says it all")]
    node: Annotated[str, Meta(description="node that saw it, or that the gateway was assigned to; empty: none")]
    revision: Annotated[Edit | None, Meta(description="what changed the configuration; null for other kinds")]


OWN: Final = "connection"
"""The resource of edits of a connection itself."""


def as_seen_by(event: TimelineEvent, project_id: str) -> TimelineEvent:
    """An event as its project sees it. A policy or a network may be another project's: by whom it was edited is not
    told."""
    edit = event.revision
    if edit is None or edit.resource == OWN or edit.user_project_id == project_id:
        return event
    hidden = msgspec.structs.replace(edit, user_id="", user_name="", user_project_id="", request_id="")
    return msgspec.structs.replace(event, revision=hidden)
