"""The peer's side of a connection in one format: what to enter, ready configurations, and what the device cannot do."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from linkspan.core.peer_side.formats.format import ConfigFile, Mark, PeerFormat, without_key
from linkspan.core.peer_side.lint import PeerFinding, demands, lint
from linkspan.core.peer_side.mirror import mirror
from linkspan.core.peer_side.values import PeerValue, values
from linkspan.core.state.desired import Connection


class PeerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The peer's side of one connection."""

    connection_id: str
    name: Annotated[str, Meta(description="name of the connection")]
    format: Annotated[str, Meta(description="name of the format")]
    title: Annotated[str, Meta(description="the device, and what of it is configured")]
    mark: Annotated[
        Mark,
        Meta(
            description="tested: a real daemon takes it and tunnels come up; syntax-checked: a program of that "
            "syntax reads it; unverified: written by the device's manual"
        ),
    ]
    evidence: Annotated[str, Meta(description="what shows that")]
    secret: Annotated[bool, Meta(description="whether it contains the pre-shared key")]
    by_hand: Annotated[dict[str, str], Meta(description="words in the files to replace, with what they stand for")]
    findings: Annotated[tuple[PeerFinding, ...], Meta(description="what the device cannot do, or does differently")]
    values: Annotated[tuple[PeerValue, ...], Meta(description="every value to enter")]
    files: Annotated[tuple[ConfigFile, ...], Meta(description="configurations; none if a finding is an error")]


def peer_config(connection: Connection, form: PeerFormat, *, secret: bool, judge_key: bool) -> PeerConfig:
    """The peer's side of a connection. `secret`: with its pre-shared key; `judge_key`: findings may be about the key,
    whose alphabet and length they then tell."""
    known = mirror(connection)
    # In the place of a key that cannot be read is one that nobody knows.
    shown = known if secret and not connection.fault else without_key(known)
    findings = (*demands(connection), *lint(known if judge_key else shown, form.device))
    impossible = any(finding.severity == "error" for finding in findings)
    return PeerConfig(
        connection_id=connection.id,
        name=connection.name,
        format=form.name,
        title=form.title,
        mark=form.mark,
        evidence=form.evidence,
        secret=shown.psk is not None,
        by_hand=form.by_hand,
        findings=findings,
        values=tuple(values(shown)),
        files=() if impossible else form.write(shown),
    )
