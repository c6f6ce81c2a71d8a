"""The status of certificates and trust anchors, computed when they are read. Times are seconds since 1970."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

SOON: Final = 30 * 86_400.0
"""Seconds before its end from which a certificate is expiring. Of one with a short life: the last third of it."""

NOTICES: Final = (1, 7, 14, 30)
"""Days before the end of a certificate from which its connections say so, each in other words."""
RENEWED: Final = 2 / 3
"""The part of its life after which a certificate of a project's own CA is renewed."""
_DAY: Final = 86_400.0


def is_due(start: str | None, end: str | None, now: float) -> bool:
    """True if a certificate with these times has lived long enough to be renewed."""
    if start is None or end is None:
        return False
    first, last = _seconds(start), _seconds(end)
    return now >= first + (last - first) * RENEWED


def notice(title: str, start: str | None, end: str, now: float) -> str:
    """The sentence about a certificate that ends soon, or has ended; empty for another one. Of a short life only the
    last third is soon. `title`: what it is; `start`: None if only its end is known."""
    left, date = _seconds(end) - now, end.partition("T")[0]
    if left < 0:
        return f"{title} has ended on {date}"
    if start is not None and left >= (_seconds(end) - _seconds(start)) / 3:
        return ""
    days = next((days for days in NOTICES if left < days * _DAY), None)
    return f"{title} ends on {date}, in less than {days} day{'' if days == 1 else 's'}: renew it" if days else ""


def of_certificate(row: Mapping[str, Any], now: float) -> str:
    """The status of a certificate with the attributes of the API."""
    if row["certificate"] is None:
        return "awaiting_certificate"
    if row["revoked_at"] is not None:
        return "revoked"
    return _of_end(_seconds(row["not_after"]), now, _seconds(row["not_before"]))


def of_anchor(row: Mapping[str, Any], now: float) -> str:
    """The status of a trust anchor with the attributes of the API."""
    return _of_end(_seconds(row["expires_at"]), now)


def _of_end(end: float, now: float, start: float | None = None) -> str:
    if end < now:
        return "expired"
    soon = SOON if start is None else min(SOON, (end - start) / 3)
    return "expiring" if end - now < soon else "valid"


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
