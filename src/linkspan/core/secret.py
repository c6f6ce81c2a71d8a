"""A value that must not be seen: pre-shared keys and private keys travel through the program in this wrapper."""

from __future__ import annotations

import hmac


class Secret:
    """Text whose repr, str and format are `***`. `reveal()` is the one way out, so it can be searched for."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself. Call it only where it goes into an envelope, to its owner, to a node, or into charon."""
        return self._text

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash(("linkspan.Secret", self._text))
