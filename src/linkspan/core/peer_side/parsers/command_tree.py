"""VyOS configurations as one tree: `set` commands, or sections in braces as `show configuration` prints them.

Every word is a node below the word before it, and a value is a node without any below.
"""

from __future__ import annotations

import re
from typing import Final

from linkspan.core.peer_side.parsers.reading import DEPTH, StatedValue, Unreadable, shown

_WORD: Final = re.compile(
    r"(?P<blank>[ \t]+|/\*.*?\*/|//[^\n]*)|(?P<end>\n|;)|(?P<mark>[{}])|\"(?P<double>(?:[^\"\\\n]|\\.)*)\""
    r"|'(?P<single>[^'\n]*)'|(?P<plain>[^\s{}\"';]+)",
    re.DOTALL,
)
_PROMPT: Final = re.compile(r"^[\w.-]+@[\w.-]+[#$:~]+\s*")
_WORDS: Final = 24
"""Words of a command."""


class CommandNode:
    """A word; `line`: where it stands first."""

    def __init__(self, line: int) -> None:
        self.line = line
        self.below: dict[str, CommandNode] = {}

    def at(self, *path: str) -> CommandNode:
        """The node at the end of a path; an empty one without lines if there is none."""
        node: CommandNode | None = self
        for word in path:
            node = node.below.get(word) if node else None
        return node or CommandNode(0)

    def value(self, *path: str, default: str = "") -> StatedValue:
        """The value at the end of a path, the last one if it has several."""
        node = self.at(*path)
        return next(
            (StatedValue(word, below.line) for word, below in reversed(node.below.items())), StatedValue(default, 0)
        )

    def values(self, *path: str) -> list[StatedValue]:
        """All values at the end of a path."""
        return [StatedValue(word, below.line) for word, below in self.at(*path).below.items()]

    def has(self, *path: str) -> bool:
        """True if a path exists."""
        return self.at(*path).line > 0

    def grow(self, words: list[str], line: int) -> CommandNode:
        """The node at the end of these words, made if it is missing."""
        node = self
        for word in words:
            node = node.below.setdefault(word, CommandNode(line))
        return node


def parse(text: str) -> CommandNode:
    """The tree of a configuration, in either form. Raises Unreadable."""
    root = CommandNode(1)
    stack = [root]
    opened = [1]
    words: list[str] = []
    line, at = 1, 0
    while at < len(text):
        match = _WORD.match(text, at)
        if match is None:
            raise Unreadable(line, "there is a quote without its other one")
        if match["end"] or match["mark"] == "}":
            _command(stack, words, line)
            words = []
        if match["mark"] == "{":
            if not words or len(stack) > DEPTH:
                raise Unreadable(line, f"there should be a name before '{{', on {DEPTH} levels at most")
            stack.append(stack[-1].grow(words, line))
            opened.append(line)
            words = []
        elif match["mark"] == "}":
            if len(stack) == 1:
                raise Unreadable(line, "there is a '}' without a section that it ends")
            stack.pop()
            opened.pop()
        elif word := _word(match):
            words.append(word)
        line += match[0].count("\n")
        at = match.end()
    _command(stack, words, line)
    if len(stack) > 1:
        raise Unreadable(line, f"the section that begins on line {opened[-1]} has no '}}' at its end")
    return root


def _word(match: re.Match[str]) -> str:
    if match["double"] is not None:
        return re.sub(r"\\(.)", r"\1", match["double"])
    return match["single"] or match["plain"] or ""


def _command(stack: list[CommandNode], words: list[str], line: int) -> None:
    """Adds a line: a `set` command, or a leaf inside a section."""
    if words and len(stack) == 1 and words[0] != "set":
        if _PROMPT.match(words[0]) and "set" in words[1:3]:
            words = words[words.index("set") :]
        else:
            # Prompts, other commands and comments around what was copied.
            return
    path = words[1:] if len(stack) == 1 else words
    if len(path) > _WORDS:
        raise Unreadable(line, f"a command has {_WORDS} words at most: {shown(path[0])}")
    stack[-1].grow(path, line)
