"""IKE identities, typed by their form (RFC 7296 3.5, RFC 5280).

charon accepts `%any` and patterns as wildcards, and it guesses types from text. Here every identity has exactly one
type, and wildcards are refused. Distinguished names are for certificates (`distinguished_names`).

An identity has one text, in which it is compared, digested and configured: names and mail addresses in lower case, as
charon compares them (strongSwan: identification.c, equals_strcasecmp), addresses as in RFC 5952. A final dot stays: it
is a part of the name that the peer sends. A type can be written before the value, as in the configurations of other
products: `fqdn:gw.example.org`.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from typing import Literal

import msgspec

from linkspan.core.addresses import address_text
from linkspan.core.ipsec import distinguished_names

IdentityType = Literal["ipv4", "ipv6", "email", "fqdn", "keyid", "dn"]

MAX_LENGTH = 255
"""Characters."""
MAX_KEYID = 252
"""Bytes of a key id with other characters than ASCII. charon takes it as `keyid:#` and hexadecimal digits, and it keeps
511 characters of a string (strongSwan: BUF_LEN): of longer ones, two could become equal."""
_LABEL = r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)"
_FQDN = re.compile(rf"{_LABEL}(\.{_LABEL})*\.?")
_EMAIL = re.compile(rf"[A-Za-z0-9.!#$&'+/=?^_`{{|}}~-]+@{_LABEL}(\.{_LABEL})*")
_FOUR_NUMBERS = re.compile(r"[0-9]+(\.[0-9]+){3}")


class Identity(msgspec.Struct, frozen=True):
    """An IKE identity: `kind` is the ID type, `text` the value without a prefix."""

    kind: IdentityType
    text: str

    def charon(self) -> str:
        """The notation that gives charon exactly this type (swanctl.conf(5), `local<suffix>.id`).

        It is the canonical text of the identity: equal identities have equal notations. A distinguished name is what
        has a `=` in it.
        """
        if self.kind in ("ipv4", "ipv6", "dn"):
            return self.text
        return f"{self.kind}:{self.text}"


def parse(text: str) -> Identity:
    """Parses an identity; its form decides the type. Raises ValueError with one sentence that says what to change."""
    if not text:
        raise ValueError("an identity cannot be empty")
    if len(text) > MAX_LENGTH:
        raise ValueError(f"an identity has at most {MAX_LENGTH} characters, this has {len(text)}")
    if not text.isprintable():
        raise ValueError("an identity cannot contain control characters or line breaks")
    if text != text.strip():
        raise ValueError("an identity cannot begin or end with a blank: remove it")
    if any(wildcard in text for wildcard in "%*"):
        raise ValueError("an identity cannot contain '%' or '*': it must name exactly one peer")
    prefix, colon, value = text.partition(":")
    kind = _PREFIXES.get(prefix.lower()) if colon else None
    if kind is None:
        _check_address(text)
        identity = _by_form(text)
    else:
        identity = _of_kind(kind, value, prefix)
    if identity.kind == "keyid":
        _check_keyid(identity.text)
    return identity


# Sized for all peers of a large installation: parsing an identity takes as long as all other work on it.
@functools.lru_cache(maxsize=65_536)
def stored(text: str) -> Identity:
    """The identity of a stored text. What `parse` refuses was stored by an earlier version, and keeps its meaning."""
    try:
        return parse(text)
    except ValueError:
        pass
    try:
        return _by_form(text)
    except ValueError:
        return Identity("keyid", text)


def length_fault(identity: Identity) -> str:
    """The sentence about a key id that charon would truncate; empty for another identity."""
    if identity.kind != "keyid" or identity.text.isascii() or len(identity.text.encode()) <= MAX_KEYID:
        return ""
    return f"a key id with other characters than ASCII has at most {MAX_KEYID} bytes in UTF-8"


_PREFIXES: dict[str, IdentityType | Literal["unsupported"]] = {
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
    "ipv4net": "unsupported",
    "ipv6net": "unsupported",
    "ipv4range": "unsupported",
    "ipv6range": "unsupported",
    "asn1gn": "unsupported",
    "xmppaddr": "unsupported",
}
"""The prefixes of swanctl.conf(5), `local<suffix>.id`, and of other products. Taken for a part of a key id, they would
never match."""
_VALUES: dict[str, str] = {
    "ipv4": "an IPv4 address",
    "ipv6": "an IPv6 address",
    "fqdn": "a DNS name",
    "email": "a mail address",
}


def _of_kind(kind: IdentityType | Literal["unsupported"], value: str, prefix: str) -> Identity:
    """The identity of a text with a type before it."""
    if kind == "dn":
        return Identity(kind, distinguished_names.parse(value))
    if kind == "unsupported":
        raise ValueError(f"identities of the type '{prefix}:' are not supported")
    if value != value.strip():
        raise ValueError(f"an identity cannot have a blank after '{prefix}:': remove it")
    if kind == "keyid":
        return Identity(kind, value)
    if (kind == "fqdn" and _FQDN.fullmatch(value)) or (kind == "email" and _EMAIL.fullmatch(value)):
        return Identity(kind, value.lower())
    _check_address(value)
    address = _address(value)
    if address is None or address.kind != kind:
        raise ValueError(f"'{prefix}:' needs {_VALUES[kind]} after it")
    return address


def _by_form(text: str) -> Identity:
    """The identity of a text by its form. What has no other form is a key id."""
    if text.startswith("keyid:"):
        return Identity("keyid", text.removeprefix("keyid:"))
    if address := _address(text):
        return address
    if text.startswith("@") and _FQDN.fullmatch(text[1:]):
        return Identity("fqdn", text[1:].lower())
    if _EMAIL.fullmatch(text):
        return Identity("email", text.lower())
    if _FQDN.fullmatch(text):
        return Identity("fqdn", text.lower())
    if distinguished_names.looks_like_one(text):
        return Identity("dn", distinguished_names.parse(text))
    return Identity("keyid", text)


@functools.lru_cache(maxsize=4096)
def _address(text: str) -> Identity | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return Identity("ipv4" if address.version == 4 else "ipv6", address_text(address))


def _check_address(text: str) -> None:
    """Raises ValueError for an address that no identity can be, and for a text that is almost an address."""
    host, slash, _ = text.partition("/")
    if slash and _address(host):
        raise ValueError("an identity that is an address cannot have a prefix length: it must name exactly one peer")
    if _FOUR_NUMBERS.fullmatch(text) and not _address(text):
        raise ValueError("four numbers with dots between them must be an IPv4 address")
    if (address := _address(text)) and address.text in ("0.0.0.0", "::", "::ffff:0:0"):  # noqa: S104 # compared
        raise ValueError("the unspecified address means 'any peer': it must name exactly one peer")


def _check_keyid(text: str) -> None:
    if not text:
        raise ValueError("'keyid:' needs a value after it")
    if distinguished_names.looks_like_one(text):
        raise ValueError("a distinguished name is no key id: leave out 'keyid:'")
    if text.startswith(("#", "@", "{")):
        raise ValueError("a key id cannot begin with '#', '@' or '{'")
    if fault := length_fault(Identity("keyid", text)):
        raise ValueError(fault)


def is_peer_name(text: str) -> bool:
    """True if a text is a valid DNS name: labels of letters, digits and '-', the last not all digits (RFC 1123 2.1)."""
    if len(text) > 253 or "_" in text or not _FQDN.fullmatch(text):
        return False
    return not text.rstrip(".").rsplit(".", 1)[-1].isdigit()
