"""Suggestions for misspelt names, for the error messages of settings and policy files."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """A clause such as `; did you mean 'port'?` that names the most similar of `known`; empty if none is similar."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.75)
    return f"; did you mean '{matches[0]}'?" if matches else ""
