"""IKE identities, typed by their form (RFC 7296 3.5, RFC 5280).

charon accepts `%any` and patterns as wildcards, and it guesses types from text. Here every identity has exactly one
type, and wildcards are refused. Distinguished names need certificates, which are not supported yet.

An identity has one text, in which it is compared, digested and configured: names and mail addresses in lower case, as
charon compares them (strongSwan: identification.c, equals_strcasecmp), addresses as in RFC 5952. A type can be written
before the value, as in the configurations of other products: `fqdn:gw.example.org`.
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
MAX_KEYID = 252
"""Bytes of a key id with other characters than ASCII. charon takes it as `keyid:#` and hexadecimal digits, and it keeps
511 characters of a string (strongSwan: BUF_LEN): of longer ones, two could become equal."""
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
    prefix, colon, value = text.partition(":")
    if colon and (kind := _PREFIXES.get(prefix.lower())):
        return _of_kind(kind, value, prefix)
    address = _address(text)
    if address is not None:
        return address
    if text.startswith("@") and _FQDN.fullmatch(text[1:]):
        return Identity("fqdn", text[1:].lower())
    if _EMAIL.fullmatch(text):
        return Identity("email", text.lower())
    if _FQDN.fullmatch(text):
        return Identity("fqdn", text.lower())
    return _keyid(text)


def fault(text: str) -> str:
    """The sentence about a text that is no identity; empty if it is one."""
    try:
        parse(text)
    except ValueError as error:
        return str(error)
    return ""


def check_blanks(text: str) -> None:
    """Raises ValueError for a blank at an end: it would be part of a key id, and nobody can see it."""
    if text != text.strip():
        raise ValueError("an identity cannot begin or end with a blank: remove it")


_PREFIXES: dict[str, IdentityType | Literal["dn"]] = {
    "ipv4": "ipv4",
    "ipv6": "ipv6",
    "email": "email",
    "rfc822": "email",
    "userfqdn": "email",
    "fqdn": "fqdn",
    "dns": "fqdn",
    "keyid": "keyid",
    "asn1dn": "dn",
    "dn": "dn",
}
"""The prefixes of swanctl.conf(5), `local<suffix>.id`, and of other products."""


def _of_kind(kind: IdentityType | Literal["dn"], value: str, prefix: str) -> Identity:
    """The identity of a text with a type before it."""
    if kind == "dn":
        raise ValueError("a distinguished name needs auth_mode certs")
    if kind == "keyid":
        return _keyid(value)
    if kind == "fqdn" and _FQDN.fullmatch(value):
        return Identity("fqdn", value.lower())
    if kind == "email" and _EMAIL.fullmatch(value):
        return Identity("email", value.lower())
    address = _address(value)
    if address is not None and address.kind == kind:
        return address
    raise ValueError(f"'{prefix}:' needs {_VALUES[kind]} after it")


_VALUES: dict[str, str] = {
    "ipv4": "an IPv4 address",
    "ipv6": "an IPv6 address",
    "fqdn": "a DNS name",
    "email": "a mail address",
}


def _address(text: str) -> Identity | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if getattr(address, "scope_id", None):
        raise ValueError("an identity that is an address cannot have a zone")
    mapped = address.ipv4_mapped if address.version == 6 else None
    if address.is_unspecified or (mapped and mapped.is_unspecified):
        raise ValueError("the unspecified address means 'any peer': it must name exactly one peer")
    if address.version == 4:
        return Identity("ipv4", str(address))
    # The form of RFC 5952 5, as charon writes it; `str` writes it since Python 3.13 only.
    return Identity("ipv6", f"::ffff:{mapped}" if mapped else str(address))


def _keyid(text: str) -> Identity:
    if not text:
        raise ValueError("'keyid:' needs a value after it")
    if re.match(r"\s*[A-Za-z]+\s*=", text):
        raise ValueError("a distinguished name needs auth_mode certs")
    if text.startswith(("#", "@", "{")):
        raise ValueError("a key id cannot begin with '#', '@' or '{'")
    if not text.isascii() and len(text.encode()) > MAX_KEYID:
        raise ValueError(f"a key id with other characters than ASCII has at most {MAX_KEYID} bytes in UTF-8")
    return Identity("keyid", text)


def is_peer_name(text: str) -> bool:
    """True if a text is a valid DNS name: labels of letters, digits and '-', the last not all digits (RFC 1123 2.1)."""
    if len(text) > 253 or "_" in text or not _FQDN.fullmatch(text):
        return False
    return not text.rstrip(".").rsplit(".", 1)[-1].isdigit()
