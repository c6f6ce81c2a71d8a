"""The `Authorization` header of HTTP Basic (RFC 7617)."""

from __future__ import annotations

import base64
import binascii


def user_and_password(header: bytes) -> tuple[str, str] | None:
    """Returns the user's name and the password in a header; None if it is of another scheme, or malformed."""
    scheme, _, encoded = header.partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    name, colon, password = text.partition(":")
    return (name, password) if colon else None
