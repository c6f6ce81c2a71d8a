"""Times as text, for people and programs."""

from __future__ import annotations

from datetime import UTC, datetime


def iso_time(seconds: float) -> str:
    """A time in seconds since 1970 as ISO 8601 writes it, in UTC: 2026-11-23T01:41:31+00:00."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
