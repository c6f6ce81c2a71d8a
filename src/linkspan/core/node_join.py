"""What a node and the API say when the node joins and renews its certificate: types, names and the join token. Pure."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from linkspan.core import printable

SERVER_NAME: Final = "linkspan-nodes"
"""The name in the certificate of the API's listener for nodes, wherever it listens."""
RENEW_HEADER: Final = "Linkspan-Renew"
"""The header of an answer to a node that is to renew its certificate at once."""
JOIN_LIFETIME: Final = 3600.0
"""The longest lifetime of a join token, seconds."""
CERTIFICATE_LIFETIME: Final = 86_400.0
"""The longest lifetime of the certificates of nodes, seconds."""
NAME_BYTES: Final = 240
"""Bytes of a node's name in UTF-8: files have it in their names, with up to 15 bytes around it."""
PemTexts = Annotated[str, Meta(max_length=65_536)]
_TOKEN: Final = re.compile(r"([A-Za-z0-9_-]{43})\.([A-Za-z0-9_-]{43})")


class Join(msgspec.Struct, frozen=True):
    """A node's request for its first certificate."""

    token: Annotated[str, Meta(max_length=200)]
    request: PemTexts


class Renewal(msgspec.Struct, frozen=True):
    """A node's request for its next certificate, sent with the present one."""

    request: PemTexts


class Issued(msgspec.Struct, frozen=True):
    """The answer to both: the node's name, its certificate, and the authorities that it trusts from now on."""

    node_name: Annotated[str, Meta(max_length=255)]
    certificate: PemTexts
    authorities: PemTexts


def name_fault(name: str) -> str:
    """The reason why a node cannot have a name, for a sentence that begins with it; empty if it can."""
    if not name:
        return "is empty"
    if char := printable.unprintable(name):
        return f"has a character that is not printable ({printable.name_of(char)})"
    if "/" in name or name in (".", ".."):
        return "cannot be the name of a file, as that of a node is: write it without a slash, and not as '.' or '..'"
    size = len(name.encode())
    return f"has {size} bytes in UTF-8: the name of a node has at most {NAME_BYTES}" if size > NAME_BYTES else ""


def join_token(secret: bytes, authority: str) -> str:
    """A join token: 32 random bytes, and the fingerprint of the authority (hexadecimal) by which the node knows the
    API."""
    return f"{_text(secret)}.{_text(bytes.fromhex(authority))}"


def authority_of(token: str) -> str | None:
    """The fingerprint in a join token; None if it is none."""
    match = _TOKEN.fullmatch(token)
    if match is None:
        return None
    try:
        return base64.urlsafe_b64decode(match[2] + "=").hex()
    except binascii.Error:
        return None


def _text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")
