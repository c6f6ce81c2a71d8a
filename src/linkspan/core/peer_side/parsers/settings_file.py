"""strongSwan's settings files (strongswan.conf(5)), such as swanctl.conf: sections, values, references, comments.

As strongSwan's own parser: a value ends with its line, a `#` or a brace; strings in quotes may go over several lines;
the same section or key again extends or replaces the first one; `name : other.section` takes what that one has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from linkspan.core.peer_side.parsers.reading import DEPTH, Ignored, StatedValue, Unreadable, shown

_TOKEN: Final = re.compile(r"(?P<blank>[\t ]+|#[^\n]*)|(?P<newline>\n)|(?P<mark>[{}=:,])|(?P<name>[^#{}=:,\"\n\t ]+)")
_VALUE: Final = re.compile(r"[\t ]+|(?P<string>\")|(?P<word>[^#}\"\n\t ]+)")
_STRING: Final = re.compile(r"(?P<plain>[^\\\"]+)|(?P<end>\")|\\(?P<escaped>.|\n)", re.DOTALL)
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "\n": ""}


class Section:
    """A section: values by key, sections by name, references to others; `line`: where it begins."""

    def __init__(self, line: int) -> None:
        self.line = line
        self.values: dict[str, StatedValue] = {}
        self.sections: dict[str, Section] = {}
        self.references: list[StatedValue] = []

    def get(self, key: str, default: str = "") -> StatedValue:
        """The value of a key; without one the default, on line 0."""
        return self.values.get(key, StatedValue(default, 0))


def parse(text: str) -> tuple[Section, list[Ignored]]:
    """The outermost section, references followed. Raises Unreadable."""
    return _Parser(text).parsed()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line = 1
        self._ignored: list[Ignored] = []

    def parsed(self) -> tuple[Section, list[Ignored]]:
        root = Section(1)
        stack = [root]
        while (word := self._word()) is not None:
            if word == "}":
                if len(stack) == 1:
                    raise Unreadable(self._line, "there is a '}' without a section that it ends")
                stack.pop()
            elif word in ("{", "=", ":", ",", '"'):
                raise Unreadable(self._line, f"there should be the name of a section or key before '{word}'")
            elif word == "include" and self._peek() not in ("=", "{", ":"):
                self._include()
            else:
                self._statement(word, stack)
        if len(stack) > 1:
            raise Unreadable(self._line, f"the section that begins on line {stack[-1].line} has no '}}' at its end")
        _follow(root)
        return root, self._ignored

    def _statement(self, name: str, stack: list[Section]) -> None:
        line = self._line
        mark = self._peek()
        if mark == "=":
            self._at += 1
            value = self._value()
            stack[-1].values[name] = value
            return
        references = self._references() if mark == ":" else []
        # A section may open on the next line.
        if self._word() != "{":
            raise Unreadable(line, f"after '{shown(name)}' there should be '=' or '{{'")
        if len(stack) > DEPTH:
            raise Unreadable(line, f"sections are nested deeper than {DEPTH} levels")
        section = stack[-1].sections.setdefault(name, Section(line))
        section.references += references
        stack.append(section)

    def _references(self) -> list[StatedValue]:
        self._at += 1
        found: list[StatedValue] = []
        while (word := self._word()) not in ("{", None):
            if word == ",":
                continue
            if word in ("}", "=", ":", '"'):
                raise Unreadable(self._line, "after ':' there should be the names of sections")
            found.append(StatedValue(str(word), self._line))
        self._at -= word is not None
        return found

    def _include(self) -> None:
        end = self._text.find("\n", self._at)
        end = len(self._text) if end < 0 else end
        what = self._text[self._at : end].strip().strip('"')
        self._ignored.append(Ignored(self._line, f"include {shown(what)} is not followed: paste that file too"))
        self._at = end

    def _word(self) -> str | None:
        """The next name or mark, on whatever line; None at the end."""
        while self._at < len(self._text):
            match = _TOKEN.match(self._text, self._at)
            if match is None:
                return '"'
            self._at = match.end()
            if match["newline"]:
                self._line += 1
            elif not match["blank"]:
                return match[0]
        return None

    def _peek(self) -> str:
        """The next character on this line, blanks left out."""
        while self._text[self._at : self._at + 1] in ("\t", " "):
            self._at += 1
        return self._text[self._at : self._at + 1]

    def _value(self) -> StatedValue:
        line = self._line
        parts: list[str] = []
        while match := _VALUE.match(self._text, self._at):
            self._at = match.end()
            if match["string"]:
                parts.append("".join(self._string(line)))
            elif match["word"]:
                parts.append(match["word"])
        return StatedValue(" ".join(parts), line)

    def _string(self, line: int) -> Iterator[str]:
        while match := _STRING.match(self._text, self._at):
            self._at = match.end()
            self._line += match[0].count("\n")
            if match["end"]:
                return
            yield match["plain"] or _ESCAPES.get(match["escaped"], match["escaped"])
        raise Unreadable(line, "the string that begins here has no '\"' at its end")


def _follow(root: Section) -> None:
    """Puts what references name into the sections that have them."""
    budget = [20_000]
    _resolve(root, root, (), budget)


def _resolve(section: Section, root: Section, path: tuple[int, ...], budget: list[int]) -> None:
    for inner in list(section.sections.values()):
        _resolve(inner, root, path, budget)
    references, section.references = section.references, []
    for reference in references:
        target: Section | None = root
        for part in reference.text.split("."):
            target = target.sections.get(part) if target else None
        if target is None:
            raise Unreadable(reference.line, f"there is no section '{shown(reference.text)}'")
        if id(target) in path or target is section or len(path) > DEPTH:
            raise Unreadable(reference.line, f"'{shown(reference.text)}' refers to itself, or over too many sections")
        if target.references:
            _resolve(target, root, (*path, id(section)), budget)
        _inherit(section, target, reference.line, budget)


def _inherit(section: Section, other: Section, line: int, budget: list[int], depth: int = 0) -> None:
    budget[0] -= 1 + len(other.values)
    if budget[0] < 0 or depth > DEPTH:
        raise Unreadable(line, "references make the configuration too large")
    for key, value in other.values.items():
        section.values.setdefault(key, value)
    for name, inner in list(other.sections.items()):
        if inner is not section:
            _inherit(section.sections.setdefault(name, Section(inner.line)), inner, line, budget, depth + 1)
