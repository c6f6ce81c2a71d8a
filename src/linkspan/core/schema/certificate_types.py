"""The types of attributes of certificates: PEM texts, distinguished names, alternative names, URLs of revocation lists.

What is in a PEM text is checked where it is parsed (`linkspan.pki`): here it is text of a bounded size.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

from linkspan.core.errors import invalid
from linkspan.core.ipsec import distinguished_names, identities
from linkspan.core.schema.attribute_types import AttributeType, Column, Schema, text_fault

KEY_ALGORITHMS: Final = ("ecdsa-p256", "ecdsa-p384", "ed25519", "rsa-2048", "rsa-3072", "rsa-4096")
"""The kinds of keys that certificates of gateways have."""
LARGEST_PEM: Final = 49_152
"""Characters of a PEM text: with it, a request has less than `operations.MAX_BODY` bytes."""
LARGEST_KEY: Final = 8_192
"""Characters of a private key: one of RSA-4096 has 3,272."""
MAX_NAMES: Final = 16
MAX_URLS: Final = 8
MAX_PINS: Final = 4
"""Certificates of a peer: two, or twice as many, while they are exchanged."""

_PEM_PATTERN: Final = "^[\\x09\\x0a\\x0d\\x20-\\x7e]*$"
_URL_LENGTH: Final = 1024


class PemText(AttributeType, frozen=True):
    """A PEM text; null and empty text mean none. The text in an error would be long, and says nothing to a reader."""

    max_length: int = LARGEST_PEM

    def convert(self, name: str, value: Any) -> str | None:
        if value is None or value == "":
            return None
        _check_pem(name, value, self.max_length)
        return str(value)

    def schema(self) -> Schema:
        return {"type": ["string", "null"], "format": "pem", "maxLength": self.max_length, "pattern": _PEM_PATTERN}

    def shown(self) -> Schema:
        return {"type": ["string", "null"], "format": "pem"}


class PemList(AttributeType, frozen=True):
    """A list of PEM texts; a string is a list of one."""

    @property
    def column(self) -> Column:
        return "json"

    def convert(self, name: str, value: Any) -> list[str]:
        items = _items(name, value, MAX_PINS)
        for item in items:
            _check_pem(name, item, LARGEST_PEM // MAX_PINS)
        return items

    def schema(self) -> Schema:
        one = {"type": "string", "format": "pem", "maxLength": LARGEST_PEM // MAX_PINS, "pattern": _PEM_PATTERN}
        return {"oneOf": [{"type": "array", "items": one, "maxItems": MAX_PINS}, one]}

    def shown(self) -> Schema:
        return {"type": "array", "items": {"type": "string", "format": "pem"}}


class DistinguishedName(AttributeType, frozen=True):
    """A distinguished name as `core.ipsec.distinguished_names` has it; null and empty text mean none."""

    def convert(self, name: str, value: Any) -> str:
        if value is None or value == "":
            return ""
        if not isinstance(value, str):
            raise invalid(name, "a distinguished name is a text")
        if len(value) > identities.MAX_LENGTH:
            raise invalid(name, f"a distinguished name has at most {identities.MAX_LENGTH} characters")
        if fault := text_fault(value):
            raise invalid(name, fault)
        try:
            return distinguished_names.parse(value)
        except ValueError as error:
            raise invalid(name, str(error)) from None

    def schema(self) -> Schema:
        return {"type": ["string", "null"], "format": "distinguished-name", "maxLength": identities.MAX_LENGTH}

    def shown(self) -> Schema:
        return {"type": "string"}


class AlternativeNames(AttributeType, frozen=True):
    """Subject alternative names: DNS names, mail addresses and IP addresses, as IKE identities write them."""

    @property
    def column(self) -> Column:
        return "json"

    def convert(self, name: str, value: Any) -> list[str]:
        names: list[str] = []
        for item in _items(name, value, MAX_NAMES):
            try:
                identity = identities.parse(item)
            except ValueError as error:
                raise invalid(name, str(error)) from None
            if identity.kind in ("keyid", "dn"):
                raise invalid(name, f"'{item}' is neither a DNS name nor a mail address nor an IP address")
            if identity.text in names:
                raise invalid(name, f"'{item}' is in the list twice")
            names.append(identity.text)
        return names

    def schema(self) -> Schema:
        one = {"type": "string", "format": "ike-identity", "minLength": 1, "maxLength": identities.MAX_LENGTH}
        return {"oneOf": [{"type": "array", "items": one, "maxItems": MAX_NAMES, "uniqueItems": True}, one]}

    def shown(self) -> Schema:
        return {"type": "array", "items": {"type": "string"}}


class CrlUrls(AttributeType, frozen=True):
    """Addresses from which nodes fetch revocation lists: http only, as RFC 5280 (8) has it: a list is signed, and to
    check the certificate of its server could need the list."""

    @property
    def column(self) -> Column:
        return "json"

    def convert(self, name: str, value: Any) -> list[str]:
        urls = _items(name, value, MAX_URLS)
        for url in urls:
            if fault := _url_fault(url):
                raise invalid(name, f"'{url[:100]}' {fault}")
        if len(set(urls)) < len(urls):
            raise invalid(name, "an URL is in the list twice")
        return urls

    def schema(self) -> Schema:
        one = {"type": "string", "format": "uri", "pattern": "^http://", "maxLength": _URL_LENGTH}
        return {"oneOf": [{"type": "array", "items": one, "maxItems": MAX_URLS, "uniqueItems": True}, one]}

    def shown(self) -> Schema:
        return {"type": "array", "items": {"type": "string", "format": "uri"}}


def _url_fault(url: str) -> str:
    if len(url) > _URL_LENGTH or not url.isascii() or not url.isprintable() or " " in url:
        return f"is no URL of at most {_URL_LENGTH} ASCII characters"
    try:
        parts = urlsplit(url)
        # Parsed when it is asked for.
        _ = parts.port
    except ValueError:
        return "is no URL"
    if parts.scheme != "http":
        return "is not a URL of http: revocation lists are signed, and are fetched by http only"
    if not parts.hostname:
        return "has no host"
    if parts.username is not None or parts.password is not None:
        return "has a user: revocation lists are public"
    return "has a fragment" if parts.fragment else ""


def _items(name: str, value: Any, most: int) -> list[str]:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise invalid(name, "it is not a list of texts")
    if len(items) > most:
        raise invalid(name, f"at most {most} are allowed, got {len(items)}")
    return list(items)


def _check_pem(name: str, value: Any, most: int) -> None:
    if not isinstance(value, str):
        raise invalid(name, "PEM is a text")
    if len(value) > most:
        raise invalid(name, f"it has {len(value)} characters, and {most} are the most")
    if not value.isascii() or not all(char.isprintable() or char in "\t\r\n" for char in value):
        raise invalid(name, "PEM has printable ASCII characters only")
