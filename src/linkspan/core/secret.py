"""A wrapper for pre-shared keys, private keys and passwords, so that they appear in no log and no traceback."""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

SHORTEST: Final = 12
"""Characters of a password, and of a secret of an application credential, at least. A pre-shared key may be shorter,
because its other end may be a device that takes no longer one; then there is a warning."""


def hash_token(token: bytes) -> str:
    """The SHA-256 of a token, in hexadecimal, as the database keeps it. Tokens have 256 random bits, so no slow hash is
    needed."""
    return hashlib.sha256(token).hexdigest()


class Secret:
    """Text whose repr, str and format are `***`. Only `reveal()` returns it, so its uses can be searched for."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself: only to seal it, to send it to its owner or a node, or to load it into charon."""
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
