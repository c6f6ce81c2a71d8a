"""Events of a connection for the timeline, from one report of it to the next. Pure.

A report says how a connection is, and the timeline what has happened. What the timeline has said of it (`Known`)
outlives the agent, so that a new agent does not say again what was so all the time.
"""

from __future__ import annotations

from typing import Final

import msgspec

from linkspan.core.state.observed import ConnectionReport
from linkspan.core.state.timeline import NodeEventKind

_NO_CAUSE: Final = frozenset({"", "NEGOTIATING", "UNKNOWN"})
"""Codes that say only that it is not up yet."""


class Known(msgspec.Struct, frozen=True):
    """State that the timeline has told of a connection: whether it is up, its code, the causes since it went down,
    and which succession."""

    is_up: bool = False
    code: str = ""
    causes: tuple[str, ...] = ()
    succession: str = ""


class News(msgspec.Struct, frozen=True):
    """An event to tell."""

    kind: NodeEventKind
    code: str = ""
    reason: str = ""


_set = msgspec.structs.replace


def follow(known: Known, report: ConnectionReport) -> tuple[Known, News | None]:
    """The state told afterwards, and the event that a report makes, if any.

    Of a connection that stays down each cause is told once: attempts may fail for two reasons in turn for days.
    """
    code, is_up = report.code, report.state == "up"
    if is_up != known.is_up:
        causes = () if is_up else (code,)
        kind: NodeEventKind = "up" if is_up else "down"
        return _set(known, is_up=is_up, code=code, causes=causes), News(kind, code, report.reason)
    if code == known.code:
        return known, None
    if is_up:
        return _set(known, code=code), News("notice", code, report.reason)
    after = _set(known, code=code)
    if code in _NO_CAUSE or code in known.causes:
        return after, None
    return _set(after, causes=(*known.causes, code)), News("cause", code, report.reason)


def succeeded(known: Known, text: str) -> tuple[Known, News | None]:
    """The same for the sentence that says by what a connection is superseded; empty: by nothing."""
    if text == known.succession:
        return known, None
    return _set(known, succession=text), News("takeover", "", text) if text else None
