"""Common to all parsers of configurations: their result, their fault, and the bounds of what they read."""

from __future__ import annotations

import re
from typing import Final, Literal

import msgspec

from linkspan.core.peer_side.site_config import SiteConfig
from linkspan.core.secret import Secret

Format = Literal["swanctl", "ipsec.conf", "libreswan", "vyos", "cisco-ios-xe"]

MOST_BYTES: Final = 262_144
"""Bytes of a configuration."""
MOST_CONNECTIONS: Final = 512
"""Connections of a configuration."""
MOST_PAIRS: Final = 256
"""Pairs of networks of a connection, as many as a node takes."""
MOST_VALUES: Final = 64
"""Values of a list, such as proposals."""
MOST_SUITES: Final = 2048
"""Suites that a list of proposals stands for."""
DEPTH: Final = 16
"""Levels of sections inside each other, and of references."""
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")


class Unreadable(Exception):
    """A text is no configuration of its format. `line`: from 1, 0 if it is of no single line; `text`: what was
    expected, for a person."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(f"line {line}: {text}" if line else text)
        self.line = line
        self.text = text


class StatedKey(msgspec.Struct, frozen=True):
    """A pre-shared key of a configuration. `owners`: identities in the API's text, or addresses; none: any."""

    owners: tuple[str, ...]
    key: Secret
    line: int


class Ignored(msgspec.Struct, frozen=True):
    """A statement that was not followed, such as an include."""

    line: int
    text: str


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A connection of a configuration, by `name`. `config`: seen from the end that it configures.

    `either_end`: its sides are left and right, and `local` in `config` is left, which may be the other end.
    """

    name: str
    config: SiteConfig
    either_end: bool = False


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration. `keys`: its pre-shared keys, empty if it has none at all."""

    format: Format
    candidates: tuple[Candidate, ...]
    keys: tuple[StatedKey, ...] = ()
    ignored: tuple[Ignored, ...] = ()


class StatedValue(msgspec.Struct, frozen=True):
    """A value and the line that states it."""

    text: str
    line: int


def decoded(text: bytes) -> str:
    """The text of a pasted configuration, with line feeds. Raises Unreadable for what is no text or too much."""
    if len(text) > MOST_BYTES:
        raise Unreadable(0, f"the configuration has {len(text)} bytes, and {MOST_BYTES} are read at most")
    try:
        decoded = text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(text.count(b"\n", 0, error.start) + 1, "this is not UTF-8: paste the text itself") from None
    if control := _CONTROL.search(decoded):
        line = decoded.count("\n", 0, control.start()) + 1
        raise Unreadable(line, "there is a control character: paste the text itself")
    return decoded.replace("\r\n", "\n").replace("\r", "\n").replace("\f", " ")


def shown(text: str) -> str:
    """A word of a configuration for an error: short and printable."""
    short = text if len(text) <= 40 else f"{text[:40]}…"
    return "".join(char if char.isprintable() else "?" for char in short)
