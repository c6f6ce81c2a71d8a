"""Values as strongSwan and its relatives write them: times, volumes, identities, keys, addresses and networks."""

from __future__ import annotations

import base64
import binascii
import ipaddress
from collections.abc import Iterable, Iterator
from typing import Final

from linkspan.core.addresses import as_network
from linkspan.core.ipsec import distinguished_names
from linkspan.core.peer_side.parsers.reading import MOST_VALUES, StatedValue, Unreadable, shown
from linkspan.core.secret import Secret

_TIMES: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "": 1}
_SIZES: Final = {"k": 1024, "m": 1024**2, "g": 1024**3, "": 1}
_YES: Final = {"yes": True, "true": True, "1": True, "enabled": True, "on": True}
_NO: Final = {"no": False, "false": False, "0": False, "disabled": False, "off": False}
ANY: Final = frozenset({"%any", "%any4", "%any6", "0.0.0.0", "::", "0.0.0.0/0", "::/0", "%default"})  # noqa: S104 # read
"""Texts of an address that is not fixed."""
DYNAMIC: Final = "dynamic"
"""The network of a side that states none: the address of its gateway."""


def seconds(value: StatedValue) -> int:
    """A time, as `1h`."""
    return _counted(value, _TIMES, "a time such as 3600, 60m or 1h")


def volume(value: StatedValue) -> int:
    """A volume in bytes, as `500m`."""
    return _counted(value, _SIZES, "a volume such as 1000000 or 500m")


def number(value: StatedValue) -> int:
    """A whole number."""
    return _counted(value, {"": 1}, "a whole number")


def _counted(value: StatedValue, units: dict[str, int], expected: str) -> int:
    text = value.text.strip().lower()
    digits = text.rstrip("abcdefghijklmnopqrstuvwxyz")
    unit = text[len(digits) :][:1] if len(text) - len(digits) <= 7 else "?"
    if not digits.isascii() or not digits.isdigit() or len(digits) > 15 or unit not in units:
        raise Unreadable(value.line, f"'{shown(value.text)}' should be {expected}")
    return int(digits) * units[unit]


def truth(value: StatedValue) -> bool:
    """Yes or no."""
    text = value.text.strip().lower()
    if text not in _YES and text not in _NO:
        raise Unreadable(value.line, f"'{shown(value.text)}' should be yes or no")
    return text in _YES


def chosen(value: StatedValue, choices: Iterable[str]) -> str:
    """One of some words."""
    text = value.text.strip().lower()
    known = tuple(choices)
    if text not in known:
        raise Unreadable(value.line, f"'{shown(value.text)}' should be one of {', '.join(known)}")
    return text


def listed(value: StatedValue, separator: str = ",") -> list[StatedValue]:
    """The parts of a list. Raises Unreadable for too many."""
    parts = [part.strip() for part in value.text.split(separator)]
    found = [StatedValue(part, value.line) for part in parts if part]
    if len(found) > MOST_VALUES:
        raise Unreadable(value.line, f"a list has {MOST_VALUES} values at most, this has {len(found)}")
    return found


def addresses(values: Iterable[StatedValue]) -> str:
    """The addresses or names of an end, separated by commas; empty if it may have any."""
    found = []
    for value in values:
        text = value.text.lower()
        if text in ANY or text.startswith(("%default", "%group", "%opportunistic")):
            return ""
        found.append(_address(text))
    return ",".join(dict.fromkeys(found))


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return text


def network(value: StatedValue) -> str:
    """A network: CIDR, address, range or `dynamic`, with protocol and port in brackets if there are any."""
    text, bracket, rest = value.text.strip().partition("[")
    text = text.strip()
    if text in ("", DYNAMIC):
        found = DYNAMIC
    elif "-" in text:
        found = _range(StatedValue(text, value.line))
    elif (known := as_network(text if "/" in text else f"{text}/{128 if ':' in text else 32}")) is not None:
        found = str(known)
    else:
        raise Unreadable(value.line, f"'{shown(value.text)}' should be a network such as 10.1.0.0/24")
    return f"{found}[{rest}" if bracket else found


def _range(value: StatedValue) -> str:
    try:
        first, last = (ipaddress.ip_address(part.strip()) for part in value.text.split("-", 1))
        networks = list(ipaddress.summarize_address_range(first, last))
    except (ValueError, TypeError):
        raise Unreadable(value.line, f"'{shown(value.text)}' should be a range such as 10.1.0.1-10.1.0.9") from None
    return str(networks[0]) if len(networks) == 1 else f"{first}-{last}"


def products(local: Iterable[str], remote: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The pairs of networks that can be pairs."""
    others = list(remote)
    for left in local:
        for right in others:
            if DYNAMIC in (left, right) or (":" in left) == (":" in right):
                yield left, right


def charon_identity(text: str) -> str:
    """An identity as charon reads it, in the API's text; empty if it is any.

    charon's guess differs from the API's: what has neither a colon nor a sign is a name, whatever is in it
    (strongSwan: identification.c, identification_create_from_string).
    """
    text = text.strip()
    if text in ("", "%any", "%any4", "%any6", "0.0.0.0", "::", "*"):  # noqa: S104 # read, not bound
        return ""
    prefix, colon, value = text.partition(":")
    if colon and prefix.lower() in ("ipv4", "ipv6", "rfc822", "email", "userfqdn", "fqdn", "dns", "keyid", "asn1dn"):
        if prefix.lower() == "keyid":
            return f"keyid:{_unhexed(value[1:], value) if value.startswith('#') else value}"
        return text
    if "=" in text and distinguished_names.looks_like_one(text):
        return text
    if text.startswith("@#"):
        return f"keyid:{_unhexed(text[2:], text)}"
    if text.startswith("@@"):
        return f"email:{text[2:]}"
    if text.startswith("@"):
        return f"fqdn:{text[1:]}"
    if "@" in text:
        return f"email:{text}"
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return f"keyid:{text}" if ":" in text else f"fqdn:{text}"


def _unhexed(digits: str, otherwise: str) -> str:
    try:
        return bytes.fromhex(digits.replace(":", "")).decode()
    except ValueError:
        return otherwise


def key(value: StatedValue) -> Secret:
    """A pre-shared key: text, or bytes after `0x` or `0s` (base64). Bytes that are no text equal no key of the API."""
    text = value.text
    try:
        if text.startswith("0x"):
            raw = bytes.fromhex(text[2:].replace("_", ""))
        elif text.startswith("0s"):
            raw = base64.b64decode(text[2:], validate=True)
        else:
            return Secret(text)
    except (ValueError, binascii.Error):
        raise Unreadable(value.line, "the key after 0x or 0s should be hexadecimal digits, or base64") from None
    try:
        return Secret(raw.decode())
    except UnicodeDecodeError:
        return Secret(f"\0{raw.hex()}")
