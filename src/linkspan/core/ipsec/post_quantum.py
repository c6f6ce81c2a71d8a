"""Names of post-quantum preshared keys (RFC 8784, section 5.1: PPK_ID)."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

_NAME: Final = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}(\.[A-Za-z0-9_-]{1,63})*(@[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*)?"
)
"""What charon sends as these characters and nothing else: it would take other texts for addresses, names or bytes."""


def name_fault(text: str) -> str:
    """Why a text cannot be the name of a key; empty if it can, and for no text."""
    if not text:
        return ""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        is_address = False
    else:
        is_address = True
    if is_address or not _NAME.fullmatch(text):
        return "the name of a key is letters, digits, '-', '_' and dots, or a mail address"
    return ""
