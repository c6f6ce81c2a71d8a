"""Common to both kinds of Cisco devices: the texts that a line of their configuration can hold."""

from __future__ import annotations

from typing import Final

from linkspan.core.ipsec.identities import Identity
from linkspan.core.peer_side.device import Alphabet

_CHARACTERS: Final = r"A-Za-z0-9._@:/+=,~^*%&#$!()-"
ID_TEXT: Final = Alphabet(rf"[A-Za-z0-9._@][{_CHARACTERS}]{{0,126}}", "at most 127 letters, digits and common signs")
PSK: Final = Alphabet(
    rf"[A-Za-z0-9._@][{_CHARACTERS}]{{0,126}}",
    "1 to 127 letters, digits and some signs, without '?', quotes, blanks and backslashes,",
)
_KINDS: Final = {"ipv4": "address", "ipv6": "address", "fqdn": "fqdn", "email": "email", "keyid": "key-id"}


def typed(identity: Identity) -> str:
    """An identity with the word for its type."""
    return f"{_KINDS[identity.kind]} {identity.text}"
