"""ipsec.conf's syntax (ipsec.conf(5)), which strongSwan's stroke and libreswan share: sections, `also=`, `%default`.

A section begins at the start of a line, its settings are indented. As both daemons do, `%default` counts for every
connection wherever it stands, a connection's own settings count before those that `also=` brings, and the last of two
equal settings counts. ipsec.secrets may be pasted along.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

import msgspec

from linkspan.core.peer_side.parsers import values
from linkspan.core.peer_side.parsers.reading import (
    DEPTH,
    MOST_CONNECTIONS,
    MOST_PAIRS,
    Candidate,
    Ignored,
    StatedKey,
    StatedValue,
    Unreadable,
    shown,
)
from linkspan.core.secret import Secret

ConnSettings = Mapping[str, StatedValue]
_SECTION: Final = re.compile(r"(config[\t ]+setup|conn|ca)(?:[\t ]+(\S+))?[\t ]*(?:#.*)?$")
_SETTING: Final = re.compile(r"([^\s=#\"]+)[\t ]*=[\t ]*(.*)$")
_KEY: Final = re.compile(r":\s*(PSK|RSA|ECDSA|XAUTH|EAP|NTLM|PIN|P12|PKCS8|PKCS12)\b[\t ]*(.*)$", re.IGNORECASE)
_QUOTED: Final = re.compile(r"\"((?:[^\"\\]|\\.)*)\"|'([^']*)'|([^\s#\"']+)")
_ESCAPED: Final = re.compile(r"\\(.)")
DEFAULT: Final = "%default"


class IpsecFile:
    """The sections of a file: settings of connections by name, keys, and what was not followed."""

    def __init__(self) -> None:
        self.connections: dict[str, dict[str, StatedValue]] = {}
        self.also: dict[str, list[StatedValue]] = {}
        self.keys: list[StatedKey] = []
        self.ignored: list[Ignored] = []

    def whole(self, name: str) -> ConnSettings:
        """The settings of a connection, with those that it takes from others. An empty value stands for the daemon's
        own. Raises Unreadable."""
        sources: dict[str, None] = {}
        for section in (name, DEFAULT):
            self._collect(section, (), sources)
        found: dict[str, StatedValue] = {}
        for source in sources:
            for key, value in self.connections.get(source, {}).items():
                found.setdefault(key, value)
        return {key: value for key, value in found.items() if value.text}

    def _collect(self, name: str, path: tuple[str, ...], sources: dict[str, None]) -> None:
        """Adds a section and those that it names, the nearest first."""
        sources[name] = None
        for value in self.also.get(name, ()):
            if value.text in (name, *path) or len(path) > DEPTH:
                raise Unreadable(value.line, f"also={shown(value.text)} leads back to the same connection")
            if value.text not in self.connections:
                raise Unreadable(value.line, f"there is no 'conn {shown(value.text)}' for also= to take")
            if value.text not in sources:
                self._collect(value.text, (*path, name), sources)


def parse(text: str, identity: Callable[[str], str]) -> IpsecFile:
    """The file. `identity`: reads an identity as the daemon does. Raises Unreadable."""
    file = IpsecFile()
    section = ""
    for line, content in _lines(text):
        if content[0] not in "\t " and (match := _KEY.search(content)):
            file.keys.extend(_stated_key(content[: match.start()], match, line, identity))
        elif content.startswith("include") and content[7:8] in (" ", "\t"):
            file.ignored.append(Ignored(line, f"include {shown(content[7:].strip())} is not followed: paste it too"))
        elif content[0] not in "\t ":
            section = _section(file, content, line)
        elif not section:
            raise Unreadable(line, "there should be 'conn NAME' before the first setting")
        else:
            _setting(file, section, content.strip(), line)
    return file


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines that are more than a comment, and their numbers. Those of an older syntax are left out."""
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if stripped and not stripped.startswith("#") and not re.match(r"version\b", stripped):
            yield number, line.rstrip()


def _section(file: IpsecFile, content: str, line: int) -> str:
    match = _SECTION.match(content)
    if match is None:
        # Only the first word is shown: the others may be a key.
        word = shown(content.split(maxsplit=1)[0])
        raise Unreadable(line, f"there should be 'conn NAME', or a setting with a blank before it, not '{word}'")
    kind, name = match[1], match[2]
    if kind == "conn":
        if not name:
            raise Unreadable(line, "'conn' needs a name after it")
        if len(file.connections) >= MOST_CONNECTIONS:
            raise Unreadable(line, f"{MOST_CONNECTIONS} connections are read at most")
        file.connections.setdefault(name, {})
        return str(name)
    # What other sections say is of no connection.
    return f" {kind}"


