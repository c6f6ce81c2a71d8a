"""IKE identities, typed by their form (RFC 7296 3.5, RFC 5280).

charon takes `%any` and patterns as wildcards and guesses types from text; here every identity has one type, and what
could match more than one peer is refused. Distinguished names belong to certificates and are refused until then.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from typing import Literal

import msgspec

IdentityType = Literal["ipv4", "ipv6", "email", "fqdn", "keyid"]

MAX_LENGTH = 255
_LABEL = r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)"
_FQDN = re.compile(rf"{_LABEL}(\.{_LABEL})*\.?")
_EMAIL = re.compile(rf"[A-Za-z0-9.!#$&'+/=?^_`{{|}}~-]+@{_LABEL}(\.{_LABEL})*")


class Identity(msgspec.Struct, frozen=True):
    """One IKE identity: `kind` names the ID type, `text` its value without any prefix."""

    kind: IdentityType
    text: str

    def charon(self) -> str:
        """The form in which charon takes exactly this type (strongswan: swanctl.conf(5), `local<suffix>.id`)."""
        if self.kind in ("ipv4", "ipv6"):
            return self.text
        return f"{self.kind}:{self.text}"


@functools.lru_cache(maxsize=4096)
def parse(text: str) -> Identity:
    """Type an identity by its form. Raises ValueError with one sentence that says what to write instead."""
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
        raise ValueError("'keyid:' needs a value behind it")
    if re.match(r"\s*[A-Za-z]+\s*=", text):
        raise ValueError("a distinguished name needs auth_mode certs")
    if text.startswith(("#", "@", "{")):
        raise ValueError("a key id cannot begin with '#', '@' or '{'")
    return Identity("keyid", text)


def is_peer_name(text: str) -> bool:
    """Whether a text can be a peer's DNS name: labels of letters, digits and '-', not all digits (RFC 1123 2.1)."""
    if len(text) > 253 or "_" in text or not _FQDN.fullmatch(text):
        return False
    return not text.rstrip(".").rsplit(".", 1)[-1].isdigit()
