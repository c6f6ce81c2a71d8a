"""Dry runs: the parameter of the query string that asks for one, and the shape of the answer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from linkspan.core.errors import ApiError
from linkspan.core.foresight.effects import EFFECTS
from linkspan.core.schema.attribute_types import Boolean, Schema, Uuid, closed

PARAMETER: Final = "dry_run"
ENVELOPE: Final = "dry_run"
EXTENSION: Final = "linkspan-dry-run"
"""The alias of the extension by which clients know that a dry run is none of the request itself."""
_TYPE: Final = Boolean()
_TEXTS: Final[Schema] = {"type": "array", "items": {"type": "string"}}


def is_wanted(parameters: Iterable[tuple[str, str]]) -> bool:
    """True if a query string asks for a dry run. Raises ApiError: a request that is carried out by mistake is worse
    than one that is refused."""
    wanted = {_converted(value) for name, value in parameters if name == PARAMETER}
    if len(wanted) > 1:
        raise ApiError("HTTPBadRequest", f"{PARAMETER} is both true and false: give it once, nothing was done")
    return True in wanted


def _converted(value: str) -> bool:
    try:
        return _TYPE.convert(PARAMETER, value)
    except ApiError:
        text = f"{PARAMETER} is true or false, and '{value[:64]}' is neither: nothing was done"
        raise ApiError("HTTPBadRequest", text) from None


CONNECTION: Final = closed(
    id=Uuid().schema(),
    name={"type": "string"},
    effect={"type": "string", "enum": list(EFFECTS), "description": "; ".join(f"{k}: {v}" for k, v in EFFECTS.items())},
    reason={"type": "string", "description": "why, in one sentence"},
    seconds={
        "type": ["number", "null"],
        "description": "about how long nothing passes, once both ends have the change; null: not foretold",
    },
    superseded_by={"type": "array", "items": Uuid().schema(), "description": "the connections that take over"},
    changed={**_TEXTS, "description": "what differs for its gateway"},
    weak_choices={**_TEXTS, "description": "its weak choices afterwards"},
)
"""A connection that would feel a request."""
ANSWER: Final = closed(
    connections={"type": "array", "items": CONNECTION},
    weak_choices={**_TEXTS, "description": "those of the policies that are created or changed"},
    left_out={"type": "integer", "minimum": 0, "description": "how many more connections there are, not looked at"},
)
EXAMPLE: Final[dict[str, Any]] = {
    "connections": [
        {
            "id": "5c561d9d-eaea-45f6-ae3e-08d1a7080828",
            "name": "to-branch",
            "effect": "make-before-break",
            "reason": "ikepolicy pfs is negotiated anew, and what is up goes on until then",
            "seconds": None,
            "superseded_by": [],
            "changed": ["ikepolicy pfs"],
            "weak_choices": [],
        }
    ],
    "weak_choices": [],
    "left_out": 0,
}
