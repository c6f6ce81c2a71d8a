"""Distinguished names as IKE identities, in the only text that charon reads as one: `C=CH, O=Lab, CN=gw`.

charon separates the parts at every comma and slash and knows no escapes, and a type that it does not know makes a key
id of the whole text (strongSwan: identification.c, atodn). So a name with such a part has no text here. The parts are
in the order of the certificate; their case counts.
"""

from __future__ import annotations

from typing import Final

TYPES: Final = ("C", "ST", "L", "STREET", "O", "OU", "CN", "E", "DC", "UID", "SN", "G", "T", "serialNumber")
"""The types of parts, as they are written."""
_BY_NAME: Final = {name.lower(): name for name in TYPES} | {"emailaddress": "E", "email": "E", "s": "ST"}
_SEPARATING: Final = ',/+\\";'


def looks_like_one(text: str) -> bool:
    """True for a text that begins with a type and an equals sign."""
    type, equals, _ = text.partition("=")
    return bool(equals) and type.strip().isascii() and type.strip().isalpha()


def split(text: str) -> list[tuple[str, str]]:
    """The (type, value) pairs of a name. Raises ValueError with one sentence."""
    parts: list[tuple[str, str]] = []
    for part in text.split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not value:
            raise ValueError("a distinguished name is a list of TYPE=value, separated by commas")
        type = _BY_NAME.get(name.lower())
        if type is None:
            raise ValueError(f"'{name}' is no type of a distinguished name: known are {', '.join(TYPES)}")
        if any(char in _SEPARATING for char in value):
            raise ValueError(f"the {type} of a distinguished name cannot contain {' '.join(_SEPARATING)}")
        parts.append((type, value))
    return parts


def parse(text: str) -> str:
    """The canonical text of a name. Raises ValueError with one sentence."""
    return ", ".join(f"{type}={value}" for type, value in split(text))
