"""Readers of the syntaxes of other devices, strict and by their manuals: a text as its parts.

A text of a user that got out of its place would change the parts, or make more of them.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from typing import Any, Final

import hcl2
import msgspec

Parts = list[list[str]]


class NotRead(Exception):
    """A text is not of the syntax."""


def _lines(text: str, comment: str) -> list[str]:
    """The lines without comments. No format has a comment after something else."""
    assert text.endswith("\n")
    return [line for line in text.split("\n")[:-1] if not line.lstrip().startswith(comment)]


def _tokens(line: str, token: str) -> list[str]:
    """The tokens of a line, with blanks between them."""
    found, at = [], 0
    for match in re.finditer(rf"[ \t]*(?P<token>{token})(?=[ \t]|$)", line):
        if match.start() != at:
            break
        at = match.end()
        found.append(match["token"])
    if line[at:].strip(" \t"):
        raise NotRead(line)
    return found


def words(comment: str, quoted: str = "") -> Callable[[str], Parts]:
    """The reader of a syntax of lines of words; `quoted`: what else a token may be."""
    plain = r"[^\s\"'\\?`;]+"
    token = f"{quoted}|{plain}" if quoted else plain
    return lambda text: [_tokens(line, token) for line in _lines(text, comment)]


def swanctl(text: str) -> Parts:
    """Sections and settings: `name {`, `}`, `key = value`, where a value may be between double quotes."""
    parts: Parts = []
    depth = 0
    for line in _lines(text, "#"):
        if match := re.fullmatch(r"\s*([a-z0-9-]+) \{", line):
            depth += 1
            parts.append(["{", match[1]])
        elif line.strip() == "}":
            depth -= 1
            parts.append(["}"])
        elif match := re.fullmatch(r'\s*([a-z_0-9-]+) = ("(?:[^"\\\n]|\\["\\])*"|[^"#{}\s]+)', line):
            parts.append(["=", match[1], match[2]])
        else:
            raise NotRead(line)
        assert depth >= 0
    assert depth == 0
    return parts


_SETTING: Final = re.compile(
    r'    ([a-z0-9-]+)=("[^"]*"|\{[0-9a-f.:/,]+\}|@#[0-9a-f]+|[A-Za-z0-9%@._:/;,-]+)',
)
_KEY: Final = re.compile(r'(@#[0-9a-f]+|[^"#\s]+) (@#[0-9a-f]+|[^"#\s]+) : PSK ("[^"\\\']*"|0x[0-9a-f]+)')


def ipsec_conf(text: str) -> Parts:
    """`conn NAME`, and indented settings; or the one line of secrets."""
    parts: Parts = []
    for line in _lines(text, "#"):
        if match := re.fullmatch(r"conn ([a-z0-9-]+)", line):
            parts.append(["conn", match[1]])
        elif match := _SETTING.fullmatch(line):
            parts.append([match[1], match[2]])
        elif match := _KEY.fullmatch(line):
            parts.append(["PSK", match[1], match[2], match[3]])
        else:
            raise NotRead(line)
    return parts


def shell(text: str) -> Parts:
    """Commands of a POSIX shell, each a line; a quoted text may have line breaks."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.whitespace = " \t"
    parts: Parts = [[]]
    for token in lexer:
        if token == "\n":
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def hcl(text: str) -> Parts:
    """A file of HCL 2, as python-hcl2 reads it: each value with the way to it."""
    found: Any = hcl2.loads(text)
    return [list(map(str, way)) for way in _leaves(found, ())]


def _leaves(value: Any, way: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [leaf for key, inner in value.items() for leaf in _leaves(inner, (*way, key))]
    if isinstance(value, list):
        return [leaf for place, inner in enumerate(value) for leaf in _leaves(inner, (*way, place))]
    return [(*way, value)]


def json(text: str) -> Parts:
    """A JSON text: each value with the way to it."""
    return [list(map(str, way)) for way in _leaves(msgspec.json.decode(text), ())]


def whole(text: str) -> Parts:
    """A file that is one value."""
    assert text.endswith("\n")
    return [[text[:-1]]]


def values(text: str) -> Parts:
    """A line for each value: the label, and two blanks or more before the value."""
    lines = [line for line in text.splitlines()[2:] if not line.startswith("#")]
    return [re.split(r" {2,}", line, maxsplit=1) for line in lines]


_DOUBLE: Final = r'"[^"\\?]*"'
READERS: Final[dict[str, Callable[[str], Parts]]] = {
    "peer.txt": values,
    "peer.json": json,
    "swanctl.conf": swanctl,
    "linkspan.conf": swanctl,
    "ipsec.conf": ipsec_conf,
    "ipsec.secrets": ipsec_conf,
    "connection.sh": shell,
    "psk.txt": whole,
    "vyos.txt": words("#", r"'[^'\"\\]*'"),
    "ios-xe.txt": words("!"),
    "asa.txt": words("!"),
    "fortigate.txt": words("#", _DOUBLE),
    "srx.txt": words("#", r'"[^"\\]*"'),
    "linkspan.rsc": words("#", r'(?:[a-z-]+=)?"(?:[A-Za-z0-9 ._@:/+=,*()-]|\\[0-9A-F]{2})*"'),
    "pan-os.txt": words("#"),
    "linkspan.tf": hcl,
}
"""By the name of a file, the reader of its syntax."""
