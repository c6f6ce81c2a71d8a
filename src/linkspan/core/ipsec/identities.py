"""IKE identities, typed by their form (RFC 7296 3.5, RFC 5280).

charon accepts `%any` and patterns as wildcards, and it guesses types from text. Here every identity has exactly one
type, and wildcards are refused. Distinguished names need certificates, which are not supported yet.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from typing import Literal

import msgspec

IdentityType = Literal["ipv4", "ipv6", "email", "fqdn", "keyid"]

MAX_LENGTH = 255
"""Characters."""
_LABEL = r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)"
_FQDN = re.compile(rf"{_LABEL}(\.{_LABEL})*\.?")
_EMAIL = re.compile(rf"[A-Za-z0-9.!#$&'+/=?^_`{{|}}~-]+@{_LABEL}(\.{_LABEL})*")


class Identity(msgspec.Struct, frozen=True):
    """An IKE identity: `kind` is the ID type, `text` the value without a prefix."""

    kind: IdentityType
    text: str

    def charon(self) -> str:
        """The notation that gives charon exactly this type (swanctl.conf(5), `local<suffix>.id`)."""
        if self.kind in ("ipv4", "ipv6"):
            return self.text
        return f"{self.kind}:{self.text}"


@functools.lru_cache(maxsize=4096)
def parse(text: str) -> Identity:
    """Parses an identity; its form decides the type. Raises ValueError with one sentence that says what to change."""
    if not text:
        raise ValueError("an identity cannot be empty")
    if len(text) > MAX_LENGTH:
        raise ValueError(f"an identity has at most {MAX_LENGTH} characters, this has {len(text)}")
    if not text.isprintable():
        raise ValueError("an identity cannot contain control characters or line breaks")
    if any(wildcard in text for wildcard in "%*"):
        raise ValueError("an identity cannot contain '%' or '*': it must name exactly one peer")
    if text.startswith("keyid:"):
        return _keyid(text.removeprefix("keyid:"))
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        pass
    else:
        if getattr(address, "scope_id", None):
            raise ValueError("an identity that is an address cannot have a zone")
        if address.is_unspecified:
            raise ValueError("the unspecified address means 'any peer': it must name exactly one peer")
        return Identity("ipv4" if address.version == 4 else "ipv6", str(address))
    if text.startswith("@") and _FQDN.fullmatch(text[1:]):
        return Identity("fqdn", text[1:])
    if _EMAIL.fullmatch(text):
        return Identity("email", text)
    if _FQDN.fullmatch(text):
        return Identity("fqdn", text)
    return _keyid(text)


def _keyid(text: str) -> Identity:
    if not text:
        raise ValueError("'keyid:' needs a value after it")
    if re.match(r"\s*[A-Za-z]+\s*=", text):
        raise ValueError("a distinguished name needs auth_mode certs")
    if text.startswith(("#", "@", "{")):
        raise ValueError("a key id cannot begin with '#', '@' or '{'")
    return Identity("keyid", text)


def is_peer_name(text: str) -> bool:
    """True if a text is a valid DNS name: labels of letters, digits and '-', the last not all digits (RFC 1123 2.1)."""
    if len(text) > 253 or "_" in text or not _FQDN.fullmatch(text):
        return False
    return not text.rstrip(".").rsplit(".", 1)[-1].isdigit()
