"""What was probably meant by a name that nobody knows: for the messages of settings and policy files."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """A question that names the likeliest of `known`, to follow a sentence; nothing if there is nothing like it."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.75)
    return f"; did you mean '{near[0]}'?" if near else ""
