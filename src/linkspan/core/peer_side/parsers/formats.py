"""The formats that can be read, and which of them a text is in."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from linkspan.core.peer_side.parsers import ios_xe, libreswan, stroke, swanctl, vyos
from linkspan.core.peer_side.parsers.reading import Format, Reading, Unreadable, decoded

READERS: Final[Mapping[Format, Callable[[str], Reading]]] = {
    "swanctl": swanctl.read,
    "ipsec.conf": stroke.read,
    "libreswan": libreswan.read,
    "vyos": vyos.read,
    "cisco-ios-xe": ios_xe.read,
}
_MARKS: Final[tuple[tuple[Format, re.Pattern[str]], ...]] = (
    ("vyos", re.compile(r"\bset[\t ]+vpn[\t ]+ipsec\b|^[\t ]*site-to-site[\t ]*\{", re.MULTILINE)),
    ("cisco-ios-xe", re.compile(r"^[\t ]*crypto[\t ]+(ikev2|isakmp|ipsec|map)\b", re.MULTILINE)),
    ("swanctl", re.compile(r"^[\t ]*(connections|secrets)[\t ]*(\{|$)", re.MULTILINE)),
    (
        "libreswan",
        re.compile(
            r"^[\t ]+(ikev2|ikev1-policy|phase2(alg)?|pfs|pfsgroup|salifetime|ipsec-lifetime|leftsubnets|rightsubnets"
            r"|leftnexthop|rightnexthop|nssdir|plutodebug|dnssec-enable|aggrmode)[\t ]*="
            r"|^[\t ]+auto[\t ]*=[\t ]*(ondemand|up|keep)\b"
            r"|^[\t ]+(ike|esp)[\t ]*=.*(;(modp|dh)|-dh[0-9]|aes_gcm)",
            re.MULTILINE,
        ),
    ),
    ("ipsec.conf", re.compile(r"^conn[\t ]+\S", re.MULTILINE)),
)
"""Signs that only one format has. The first one that a text has decides."""
NARROWS_V1: Final[frozenset[Format]] = frozenset({"swanctl", "ipsec.conf", "vyos"})
"""Formats of charon, which narrows networks with IKEv1 too."""
NAMES: Final[tuple[Format, ...]] = tuple(READERS)


def read(text: bytes, wanted: Format | None = None) -> Reading:
    """The connections of a configuration, in a format or in the one that is found. Raises Unreadable."""
    plain = decoded(text)
    return READERS[wanted or detected(plain)](plain)


def detected(text: str) -> Format:
    """The format of a text. Raises Unreadable if it has the marks of none."""
    for name, mark in _MARKS:
        if mark.search(text):
            return name
    raise Unreadable(0, f"this is none of the formats that are read: name one of {', '.join(READERS)}")
