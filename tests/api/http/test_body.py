"""Request bodies: what nesting costs, and that brackets in strings are no levels."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linkspan.api.http import body
from linkspan.core.errors import ApiError

TEXTS = st.text(alphabet='[]{}":\\a\n', max_size=12)
VALUES = st.recursive(TEXTS | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner))


def levels(value: Any) -> int:
    """The levels of lists and objects."""
    if isinstance(value, dict):
        return 1 + max(map(levels, value.values()), default=0)
    return 1 + max(map(levels, value), default=0) if isinstance(value, list) else 0


@pytest.mark.security(
    "8",
    tried="nesting of JSON, also in texts",
    control="test_without_the_limit_any_depth_is_decoded",
)
@settings(deadline=None)
@given(value=VALUES, more=st.integers(0, 20))
def test_levels_are_counted_outside_of_strings(value: Any, more: int) -> None:
    for _ in range(more):
        value = [value]
    content = json.dumps(value).encode()
    if levels(value) <= body.DEPTH:
        assert body.parse(content) == value
        return
    with pytest.raises(ApiError, match="nested deeper than 16 levels"):
        body.parse(content)


def test_without_the_limit_any_depth_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control."""
    content = b"[" * (body.DEPTH + 1) + b"]" * (body.DEPTH + 1)
    with pytest.raises(ApiError, match="nested deeper than 16 levels"):
        body.parse(content)
    monkeypatch.setattr(body, "_is_nested_deeper", lambda *_: False)
    assert levels(body.parse(content)) == body.DEPTH + 1