def _setting(file: IpsecFile, section: str, content: str, line: int) -> None:
    match = _SETTING.match(content)
    if match is None:
        raise Unreadable(line, f"there should be name=value, not '{shown(content.split(maxsplit=1)[0])}'")
    key, value = match[1].lower(), StatedValue(_unquoted(match[2], line), line)
    if section.startswith(" "):
        return
    if key == "alsoflip":
        raise Unreadable(line, "alsoflip= is not read: write the settings of that section out")
    if key == "also":
        file.also.setdefault(section, []).append(value)
    else:
        file.connections[section][key] = value


def _unquoted(text: str, line: int) -> str:
    """A value without quotes and comment; words have one blank between them."""
    words: list[str] = []
    at = 0
    while at < len(text):
        if text[at] in "\t ":
            at += 1
        elif text[at] == "#" and (not words or text[at - 1] in "\t "):
            break
        elif text[at] == '"':
            match = _QUOTED.match(text, at)
            if match is None:
                raise Unreadable(line, "the string has no '\"' at its end")
            words.append(_ESCAPED.sub(r"\1", match[1] or ""))
            at = match.end()
        else:
            end = at
            while end < len(text) and text[end] not in '\t "':
                end += 1
            words.append(text[at:end])
            at = end
    return " ".join(words)


def _stated_key(owners: str, match: re.Match[str], line: int, identity: Callable[[str], str]) -> Iterator[StatedKey]:
    """A line of ipsec.secrets, if it is a pre-shared key. It has no escapes: what is between the quotes is the key."""
    if match[1].upper() != "PSK":
        return
    text = match[2].strip()
    quote = text[:1]
    if quote in ('"', "'"):
        key, end, _ = text[1:].partition(quote)
        if not end:
            raise Unreadable(line, f"the key has no {quote} at its end")
        secret = Secret(key)
    elif text:
        secret = values.key(StatedValue(text.split()[0], line))
    else:
        raise Unreadable(line, "after PSK there should be a key, between quotes")
    names = (found[0] or found[1] or found[2] for found in _QUOTED.findall(owners))
    yield StatedKey(tuple(filter(None, map(identity, names))), secret, line)


def merged(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """Connections that differ in their networks only, as one of the first one's name: IKEv1 has one pair in each."""
    alike: dict[bytes, list[Candidate]] = {}
    for candidate in candidates:
        bare = msgspec.structs.replace(candidate.config, name="", pairs=(), lines={})
        alike.setdefault(msgspec.json.encode(bare), []).append(candidate)
    found = []
    for first, *others in alike.values():
        pairs = dict.fromkeys(pair for each in (first, *others) for pair in each.config.pairs)
        if len(pairs) > MOST_PAIRS:
            raise Unreadable(0, f"a connection has {MOST_PAIRS} pairs of networks at most")
        config = msgspec.structs.replace(first.config, pairs=tuple(pairs))
        found.append(msgspec.structs.replace(first, config=config))
    return tuple(found)


def loaded(file: IpsecFile, auto: Callable[[ConnSettings], str]) -> dict[str, ConnSettings]:
    """The settings of the connections that the daemon loads; of all if it loads none."""
    everything = {name: file.whole(name) for name in file.connections if name != DEFAULT}
    chosen = {name: settings for name, settings in everything.items() if auto(settings) != "ignore"}
    if not everything:
        raise Unreadable(0, "there should be 'conn NAME' with settings below it")
    return chosen or everything


def get(settings: ConnSettings, key: str, default: str = "", *others: str) -> StatedValue:
    """The value of a setting, or of the first other name that it has; without one the default, on line 0."""
    return next((settings[name] for name in (key, *others) if name in settings), StatedValue(default, 0))


def lines(settings: ConnSettings, **keys: tuple[str, ...]) -> dict[str, int]:
    """The line of each field that a setting states: of the first such setting."""
    stated = {field: next((key for key in names if key in settings), "") for field, names in keys.items()}
    return {field: settings[key].line for field, key in stated.items() if key}
