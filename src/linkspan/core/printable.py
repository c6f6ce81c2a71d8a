"""Printable text: characters that show as themselves, by their Unicode categories.

Control characters, also those of C1, can command a terminal; bidirectional and zero-width ones (category Cf) make a
text look like another one. What is not assigned, private or a half of a surrogate pair has no shape at all.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from typing import Final

_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Letters and marks without a width and without effect on others (Default_Ignorable_Code_Point).
_INVISIBLE: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\uffa0")

_UNPRINTABLE: Final = (
    r"\x7f-\x9f\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    r"\u2028-\u202e\u2060-\u206f\u3164\ue000-\uf8ff\ufeff\uffa0\ufff0-\ufffb"
)


def pattern(controls: str) -> str:
    """A regular expression for text without these control characters and without most of what else is not printable:
    for schemas, which know no categories."""
    return f"^[^{controls}{_UNPRINTABLE}]*$"


def unprintable(text: str, allowed: Collection[str] = ()) -> str:
    """The first character that is not printable, nor one of these; empty if all are."""
    if text.isascii() and text.isprintable():
        return ""
    return next((char for char in text if char not in allowed and not is_printable(char)), "")


def is_printable(char: str) -> bool:
    """True for a character that shows as itself, a blank included."""
    return unicodedata.category(char) not in _CATEGORIES and char not in _INVISIBLE


def name_of(char: str) -> str:
    """How to write a character that does not show: U+202E."""
    return f"U+{ord(char):04X}"


def harmless(text: str, allowed: Collection[str] = ()) -> str:
    """A text with its unprintable characters named in their places: for terminals, whoever wrote it."""
    if not unprintable(text, allowed):
        return text
    return "".join(char if char in allowed or is_printable(char) else f"<{name_of(char)}>" for char in text)


def harmless_json(text: str) -> str:
    r"""A JSON text with its unprintable characters as \u escapes: the same value, and harmless on a terminal."""
    if not unprintable(text, "\n"):
        return text
    return "".join(char if char == "\n" or is_printable(char) else _escape(char) for char in text)


def _escape(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def bounded(text: str, most: int) -> str:
    """A text from elsewhere, harmless and of at most so many characters."""
    # Cut first: what is a thousand times too long need not be read to its end.
    short = harmless(text[: most + 1])
    return short if len(short) <= most else f"{short[: most - 1]}…"


_LINE_BREAKS: Final = re.compile(r"[\r\n]+")


def one_line(text: str) -> str:
    """A text for one line of a terminal."""
    return harmless(_LINE_BREAKS.sub(" ", text), "\t")
