"""Cisco IOS-XE configurations as blocks: a command at the start of a line, and the indented ones below it."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec


class Command(msgspec.Struct, frozen=True):
    """A command in lower case; `raw`: as it is written."""

    line: int
    words: tuple[str, ...]
    raw: tuple[str, ...]

    def after(self, *start: str) -> tuple[str, ...] | None:
        """The words after these; None if the command begins otherwise. Nothing is abbreviated in what
        `show running-config` prints."""
        return self.words[len(start) :] if self.words[: len(start)] == start else None


class CommandBlock(msgspec.Struct, frozen=True):
    """A command and those below it."""

    head: Command
    inner: tuple[Command, ...]

    def find(self, *start: str) -> tuple[Command, tuple[str, ...]] | None:
        """The last inner command that begins with these words, and what follows them."""
        return next(
            ((command, rest) for command in reversed(self.inner) if (rest := command.after(*start)) is not None), None
        )


def blocks(text: str) -> list[CommandBlock]:
    """The blocks of a configuration. Comments (`!`) and `exit` end nothing that indentation does not."""
    found: list[CommandBlock] = []
    head: Command | None = None
    inner: list[Command] = []
    for command, indented in _commands(text):
        if indented and head is not None:
            inner.append(command)
            continue
        if head is not None:
            found.append(CommandBlock(head, tuple(inner)))
        head, inner = command, []
    return [*found, CommandBlock(head, tuple(inner))] if head is not None else found


def _commands(text: str) -> Iterator[tuple[Command, bool]]:
    for number, line in enumerate(text.split("\n"), 1):
        words = tuple(line.split())
        if words and not words[0].startswith("!") and words[0] not in ("exit", "end"):
            yield Command(number, tuple(word.lower() for word in words), words), line[0] in " \t"
