"""Common to the formats in Terraform's language: its texts, lists and blocks (HCL 2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from linkspan.core.peer_side.formats.format import ConfigFile, head, text_of, word
from linkspan.core.peer_side.site_config import SiteConfig

Argument = str | int | bool | tuple[str, ...]
"""The types of an argument. A text that is an expression is an `Expression`."""


class Expression(str):
    """A text that is written as it is: a reference to something else."""

    __slots__ = ()


def text(value: str) -> str:
    """A text between quotes. Nothing in it begins an escape or a template."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("${", "$\\u007b").replace("%{", "%\\u007b")
    return '"' + "".join(char if char.isprintable() else f"\\U{ord(char):08x}" for char in escaped) + '"'


def value(given: Argument) -> str:
    """An argument's value."""
    if isinstance(given, Expression):
        return given
    if isinstance(given, bool):
        return "true" if given else "false"
    if isinstance(given, tuple):
        return f"[{', '.join(map(value, given))}]"
    return text(given) if isinstance(given, str) else str(given)


def block(header: str, arguments: Mapping[str, Argument], inner: Iterable[str] = ()) -> Iterator[str]:
    """A block with its arguments and the lines of the blocks in it."""
    yield f"{header} {{"
    yield from (f"  {name} = {value(given)}" for name, given in arguments.items())
    yield from (f"  {line}" for line in inner)
    yield "}"


def resource(kind: str, name: str, arguments: Mapping[str, Argument], inner: Iterable[str] = ()) -> Iterator[str]:
    """A resource."""
    return block(f'resource "{kind}" "{name}"', arguments, inner)


def label(config: SiteConfig) -> str:
    """A name for resources in the file: letters, digits and `_`."""
    return word(config).replace("-", "_")


def file(title: str, by_hand: dict[str, str], lines: Iterable[str]) -> tuple[ConfigFile, ...]:
    """The file."""
    return (ConfigFile("linkspan.tf", text_of((*head(title, "#", by_hand), *lines))),)
