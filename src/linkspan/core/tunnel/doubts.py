"""Doubts about the peer of a tunnel that is up, after a sign that is not authenticated: its port is closed, say.

Anybody can send such a sign, so nothing ends because of it; this end only asks (RFC 7296 2.4). It asks when the signs
have stopped and nothing authenticated has arrived since. The question is a successor of the IKE SA with the same
children, made before the IKE SA is deleted: a peer that has restarted can answer nothing else, and a peer that has not
loses nothing. IKEv1 moves the children to the successor instead of making new ones, so it is not asked. Pure; times in
seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from linkspan.core.tunnel.actions import DeleteIkeSa, ReplaceIkeSa
from linkspan.core.tunnel.dpd import DpdState
from linkspan.core.tunnel.sas import IkeSa

QUIET: Final = 2.0
"""Seconds without a sign and without an authenticated packet, after which the peer is asked. charon tells whole seconds
since the last packet: of a peer that was silent for two it never tells fewer."""
PATIENCE: Final = 10.0
"""Seconds for which a child that is being rekeyed is waited for: charon would put off the successor by 15."""
BUSY: Final = 0.25
"""Seconds between two looks at such a child."""
FIRST: Final = 10.0
"""Seconds from a question to the next one, at least. They double with each that follows soon, since signs that go on
are more likely forged than those of a peer that restarts again and again."""
LONGEST: Final = 640.0
ANSWERED: Final = 2.0
"""Seconds in which the peer confirms that the previous IKE SA is deleted, unless it has lost it: charon would repeat
the request for a day."""


class Doubts(msgspec.Struct, frozen=True):
    """`since`: the time of the newest sign, None without a doubt. `due`: the next look. `asked`: by unique id of an IKE
    SA whose successor was requested, since when that is up (None: it is not). `next_at`: no question before
    that, `delay`: seconds from the newest one to it."""

    since: float | None = None
    due: float | None = None
    asked: Mapping[int, float | None] = {}
    next_at: float = 0.0
    delay: float = 0.0


_set = msgspec.structs.replace


def signalled(before: Doubts, now: float) -> Doubts:
    """The doubts after a sign."""
    return before if now < before.next_at else _set(before, since=now, due=_earliest(before.asked, now, now + QUIET))


def advance(
    before: Doubts, state: DpdState, sas: tuple[IkeSa, ...], children: frozenset[str], now: float
) -> tuple[Doubts, tuple[ReplaceIkeSa | DeleteIkeSa, ...]]:
    """The doubts after a listing of the IKE SAs, also of those that are being deleted, and what to do. Only IKE SAs
    with one of these `children` count."""
    after, ended = _without_answered(before, sas, now)
    due, questions = before.since and before.since + QUIET, tuple[ReplaceIkeSa, ...]()
    if before.since is not None and now >= before.since + QUIET:
        silent = [sa for sa in sas if sa.installed & children and _is_silent(sa, state, before.since)]
        due = now + BUSY if now < before.since + PATIENCE else None
        if not silent or not any(map(_is_busy, sas)):
            after, due, questions = _asked(_set(after, since=None), silent, now)
        elif due is None:
            after = _set(after, since=None)
    return _set(after, due=_earliest(after.asked, now, due)), (*ended, *questions)


def _asked(before: Doubts, silent: list[IkeSa], now: float) -> tuple[Doubts, float | None, tuple[ReplaceIkeSa, ...]]:
    """The doubts after a question in each of these IKE SAs, the time of the next look, and the questions."""
    if not silent:
        return before, None, ()
    delay = min(2 * before.delay, LONGEST) if now < before.next_at + before.delay else FIRST
    asked = {**before.asked, **dict.fromkeys((sa.unique_id for sa in silent), None)}
    questions = tuple(ReplaceIkeSa(sa.unique_id) for sa in silent)
    return _set(before, asked=asked, next_at=now + delay, delay=delay), now + ANSWERED, questions


def _is_busy(sa: IkeSa) -> bool:
    """True while a successor would be put off, or is being made."""
    return sa.state == "CONNECTING" or (sa.established and any(child.state != "INSTALLED" for child in sa.children))


def _is_silent(sa: IkeSa, state: DpdState, since: float) -> bool:
    """True if nothing authenticated has arrived in an IKE SA since the newest sign, nor itself."""
    seen = state.last_seen.get(sa.unique_id)
    is_heard = seen is not None and seen.at > since
    packets = (child.idle_in for child in sa.children if child.idle_in >= 0)
    return sa.established and not is_heard and all(idle >= QUIET for idle in packets)


def _without_answered(before: Doubts, sas: tuple[IkeSa, ...], now: float) -> tuple[Doubts, tuple[DeleteIkeSa, ...]]:
    """The doubts without the IKE SAs that are gone, and the deletion of those that the peer has lost."""
    asked: dict[int, float | None] = {}
    for sa in sas:
        if sa.unique_id in before.asked:
            since = before.asked[sa.unique_id]
            asked[sa.unique_id] = now if since is None and _is_succeeded(sa, sas) else since
    lost = [id for id, since in asked.items() if since is not None and now >= since + ANSWERED]
    left = {id: since for id, since in asked.items() if id not in lost}
    return _set(before, asked=left), tuple(DeleteIkeSa(id) for id in lost)


def _is_succeeded(sa: IkeSa, sas: tuple[IkeSa, ...]) -> bool:
    """True if the successor of an IKE SA is up. The deletion may wait for the answer to another request."""
    newer = (other for other in sas if other.name == sa.name and other.unique_id > sa.unique_id)
    return sa.state == "DELETING" or any(other.established and other.installed for other in newer)


def _earliest(asked: Mapping[int, float | None], now: float, due: float | None) -> float | None:
    """The time of the next look."""
    times = [max(since + ANSWERED, now) for since in asked.values() if since is not None]
    return min([*times, *(() if due is None else (due,))], default=None)
